"""Tests compositions of blocks that stay where they are: z goes up, guesses come back."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from ifl.client.client import Client
from ifl.engines.base import Packet
from ifl.engines.strict import counts, floats, tensors
from ifl.engines.testing import outputs, tested
from ifl.methods.base import Blocks, Server

Pair = tuple[str, str]  # owner of the base block, owner of the modular block
Ask = Callable[[Mapping[int, Packet]], Mapping[int, Packet]]
SERVER = -1  # where a block is, if with no client
BODY_BYTES = 2**26  # of z in one packet, if a single z is not larger
DEPTH = 4  # of objects within a server that are looked through for its blocks


def whereabouts(
    blocks: Blocks, kind: str, clients: Sequence[Client], server: Server
) -> dict[str, int] | None:
    """Return the number of the client whose own block each one is, or SERVER.

    None if one is neither: it stands around a client's block, or was made for the occasion, and
    can only be tested where all that it is made of is.

    Args:
        kind: "base" or "modular".
        clients: replicas.
    """
    own = {str(client.number): client for client in clients}
    held = {id(part) for module in _modules(server, DEPTH) for part in module.modules()}
    found: dict[str, int] = {}
    for owner, block in blocks.items():
        if owner in own and block is getattr(own[owner].model, kind):
            found[owner] = own[owner].number
        elif id(block) in held:
            found[owner] = SERVER
        else:
            return None
    return found


def _modules(held: Any, depth: int) -> Iterator[nn.Module]:
    """Yield the networks that an object holds."""
    if isinstance(held, nn.Module):
        yield held
    elif depth:
        inner: Iterable[Any] = ()
        if isinstance(held, Mapping):
            inner = held.values()
        elif isinstance(held, list | tuple):
            inner = held
        elif not isinstance(held, Client | Tensor | type):
            inner = getattr(held, "__dict__", {}).values()
        for value in inner:
            yield from _modules(value, depth - 1)


def tested_afar(
    ask: Ask,
    bases: Blocks,
    modulars: Blocks,
    homes: tuple[Mapping[str, int], Mapping[str, int]],
    x: Tensor,
    y: Tensor,
    partners: Mapping[str, Sequence[str]],
    counted: bool,
    agreed: Mapping[str, int],
) -> dict[Pair, Tensor]:
    """Test every base block with its partners.

    Args:
        ask: what each client answers a packet.
        homes: ``whereabouts`` of the bases and the modular blocks.
        x, y: the test set, which has been shown to all clients.
        partners: owners of modular blocks, by owner of a base block.
        counted: return counts of guesses; else the guesses.
        agreed: d, and the number of classes.

    Returns:
        (3, C) int64 as ``tallied``, or (n,) int64, by pair of owners.

    Raises:
        MessageError: an answer is of another shape or type, or out of range.
    """
    n, classes = len(y), agreed["classes"]
    form = ((3, classes), n) if counted else ((n,), classes - 1)  # shape and largest value
    at_base, at_modular = homes
    own = {at_base[k]: k for k in bases if at_base[k] != SERVER}
    answers = ask({number: Packet({"op": "z"}) for number in own})
    z = {
        own[number]: floats(tensors(answer.body, {"z"}, (n, agreed["d"])))["z"]
        for number, answer in answers.items()
    }
    z |= {k: outputs(base, x) for k, base in bases.items() if at_base[k] == SERVER}
    found: dict[Pair, Tensor] = {}
    for group in groups(z):
        asked = {}
        body = save({k: z[k].contiguous() for k in group})
        for i, modular in modulars.items():
            its = [k for k in group if i in partners[k]]
            if at_modular[i] != SERVER:
                op = "score" if counted else "guess"
                asked[at_modular[i]] = i, Packet({"op": op, "bases": its}, body)
                continue
            for k in its:
                found[k, i] = tested(modular, z[k].to(y.device), y, counted)
        packets = {number: packet for number, (_, packet) in asked.items() if packet.head["bases"]}
        for number, answer in ask(packets).items():
            theirs = counts(tensors(answer.body, packets[number].head["bases"], form[0]), form[1])
            found |= {(k, asked[number][0]): its for k, its in theirs.items()}
    return {(k, i): found[k, i].cpu() for k in bases for i in partners[k]}


def groups(z: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Yield owners whose z go into one packet."""
    group: list[str] = []
    size = 0
    for owner, its in z.items():
        bytes_of = its.numel() * its.element_size()
        if group and size + bytes_of > BODY_BYTES:
            yield group
            group, size = [], 0
        group.append(owner)
        size += bytes_of
    if group:
        yield group


def shown(x: Tensor, y: Tensor) -> Packet:
    """Return a packet of the test set."""
    return Packet({"op": "show"}, save({"x": x.contiguous(), "y": y.contiguous()}))

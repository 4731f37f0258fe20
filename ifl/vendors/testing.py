"""Tests all compositions of vendors' blocks, of which the server has none.

Each vendor sends z of test images, the server passes them on, and each answers for its modular
block. Of a public test set that all have, it answers counts. Of private ones, guesses, which go
back to the vendor whose images they are, and it counts; labels stay with it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from safetensors.torch import save
from torch import Tensor

from ifl.engines.afar import groups
from ifl.engines.base import Packet
from ifl.engines.strict import counts, tensors
from ifl.errors import MessageError
from ifl.federation.class_counts import Pair
from ifl.vendors.agreed import Agreed
from ifl.vendors.heard import shown

Ask = Callable[[Mapping[int, Packet]], Mapping[int, Packet]]


def tested(ask: Ask, clients: list[int], agreed: Agreed) -> dict[Pair, Tensor]:
    """Test every base block with every modular block.

    Args:
        ask: what each client answers a packet; those that are lost are left out.
        clients: their numbers.

    Returns:
        (3, C) int64 as ``tallied``, by pair of owners.

    Raises:
        MessageError: a vendor answers what is no answer.
    """
    answers = ask({k: Packet({"op": "z"}) for k in clients})
    z: dict[str, Tensor] = {}
    for k, answer in answers.items():
        with _fitting(k):
            z[f"k{k}"] = shown(answer, agreed.fusion_dim, ["z"])["z"]
    op = "score" if agreed.test == "public" else "guess"
    found: dict[Pair, Tensor] = {}
    guessed: dict[int, dict[str, Tensor]] = {int(name[1:]): {} for name in z}
    for group in groups(z):
        packet = Packet({"op": op}, save({name: z[name].contiguous() for name in group}))
        for i, answer in ask(dict.fromkeys(answers, packet)).items():
            for name, its in _tensors(answer, group, i).items():
                k = int(name[1:])
                if op == "score":
                    found[str(k), str(i)] = _counts(its, agreed.classes, len(z[name]), i)
                else:
                    guessed[k][f"k{i}"] = _guesses(its, agreed.classes, len(z[name]), i)
    if op == "guess":
        asked = {k: Packet({"op": "judge"}, save(its)) for k, its in guessed.items() if its}
        for k, answer in ask(asked).items():
            for name, its in _tensors(answer, [*guessed[k]], k).items():
                found[str(k), name[1:]] = _counts(its, agreed.classes, len(z[f"k{k}"]), k)
    order = sorted(found, key=lambda pair: (int(pair[0]), int(pair[1])))
    return {pair: found[pair] for pair in order}


@contextmanager
def _fitting(client: int) -> Iterator[None]:
    """Let what does not fit name the client."""
    try:
        yield
    except MessageError as error:
        said = f"client {client} answers an evaluation with what does not fit: {error}"
        raise MessageError(said) from error


def _tensors(answer: Packet, names: Collection[str], client: int) -> dict[str, Tensor]:
    with _fitting(client):
        return tensors(answer.body, names)


def _guesses(guesses: Tensor, classes: int, count: int, client: int) -> Tensor:
    with _fitting(client):
        counts({"guesses": guesses}, classes - 1)
        if guesses.shape != (count,):
            raise MessageError(f"guesses have the shape {(*guesses.shape,)}, expected ({count},)")
    return guesses


def _counts(tally: Tensor, classes: int, count: int, client: int) -> Tensor:
    """Refuse counts (3, C) of samples, guesses and hits that no guesses at all samples have."""
    with _fitting(client):
        counts({"counts": tally}, count)
        if tally.shape != (3, classes) or [*map(int, tally.sum(dim=1)[:2])] != [count, count]:
            raise MessageError(f"it counts other guesses than {count} samples have")
        if (tally[2] > torch.minimum(tally[0], tally[1])).any():
            raise MessageError("it counts more right guesses than there are")
    return tally

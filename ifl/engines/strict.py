"""Reads heads and bodies of packets without trust: whatever does not fit is a MessageError.

Messages of a method within a body are read by ``comm.wire``; here is the rest of what crosses an
engine: heads, states, and tensors of evaluations.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from ifl.client.client import Client
from ifl.comm.channel import DOWNLINK
from ifl.comm.message import Place
from ifl.engines.base import Answer, Packet
from ifl.errors import IFLError, MessageError
from ifl.runs.checkpoint import State, from_bytes

LONGEST = 500  # characters of a text in a head
# What a party may answer, by what it is asked.
ANSWERS: Mapping[str, Collection[str]] = {
    "hello": ("hello",),
    "begin": ("upload", "end"),
    "reply": ("upload", "end"),
    "leave": ("left",),
    "show": ("shown",),
    "z": ("z",),
    "score": ("score",),
    "guess": ("guess",),
    "keep": ("state", "kept"),  # the latter by a vendor, who keeps it to itself
    "load": ("loaded",),
    "judge": ("judge",),
    "traffic": ("traffic",),
    "finish": ("finished",),
}


def whole(head: Mapping[str, Any], name: str, low: int = 0) -> int:
    """Return a whole number >= low of a head."""
    value = head.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 2**53:
        raise MessageError(f"its {name} is {cut(value)}, expected a whole number >= {low}")
    return value


def text(head: Mapping[str, Any], name: str) -> str:
    """Return a text of a head, of one line."""
    value = head.get(name)
    if not isinstance(value, str) or len(value) > LONGEST or not (value.isprintable() or not value):
        raise MessageError(f"its {name} is {cut(value)}, expected a line of text")
    return value


def texts(head: Mapping[str, Any], name: str) -> Sequence[str]:
    """Return a list of different texts of a head."""
    values = head.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise MessageError(f"its {name} are {cut(values)}, expected a list of names")
    if len({*values}) < len(values):
        raise MessageError(f"its {name} hold a name twice")
    return values


def place(head: Mapping[str, Any], number: int | None = None) -> Place:
    """Return the place of a message down that a head tells, of this round if one is named."""
    told = head.get("place")
    if isinstance(told, list | tuple) and len(told) == 4 and told[0] == DOWNLINK:
        rest = [value for value in told[1:] if isinstance(value, int) and value >= 0]
        if len(rest) == 3 and max(rest) < 2**53:
            if number is not None and rest[1] != number:
                raise MessageError(f"it is of round {rest[1]}, and this is round {number}")
            return Place(DOWNLINK, *rest)
    raise MessageError(f"its place is {cut(told)}, which is none of a message down")


def tensors(
    body: bytes, names: Collection[str] | None, shape: tuple[int, ...] | None = None
) -> dict[str, Tensor]:
    """Return the tensors that a body holds.

    Args:
        names: exactly these; None for any.
        shape: of each of them; None for any.

    Raises:
        MessageError: it holds others, or is no such body.
    """
    try:
        found: dict[str, Tensor] = load(body)
    except Exception as error:  # safetensors has several, and torch raises what it likes
        raise MessageError(f"its {len(body)} bytes cannot be read: {first_line(error)}") from error
    if names is not None and found.keys() != set(names):
        raise MessageError(f"it holds {cut(sorted(found))}, expected is {cut(sorted(names))}")
    for name, tensor in found.items():
        if shape is not None and tensor.shape != shape:
            raise MessageError(f"{name} has the shape {tuple(tensor.shape)}, expected {shape}")
    return found


def floats(found: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return tensors that are of float32, whatever their values."""
    for name, tensor in found.items():
        if tensor.dtype != torch.float32:
            raise MessageError(f"{name} is of {tensor.dtype}, expected {torch.float32}")
    return found


def counts(found: Mapping[str, Tensor], last: int) -> Mapping[str, Tensor]:
    """Return tensors of int64 that lie in 0 to last."""
    for name, tensor in found.items():
        if tensor.dtype != torch.int64:
            raise MessageError(f"{name} is of {tensor.dtype}, expected {torch.int64}")
        if tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) <= last:
            raise MessageError(f"{name} holds what is not from 0 to {last}")
    return found


def check_samples(x: Tensor, y: Tensor, client: Client, classes: int) -> None:
    """Refuse a test set that is not of samples like a client's own."""
    own = client.shard.first(1).inputs()
    if x.dtype != own.dtype or x.dim() < 1 or x.shape[1:] != own.shape[1:]:
        raise MessageError(
            f"x is {tuple(x.shape)} of {x.dtype}, expected samples {tuple(own.shape[1:])} of "
            f"{own.dtype}"
        )
    if y.shape != x.shape[:1]:
        raise MessageError(f"y has the shape {tuple(y.shape)}, expected {tuple(x.shape[:1])}")
    counts({"y": y}, classes - 1)


def load_client(client: Client, body: bytes) -> State:
    """Let a client go on from a state in a body, and return that.

    Raises:
        ConfigError: it is that of another network.
        MessageError: it is no state of a client.
    """
    try:
        state = from_bytes(body)
        client.load_state(state)
    except IFLError:
        raise
    except Exception as error:  # whatever a network and its optimisers make of it
        raise MessageError(
            f"{client.name} cannot go on from a state of {len(body)} bytes: {first_line(error)}"
        ) from error
    return state


def fitting(asked: Sequence[Packet], answers: Sequence[Answer], name: str) -> list[Answer]:
    """Return what a party answered; from the first answer that does not fit on, a MessageError.

    Args:
        asked: what it was asked, in this order.
        name: of the client.
    """
    found: list[Answer] = []
    for n, packet in enumerate(asked):
        if n >= len(answers):
            return [*found, MessageError(f"{name} has not answered {packet.op!r}")]
        answer = answers[n]
        if isinstance(answer, Exception):
            return [*found, answer]
        try:
            if answer.op not in ANSWERS.get(packet.op, ()):
                raise MessageError(f"it is {cut(answer.op)}")
            if answer.op == "upload":
                text(answer.head, "last")
        except MessageError as error:
            said = f"{name} answers {packet.op!r} with what does not fit: {error}"
            return [*found, MessageError(said)]
        found.append(answer)
    if len(answers) > len(asked):
        said = f"{name} has sent {len(answers)} answers to {len(asked)} packets"
        return [*found[:-1], MessageError(said)]
    return found


def losses_of(end: Packet, device: str) -> Tensor | None:
    """Return the losses (steps,) that an answer "end" holds, on a device; None if it has none."""
    if end.message is not None:
        return end.message["losses"]
    if not end.body:
        return None
    losses = floats(tensors(end.body, {"losses"}))["losses"]
    if losses.dim() != 1:
        raise MessageError(f"losses have the shape {tuple(losses.shape)}, expected one dimension")
    return losses.to(device)


def cut(value: object) -> str:
    """Return a value as a sentence shows it: in one line, and cut."""
    written = repr(value)
    return written if len(written) <= 80 else f"{written[:77]}..."


def first_line(error: Exception) -> str:
    """Return what an exception says, in one line, and cut."""
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    return said if len(said) <= 200 else f"{said[:197]}..."

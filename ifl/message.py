"""Messages: named tensors, and the bytes that stand for them.

The bytes are one safetensors file: an 8-byte length, a JSON header, the tensors. A
tensor's kind in the ledger is its name up to the first dot; what is not tensor is "header".
"""

import json
from collections.abc import Iterator

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ifl.codecs import Codec
from ifl.errors import MessageError

LABELS = "y"  # labels (B,) int64 travel in the smallest unsigned type that holds the classes
_PART = ":"  # separates a tensor's name from a codec's part of it


class Message:
    """Named tensors on their way between two parties, as attributes: ``Message(z=z).z``."""

    def __init__(self, **tensors: Tensor) -> None:
        self.tensors = tensors

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self.__dict__["tensors"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(f"the message has no {name!r}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def group(self, kind: str) -> Iterator[tuple[str, Tensor]]:
        """Yield the (name, tensor) pairs named ``kind.something``, without the prefix."""
        for name, tensor in self.tensors.items():
            head, _, rest = name.partition(".")
            if head == kind and rest:
                yield rest, tensor


def label_type(classes: int) -> torch.dtype:
    """Return the smallest unsigned integer type that holds labels 0 to classes - 1."""
    for dtype, count in ((torch.uint8, 2**8), (torch.uint16, 2**16)):
        if classes <= count:
            return dtype
    return torch.uint32


def encode(message: Message, codec: Codec, classes: int) -> bytes:
    """Serialise a message.

    Floating-point tensors pass through the codec, labels through ``label_type``, other
    integers travel as they are.
    """
    parts: dict[str, Tensor] = {}
    for name, tensor in message.tensors.items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            for part, value in codec.encode(tensor).items():
                parts[f"{name}{_PART}{part}" if part else name] = value.contiguous()
        else:
            integer = tensor.to(label_type(classes)) if name == LABELS else tensor
            parts[name] = integer.contiguous()
    return save(parts)


def decode(payload: bytes, codec: Codec) -> Message:
    """Parse what ``encode`` wrote; labels come back as int64, floats as float32.

    Raises:
        MessageError: the bytes are not a whole safetensors file, or lack a codec's part.
    """
    try:
        parts = load(payload)
    except (SafetensorError, ValueError) as error:
        raise MessageError(f"{len(payload)} bytes received are not a message: {error}") from error
    grouped: dict[str, dict[str, Tensor]] = {}
    for key, value in parts.items():
        name, _, part = key.partition(_PART)
        grouped.setdefault(name, {})[part] = value
    tensors: dict[str, Tensor] = {}
    for name, values in grouped.items():
        if name == LABELS:
            tensors[name] = values[""].long()
        elif len(values) == 1 and not values.get("", torch.empty(0)).is_floating_point():
            tensors[name] = values[""]
        else:
            tensors[name] = codec.decode(values)
    return Message(**tensors)


def sizes(payload: bytes) -> dict[str, int]:
    """Return bytes by kind as they lie in the payload; they add up to its length."""
    length = int.from_bytes(payload[:8], "little")
    counts = {"header": 8 + length}
    for name, entry in json.loads(payload[8 : 8 + length]).items():
        kind = name.partition(_PART)[0].partition(".")[0]
        start, end = entry["data_offsets"]
        counts[kind] = counts.get(kind, 0) + end - start
    return counts

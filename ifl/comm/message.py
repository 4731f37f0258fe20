"""Encodes and decodes messages: named tensors and their bytes.

The bytes are one safetensors file (``ifl/comm/wire.py``). A tensor's kind in the ledger is its
name up to the first dot; what is not tensor is "header".
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import torch
from safetensors.torch import save
from torch import Generator, Tensor

from ifl.comm.bitpack import pack_labels, unpack_labels
from ifl.comm.codecs import Codec
from ifl.comm.schema import Form, check_names
from ifl.comm.wire import Parsed
from ifl.errors import MessageError

LABELS = "y"  # labels (B,) int64
LABEL_TYPES = (torch.uint8, torch.uint16, torch.uint32)
FLOATS = torch.float32  # what every codec decodes to
_PART = ":"  # separates a tensor's name from a codec's part of it


class Place(NamedTuple):
    """A message among all of a run: to or from a client, with so many before it in the round."""

    direction: str
    client: int  # the first one, of a broadcast
    round: int
    before: int


class Message:
    """Named tensors on their way between two parties: ``Message(z=z)["z"]``.

    Attributes:
        opener: decodes what was sent of an upload, in place of ``arrived`` that nobody set.
        payload: the bytes that a reply was decoded from.
        place: the message that these were, which names a codec's streams.
    """

    def __init__(self, /, **tensors: Tensor) -> None:
        self.tensors = tensors
        self.opener: Callable[[], Message] | None = None
        self.payload = b""
        self.place: Place | None = None
        self._arrived: Message | None = None

    @property
    def arrived(self) -> "Message | None":
        """An upload as the server decoded it; its sender knows as much, it decodes what it sent."""
        if self._arrived is None and self.opener is not None:
            self._arrived = self.opener()
        return self._arrived

    @arrived.setter
    def arrived(self, message: "Message | None") -> None:
        self._arrived = message

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise KeyError(f"the message has no {name!r}")
        return self.tensors[name]

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
    return next(dtype for dtype in LABEL_TYPES if classes <= 2 ** (8 * dtype.itemsize))


def encode(
    message: Message,
    codec: Codec,
    classes: int,
    streams: Callable[[str], Generator] | None = None,
) -> bytes:
    """Serialise a message.

    Floating-point tensors pass through the codec, labels travel in ``label_type`` or packed, as
    the codec says, other integers as they are.

    Args:
        streams: gives the start of the stream that is a tensor's, by its name, to codecs that
            draw random numbers.
    """
    parts: dict[str, Tensor] = {}
    for name, tensor in message.tensors.items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            stream = partial(streams, name) if streams else None
            for part, value in codec.encode(tensor, stream).items():
                parts[f"{name}{_PART}{part}" if part else name] = value.contiguous()
        elif name == LABELS:
            packs = codec.labels == "packed"
            held = pack_labels(tensor, classes) if packs else tensor.to(label_type(classes))
            parts[name] = held.contiguous()
        else:
            parts[name] = tensor.contiguous()
    return save(parts)


def decode(
    parsed: Parsed,
    codec: Codec,
    form: Form | None = None,
    agreed: Mapping[str, int] | None = None,
) -> Message:
    """Return the message that ``encode`` wrote; labels come back as int64, floats as float32.

    Args:
        form: what the message has to hold; None for any message.
        agreed: what the form's symbols stand for; packed labels need its ``classes``.

    Raises:
        MessageError: the codec cannot decode a tensor's parts, or they do not fit the form.
    """
    grouped: dict[str, list[str]] = {}
    for key in parsed.entries:
        grouped.setdefault(key.partition(_PART)[0], []).append(key)
    if form is not None:
        check_names(form, grouped)
    tensors: dict[str, Tensor] = {}
    for name, keys in grouped.items():
        parts = {key.partition(_PART)[2]: parsed.tensor(key) for key in keys}
        if name == LABELS:
            value = _labels(name, parts, codec, agreed or {})
        else:
            value = _values(name, parts, codec)
        if form is not None:
            form[name].check_shape(name, value.shape, agreed or {})
        tensors[name] = value.long() if name == LABELS else value
        if form is not None:
            form[name].check_values(name, tensors[name], agreed or {})
    return Message(**tensors)


def _labels(
    name: str, parts: Mapping[str, Tensor], codec: Codec, agreed: Mapping[str, int]
) -> Tensor:
    if list(parts) != [""] or parts[""].dtype not in LABEL_TYPES:
        raise MessageError(f"{name} is not of unsigned integers")
    if codec.labels == "packed":
        return unpack_labels(parts[""], agreed["classes"])
    return parts[""]


def _values(name: str, parts: Mapping[str, Tensor], codec: Codec) -> Tensor:
    if list(parts) == [""] and not parts[""].is_floating_point():
        return parts[""]
    try:
        value = codec.decode(parts)
    except Exception as error:  # whatever a codec makes of parts that it never wrote
        raise MessageError(f"{name} cannot be decoded: {error!r}") from error
    if value.dtype != FLOATS:
        raise MessageError(f"{name} is of {value.dtype}, expected {FLOATS}")
    return value


def sizes(parsed: Parsed) -> dict[str, int]:
    """Return bytes by kind as they lie in the payload; they add up to its length."""
    counts = {"header": len(parsed.payload)}
    for name, entry in parsed.entries.items():
        kind, size = name.partition(_PART)[0].partition(".")[0], entry.end - entry.start
        counts[kind] = counts.get(kind, 0) + size
        counts["header"] -= size
    return counts

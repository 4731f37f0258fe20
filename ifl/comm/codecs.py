"""Encodes floating-point tensors for the wire: the codec interface, and the plain types.

A codec maps a tensor to named parts and back; the parts are what is serialised, so
everything it needs to decode (a scale, an index) is counted in bytes. The first part
has the empty name. Here: the types that hold one value each; ``ifl/comm/quantise.py`` has grids
of few levels, ``ifl/comm/topk.py`` the largest values alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Protocol

import torch
from torch import Generator, Tensor

from ifl.checks import check_one_of
from ifl.comm.zstd import check_level

Stream = Callable[[], Generator]  # returns the start of a stream, of one tensor of one message


class Codec(Protocol):
    """A pair of functions; ``decode(encode(t))`` has the shape of t and is float32.

    What was decoded passes a second time as it is: decode(encode(decode(encode(t)))) is
    decode(encode(t)) to the bit, however it rounds. So what a server passes on loses nothing
    again, and whoever gets it later gets the same values. A tensor that is not finite is not
    finite when decoded, a finite one is.
    """

    @property
    def labels(self) -> str:
        """Say how labels travel: "bytes", the smallest type; "packed", the fewest bits."""

    @property
    def zstd(self) -> int | None:
        """Return the level at which whole messages are compressed; None for not at all."""

    def encode(self, tensor: Tensor, stream: Stream | None = None) -> dict[str, Tensor]:
        """Return the parts of a floating-point tensor of up to 7 dimensions.

        They are not a single tensor of integers: such a one passes without a codec.

        Args:
            stream: for a codec that draws random numbers, where they come from.
        """

    def decode(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the float32 tensor that ``parts`` stand for.

        They may come from anybody: whatever it raises at parts that ``encode`` never makes is
        told as a MessageError, and it allocates nothing for a size that is only declared.
        """


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """The settings that every codec has: encoding of labels, compression of whole messages.

    Args:
        labels: "bytes", in the smallest unsigned type; "packed", in ceil(log2(classes)) bits.
        zstd: level of a lossless compression of the whole message, 1 to 22; None for none.

    Raises:
        ConfigError: one of them is neither, or zstandard is not installed.
    """

    labels: str = "bytes"
    zstd: int | None = None

    def __post_init__(self) -> None:
        check_one_of("codec.labels", self.labels, "bytes", "packed")
        check_level("codec.zstd", self.zstd)


def rows_and_columns(shape: tuple[int, ...], per: str = "row") -> tuple[int, int]:
    """Return what a codec takes for the rows of a tensor of this shape.

    These are its first dimension: samples of z, outputs of a layer's weight. A vector, a
    scalar or, with per="tensor", anything is one row.
    """
    if per == "row" and len(shape) > 1:
        return shape[0], prod(shape[1:])
    return 1, prod(shape)


def shape_part(shape: tuple[int, ...]) -> Tensor:
    """Return a part without data, whose own shape tells this one."""
    return torch.empty((0, *shape), dtype=torch.uint8)


def told_shape(part: Tensor) -> tuple[int, ...]:
    """Return the shape that such a part tells.

    Raises:
        ValueError: it is none.
    """
    if part.dim() < 1 or len(part) != 0 or part.dtype != torch.uint8:
        raise ValueError(f"a shape told by {tuple(part.shape)} of {part.dtype}")
    return tuple(part.shape[1:])


def check_parts(parts: Mapping[str, Tensor], **expected: torch.dtype) -> None:
    """Raise ValueError unless the parts have these types; the first one is ``values``."""
    found = {name or "values": part.dtype for name, part in parts.items()}
    if found != expected:
        raise ValueError(f"its parts are {found}")


@dataclass(frozen=True)
class Float32(Envelope):
    """Nothing lost: what the paper sends. A tensor (r, c) takes 4rc bytes."""

    def encode(self, tensor: Tensor, stream: Stream | None = None) -> dict[str, Tensor]:
        """Return the tensor itself as float32."""
        return {"": tensor.float()}

    def decode(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the one part."""
        return parts[""]


@dataclass(frozen=True)
class Float16(Envelope):
    """IEEE's half precision, relative error up to 2^-11. A tensor (r, c) takes 2rc bytes.

    Values beyond its largest, 65504, become that; those below 2^-14 lose digits, below 2^-25
    they are 0.
    """

    dtype: ClassVar[torch.dtype] = torch.float16

    def encode(self, tensor: Tensor, stream: Stream | None = None) -> dict[str, Tensor]:
        """Return the tensor, each value rounded to the nearest one there is."""
        half = tensor.to(self.dtype)
        if half.isfinite().all():
            return {"": half}
        most = torch.finfo(self.dtype).max
        finite = tensor.float().clamp(-most, most).to(self.dtype)
        return {"": torch.where(tensor.isfinite(), finite, half)}

    def decode(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the one part as float32."""
        check_parts(parts, values=self.dtype)
        return parts[""].float()


@dataclass(frozen=True)
class BFloat16(Float16):
    """float32 without its last 16 bits, relative error up to 2^-8. A tensor (r, c) takes 2rc bytes.

    It has the range of float32: nothing that a network holds is too large or too small.
    """

    dtype: ClassVar[torch.dtype] = torch.bfloat16

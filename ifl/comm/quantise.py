"""Quantises rows to few levels: int8 and int4, each row on a grid of its own.

Rounding at random: Alistarh et al. 2017, "QSGD: Communication-Efficient SGD via Gradient
Quantization and Encoding", section 3.1, there with the row's norm for its largest value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from ifl.checks import check_one_of
from ifl.comm.bitpack import pack_pairs, unpack_pairs
from ifl.comm.codecs import Envelope, Stream, check_parts, rows_and_columns, shape_part, told_shape

SMALLEST = 2.0**-100  # a row all of whose values are smaller is sent as zeros
DRAWS = 2**12  # values that a random number has


@dataclass(frozen=True)
class Int8(Envelope):
    """A byte a value and four a row. A tensor (r, c) takes rc + 4r bytes, or rc + 4 per tensor.

    With M the largest magnitude in a row, one without negative values (z behind a ReLU) has the
    levels 0, M/255, ..., M, any other one -M, ..., 0, M/127, ..., M; the sign of the scale, M or
    -M, says which. (Where the latter makes 0 of every negative value the row has the former.) Grids
    from the smallest to the largest value would need four bytes more a
    row and have no 0, for the same error on outputs of a ReLU.

    Args:
        per: "row", the first dimension of a tensor of two or more; "tensor", one scale for all.
        rounding: "nearest", within half a step; "stochastic", up or down at random, within a
            step, right in the mean but for 2^-13 of a step.
    """

    per: str = "row"
    rounding: str = "nearest"
    bits: ClassVar[int] = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of("codec.per", self.per, "row", "tensor")
        check_one_of("codec.rounding", self.rounding, "nearest", "stochastic")

    def encode(self, tensor: Tensor, stream: Stream | None = None) -> dict[str, Tensor]:
        """Return the levels in the tensor's shape and the scales (rows,)."""
        levels, scale = self._quantise(tensor, stream)
        return {"": levels.reshape(tensor.shape), "scale": scale}

    def decode(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the levels' values."""
        check_parts(parts, values=torch.uint8, scale=torch.float32)
        return self._values(parts[""], parts["scale"], tuple(parts[""].shape))

    def _quantise(self, tensor: Tensor, stream: Stream | None) -> tuple[Tensor, Tensor]:
        generator = None
        if self.rounding == "stochastic":
            if stream is None:
                raise ValueError("codec.rounding=stochastic needs a stream of random numbers")
            generator = stream()
        rows = tensor.float().reshape(rows_and_columns(tensor.shape, self.per))
        return quantise(rows, self.bits, generator)

    def _values(self, levels: Tensor, scale: Tensor, shape: tuple[int, ...]) -> Tensor:
        levels = levels.reshape(rows_and_columns(shape, self.per))
        return dequantise(levels, scale, self.bits).reshape(shape)


@dataclass(frozen=True)
class Int4(Int8):
    """Half a byte a value and four a row. A tensor (r, c) takes r*ceil(c/2) + 4r bytes.

    As int8, with 15 and 7 for 255 and 127; ceil(rc/2) + 4 bytes per tensor. The shape of what
    is no matrix, or one of odd width, is told by the shape of a part without bytes.
    """

    bits: ClassVar[int] = 4

    def encode(self, tensor: Tensor, stream: Stream | None = None) -> dict[str, Tensor]:
        """Return the levels (rows, ceil(columns / 2)), the scales (rows,), the shape if needed."""
        levels, scale = self._quantise(tensor, stream)
        parts = {"": pack_pairs(levels), "scale": scale}
        if levels.shape != tensor.shape or levels.shape[1] % 2:
            parts["shape"] = shape_part(tensor.shape)
        return parts

    def decode(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the levels' values."""
        packed, told = parts[""], {k: v for k, v in parts.items() if k == "shape"}
        rest = {k: v for k, v in parts.items() if k not in told}
        check_parts(rest, values=torch.uint8, scale=torch.float32)
        rows, width = packed.shape
        shape = told_shape(told["shape"]) if told else (rows, 2 * width)
        expected, columns = rows_and_columns(shape, self.per)
        if (rows, width) != (expected, -(-columns // 2)):
            raise ValueError(f"{tuple(packed.shape)} bytes for the shape {shape}")
        return self._values(unpack_pairs(packed, columns), parts["scale"], shape)


def quantise(rows: Tensor, bits: int, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """Return the levels (r, c) uint8 and the scales (r,) float32 of rows (r, c) float32.

    Args:
        generator: rounds at random; None for the nearest level.
    """
    if rows.numel() == 0:
        return torch.zeros(rows.shape, dtype=torch.uint8), torch.zeros(len(rows))
    low, high = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)  # NaN if one is
    most = torch.maximum(high, -low)
    most = torch.where(most < SMALLEST, 0, most)
    signed, finite = (low < 0) & (most > 0), most.isfinite()
    draws = None
    if generator is not None:
        # u + 1/2 keeps 2^-13 away from 0 and 1, which is more than the division rounds: what
        # is on the grid already stays where it is.
        u = torch.randint(DRAWS, rows.shape, generator=generator, dtype=torch.int16)
        draws = u.float().add_(0.5).div_(DRAWS)
    divisor = torch.where(finite & (most > 0), most, 1)
    scaled = _rounded(rows / divisor, _grid(signed, bits)[0], draws).masked_fill_(~finite, 0)
    if signed.any():
        # Where every negative value becomes 0, a second encoding would see no sign: the row has
        # the finer grid at once. Other values' draws are independent of that, so still right in
        # the mean.
        lost = signed & finite & (scaled.amin(dim=1, keepdim=True) >= 0)
        if lost.any():
            signed = signed & ~lost
            finer = _rounded((rows / divisor).clamp_(min=0), _grid(signed, bits)[0], draws)
            scaled = torch.where(lost, finer, scaled)
    zero = _grid(signed, bits)[1]
    levels = scaled.add_(zero).to(torch.uint8)
    return levels, torch.where(signed, -most, most).squeeze(1)


def dequantise(levels: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Return the values (r, c) float32 of levels (r, c) and scales (r,).

    The level at the end of the grid is the scale to the bit, so that a second encoding finds
    the same scale. A scale that is not finite leaves its row not finite.

    Raises:
        ValueError: a level is beyond the grid, or there is not one scale a row.
    """
    if scale.shape != (len(levels),):
        raise ValueError(f"scales {tuple(scale.shape)} for rows {tuple(levels.shape)}")
    most = scale[:, None]
    signed = most < 0
    steps, zero = _grid(signed, bits)
    values = levels.float()
    if signed.any() and (values > steps.add(zero)).any():
        raise ValueError("a level is beyond the grid")
    return values.sub_(zero).div_(steps).mul_(most.abs())


def _rounded(fractions: Tensor, steps: Tensor, draws: Tensor | None) -> Tensor:
    """Return fractions of a row's end (r, c), overwritten, as whole steps (r, 1) of its grid."""
    scaled = fractions.mul_(steps)
    return scaled.round_() if draws is None else scaled.add_(draws).floor_()


def _grid(signed: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return the steps from 0 to a row's end, and the level that is 0, both (r, 1) float32."""
    half = 2.0 ** (bits - 1) - 1
    return torch.where(signed, half, 2.0**bits - 1), torch.where(signed, half, 0.0)

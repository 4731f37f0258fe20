"""Sparsifies rows: a codec that sends the largest values alone.

Source: Aji & Heafield 2017, "Sparse Communication for Distributed Gradient Descent"; here
without what was not sent being added to the next message, since z is no sum over rounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from ifl.checks import check_above
from ifl.comm.codecs import Envelope, Stream, check_parts, rows_and_columns, shape_part, told_shape
from ifl.errors import ConfigError

INDEX_TYPES = (torch.uint8, torch.uint16, torch.uint32)


@dataclass(frozen=True)
class TopK(Envelope):
    """The k values of largest magnitude of each row, as float32, and where they lie; 0 elsewhere.

    A tensor (r, c) takes rk(4 + b) bytes, k = ceil(fraction * c), with an index of b = 1 byte
    for c <= 2^8, 2 for c <= 2^16, else 4.

    Args:
        fraction: of a row's values, above 0 and at most 1; at least one is sent.
    """

    fraction: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_above("codec.fraction", self.fraction, 0, "; codec=float32 sends all values")
        if self.fraction > 1:
            raise ConfigError(
                f"codec.fraction must be <= 1, got {self.fraction}; write 0.1 for a tenth"
            )

    def encode(self, tensor: Tensor, stream: Stream | None = None) -> dict[str, Tensor]:
        """Return the values (rows, k), their columns in rising order, and the shape."""
        rows = tensor.float().reshape(rows_and_columns(tensor.shape))
        columns = rows.shape[1]
        largest = rows.abs().topk(self.kept(columns), dim=1, sorted=False).indices
        index = largest.sort(dim=1).values
        return {
            "": rows.gather(1, index),
            "index": index.to(index_type(columns)),
            "shape": shape_part(tensor.shape),
        }

    def decode(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the values in their places; at most 1 / fraction times as many as were sent."""
        shape = told_shape(parts["shape"])
        rows, columns = rows_and_columns(shape)
        values, index = parts[""], parts["index"].long()
        check_parts(parts, values=torch.float32, index=index_type(columns), shape=torch.uint8)
        if not values.shape == index.shape == (rows, self.kept(columns)):
            raise ValueError(f"{tuple(values.shape)} values for the shape {shape}")
        if index.numel() and not (index.diff(dim=1) > 0).all():
            raise ValueError("its columns do not rise")
        return torch.zeros(rows, columns).scatter_(1, index, values).reshape(shape)

    def kept(self, columns: int) -> int:
        """Return k of a row of so many values."""
        return ceil(self.fraction * columns)


def index_type(columns: int) -> torch.dtype:
    """Return the smallest unsigned type that holds 0 to columns - 1.

    Raises:
        ValueError: not even 4 bytes do.
    """
    for dtype in INDEX_TYPES:
        if columns <= 2 ** (8 * dtype.itemsize):
            return dtype
    raise ValueError(f"rows of {columns} values")

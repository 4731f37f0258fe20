"""Declares the form of a message (names, shapes, types, ranges) and checks it on arrival.

A form names the tensors, all of them. Sizes that the parties agreed on before they started
stand in it as symbols: B, the rows of a batch, d, the fusion dimension, and classes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isfinite, prod

import torch
from torch import Tensor

from ifl.errors import MessageError, NotFiniteError


@dataclass(frozen=True)
class Expected:
    """A tensor of this shape and type, as it is after decoding.

    Args:
        shape: whole numbers or symbols.
        dtype: of integers; None for floats, which have to be finite.
        low: the smallest integer allowed; None for any integers.
        high: the first one beyond, a whole number or a symbol.
        fewest: of a tensor whose first size may be anything from this to the one in the shape;
            None where it is that.
    """

    shape: tuple[int | str, ...]
    dtype: torch.dtype | None = None
    low: int | None = None
    high: int | str = 0
    fewest: int | None = None

    def sizes(self, agreed: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape in numbers."""
        return tuple([agreed[n] if isinstance(n, str) else n for n in self.shape])

    def check_shape(self, name: str, shape: torch.Size, agreed: Mapping[str, int]) -> None:
        """Raise MessageError unless the shape is the one expected."""
        expected = self.sizes(agreed)
        if self.fewest is not None:
            alike = len(shape) == len(expected) and shape[1:] == expected[1:]
            if alike and self.fewest <= shape[0] <= expected[0]:
                return
            rest = "".join(f", {size}" for size in expected[1:])
            raise MessageError(
                f"{name} has the shape {tuple(shape)}, expected ({self.fewest} to "
                f"{expected[0]}{rest})"
            )
        if shape != expected:
            raise MessageError(f"{name} has the shape {tuple(shape)}, expected {expected}")

    def check_values(self, name: str, tensor: Tensor, agreed: Mapping[str, int]) -> None:
        """Raise MessageError unless the type and all values are among those expected."""
        floating = tensor.is_floating_point()
        if (None if floating else tensor.dtype) != self.dtype:
            raise MessageError(f"{name} is of {tensor.dtype}, expected {self.dtype or 'floats'}")
        if floating:
            # A sum can overflow, but it cannot be finite where a value is not.
            if not isfinite(float(tensor.sum())) and not tensor.isfinite().all():
                raise NotFiniteError(f"{name} is not finite")
        elif self.low is not None and tensor.numel():
            low, high = (int(bound) for bound in tensor.aminmax())
            last = (agreed[self.high] if isinstance(self.high, str) else self.high) - 1
            if low < self.low or high > last:
                raise MessageError(
                    f"{name} holds {low} to {high}, allowed are {self.low} to {last}"
                )


Form = Mapping[str, Expected]


def floats(*shape: int | str) -> Expected:
    """Expect finite floats, however the codec wrote them."""
    return Expected(shape)


def labels(*shape: int | str) -> Expected:
    """Expect int64 labels from 0 to classes - 1."""
    return Expected(shape, torch.int64, 0, "classes")


def fusion_rows(rows: int | str) -> Form:
    """Expect fusion outputs z (rows, d) and labels y (rows,)."""
    return {"z": floats(rows, "d"), "y": labels(rows)}


def pool_rows(most: int | str, fewest: int = 1) -> Form:
    """Expect a pool of fusion outputs z (rows, d) and labels y (rows,), of so many rows."""
    y = Expected((most,), torch.int64, 0, "classes", fewest)
    return {"z": Expected((most, "d"), fewest=fewest), "y": y}


FUSION_BATCH = fusion_rows("B")


def most_bytes(form: Form, agreed: Mapping[str, int]) -> int:
    """Return more bytes than any codec makes of what has this form, header left out: 16 a value."""
    return sum(16 * (1 + prod(expected.sizes(agreed))) for expected in form.values())


def check_names(form: Form, names: Collection[str]) -> None:
    """Raise MessageError unless the names are exactly those of the form."""
    if form.keys() != set(names):
        held = listed(names) or "nothing"
        raise MessageError(f"it holds {held}, expected is {listed(form)}")


def listed(names: Collection[str]) -> str:
    """Return the first names in alphabetical order as text."""
    first = ", ".join(sorted(names)[:5])
    return f"{first}, ..." if len(names) > 5 else first

"""Converts a user's samples and labels where nothing is lost, and says what they are otherwise.

Bytes (uint8) are images, which ``Shard.inputs`` scales; floats are taken as they are; other
integers are tokens, and reach a network as int64.
"""

import numpy as np
import torch
from torch import Tensor

from ifl.errors import DataError

TOKENS = (torch.int8, torch.int16, torch.int32, torch.int64)
UNSIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
LABELS = "labels are one whole number from 0 a sample"


def samples_of(x: object) -> Tensor:
    """Return samples (n, ...), on the CPU: uint8, finite float32, or a signed integer type.

    Args:
        x: a tensor, an array or nested lists; bool becomes 0.0 and 1.0, any float float32.

    Raises:
        DataError: it is none of these, has no dimension beside n, or is not finite.
    """
    x = _tensor("x", x)
    if x.dim() < 2:
        raise DataError(
            f"x has the shape {tuple(x.shape)}, it needs one for the samples and one or more for "
            "what each of them holds; x.reshape(-1, 1) makes a feature of single numbers"
        )
    if x.dtype == torch.uint8 or x.dtype in TOKENS:
        return x
    if x.dtype in UNSIGNED:
        return _signed("x", x)
    if x.dtype == torch.bool:
        return x.float()
    single = x.float()
    finite = single.isfinite()
    if not finite.all():
        rows = (~finite).flatten(1).any(dim=1).nonzero()
        raise DataError(
            f"x holds {int((~finite).sum())} values that are not finite in float32, the first in "
            f"sample {int(rows[0])}; fill them in, or leave these samples out"
        )
    return single


def labels_of(y: object) -> Tensor:
    """Return labels (n,) int64, on the CPU.

    Args:
        y: a tensor, an array or a list of any type that holds whole numbers, (n,) or (n, 1), or
            one-hot (n, classes).

    Raises:
        DataError: it is anything else.
    """
    y = _tensor("y", y)
    if y.dim() == 2 and y.shape[1] == 1:
        y = y.flatten()
    if y.dtype in UNSIGNED:
        y = _signed("y", y)
    if y.dim() == 2 and _one_hot(y):
        return y.to(torch.uint8).argmax(dim=1)
    if y.dim() != 1:
        raise DataError(
            f"y has the shape {tuple(y.shape)} and is not one-hot, {LABELS}, (n,); "
            "y.argmax(dim=1) takes the largest of some scores"
        )
    whole = y.long()
    if y.is_floating_point() and not torch.equal(whole.to(y.dtype), y):
        odd = y[whole.to(y.dtype) != y]
        raise DataError(
            f"y holds {float(odd[0]):g}, {LABELS}; this runner classifies: number the classes"
        )
    return whole


def _one_hot(y: Tensor) -> bool:
    ones = y == 1
    return bool((ones | (y == 0)).all()) and bool((ones.sum(dim=1) == 1).all())


def _signed(what: str, tensor: Tensor) -> Tensor:
    wide = tensor.to(UNSIGNED[tensor.dtype])
    if wide.numel() and int(wide.min()) < 0:
        raise DataError(f"{what} holds integers beyond those of int64; number them from 0")
    return wide


def _tensor(what: str, value: object) -> Tensor:
    """Return a value as a plain tensor on the CPU; an array shares its memory where it can."""
    if isinstance(value, list | tuple) and value and all(isinstance(v, Tensor) for v in value):
        try:
            value = torch.stack([*value])
        except RuntimeError as error:
            raise DataError(f"{what} is a list of tensors of several shapes; pad them") from error
    if not isinstance(value, Tensor):
        return _from_numpy(what, value)
    if value.layout != torch.strided or value.is_quantized:
        raise DataError(f"{what} is a {value.layout} tensor of {value.dtype}; make it a dense one")
    if value.is_complex():
        raise DataError(
            f"{what} is of {value.dtype}; torch.view_as_real makes two real numbers of each"
        )
    return value.detach().as_subclass(Tensor).cpu()


def _from_numpy(what: str, value: object) -> Tensor:
    way_out = "give a tensor or an array of numbers"
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{what} has masked values; fill them in, or leave these samples out")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{what} cannot be made an array ({reason}); {way_out}") from error
    if array.dtype.kind not in "biuf":
        kind = type(value).__name__ if array.ndim == 0 else f"an array of {array.dtype}"
        number = ", numbered from 0" if what == "y" else ""
        raise DataError(f"{what} is {kind}; {way_out}{number}")
    plain = array.dtype if array.dtype.itemsize <= 8 else np.dtype(np.float64)
    array = array.astype(plain.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))

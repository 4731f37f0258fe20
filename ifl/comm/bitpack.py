"""Packs integers into bits, and unpacks them without trust."""

import numpy as np
import torch
from torch import Tensor

from ifl.errors import MessageError


def label_bits(classes: int) -> int:
    """Return ceil(log2(classes)), at least 1: the bits of a label from 0 to classes - 1."""
    return max(1, (classes - 1).bit_length())


def pack_labels(labels: Tensor, classes: int) -> Tensor:
    """Return labels (n,) in ceil(n * label_bits / 8) bytes, the first label in the highest bits.

    The last byte may have room for more labels than there are. The uint8 tensor returned has,
    behind the one of its bytes, a dimension of size 1 for each of these, so that n is known.
    """
    bits, flat = label_bits(classes), labels.reshape(-1).numpy().astype(np.int64)
    table = (flat[:, None] >> np.arange(bits)[::-1]) & 1
    packed = np.packbits(table.astype(np.uint8).reshape(-1))
    spare = 8 * len(packed) // bits - len(flat)
    return torch.from_numpy(packed).reshape(len(packed), *[1] * spare)


def unpack_labels(packed: Tensor, classes: int) -> Tensor:
    """Return the labels (n,) int64 that were packed.

    Raises:
        MessageError: ``pack_labels`` returns no such tensor.
    """
    bits = label_bits(classes)
    if packed.dtype != torch.uint8 or not packed.dim() or packed.numel() != len(packed):
        raise MessageError(f"labels of {bits} bits cannot lie in {tuple(packed.shape)}")
    count = 8 * len(packed) // bits - (packed.dim() - 1)
    if count < 0 or -(-count * bits // 8) != len(packed):
        raise MessageError(f"labels of {bits} bits cannot lie in {tuple(packed.shape)}")
    table = np.unpackbits(packed.reshape(-1).numpy())
    if table[count * bits :].any():
        raise MessageError("the bits behind the last label are not 0")
    labels = np.zeros(count, dtype=np.int64)
    for column in table[: count * bits].reshape(count, bits).T:
        labels = labels << 1 | column
    if count and labels.max() >= classes:
        raise MessageError(f"labels hold {labels.max()}, allowed are 0 to {classes - 1}")
    return torch.from_numpy(labels)


def pack_pairs(values: Tensor) -> Tensor:
    """Return values (r, c) uint8 below 16 as (r, ceil(c / 2)): the first of a pair in high bits."""
    if values.shape[1] % 2:
        values = torch.nn.functional.pad(values, (0, 1))
    return values[:, ::2] << 4 | values[:, 1::2]


def unpack_pairs(packed: Tensor, columns: int) -> Tensor:
    """Return the values (r, columns) uint8 that were packed, of columns = 2c or 2c - 1 for (r, c).

    Raises:
        ValueError: the bits behind the last value of a row are not 0.
    """
    values = torch.stack((packed >> 4, packed & 15), dim=2).reshape(
        len(packed), 2 * packed.shape[1]
    )
    if values[:, columns:].any():
        raise ValueError("the bits behind the last value of a row are not 0")
    return values[:, :columns]

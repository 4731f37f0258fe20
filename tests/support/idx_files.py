"""Writes small files in the format of MNIST."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


def idx(array: np.ndarray) -> bytes:
    """The official format: two zeros, type 8, number of dimensions, sizes, bytes."""
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


def write_pair(folder: Path, prefix: str, count: int, seed: int = 0) -> dict[str, str]:
    """Write images and labels as published; return {file name: md5}."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    md5 = {}
    for name, array in (
        (f"{prefix}-images-idx3-ubyte.gz", random.integers(0, 256, (count, 28, 28))),
        (f"{prefix}-labels-idx1-ubyte.gz", np.arange(count) % 10),
    ):
        (folder / name).write_bytes(idx(array))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    return md5

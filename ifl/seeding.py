"""Derives named random streams: every random number follows from (seed, purpose, ...).

Streams are derived by hashing their name, so a new consumer shifts nobody
else's numbers, and every method sees the same partition and initial weights.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """Return the 63-bit seed of the stream named by ``purpose``.

    >>> derive(0, "client", 1, "batches") == derive(0, "client", 2, "batches")
    False
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def rng(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a torch CPU generator at the start of the named stream."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def numpy_rng(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a NumPy generator at the start of the named stream."""
    return np.random.default_rng(derive(seed, *purpose))


@contextmanager
def global_stream(seed: int, *purpose: str | int, device: str = "cpu") -> Iterator[torch.Generator]:
    """Let torch's global generators follow the named stream inside the block; yield the CPU's.

    Modules draw initial weights and dropout masks from torch's global generators
    and take no other; outside the block those are left exactly as they were.
    """
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        value = derive(seed, *purpose)
        torch.default_generator.manual_seed(value)
        if cuda:
            with torch.cuda.device(cuda[0]):
                torch.cuda.manual_seed(value)
        yield torch.default_generator

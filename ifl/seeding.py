"""Derives named random streams: every random number follows from (seed, purpose, ...).

Streams are derived by hashing their name, so a new consumer shifts nobody
else's numbers, and every method sees the same partition and initial weights.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch

# The global generators themselves: a copy of what holds one of their methods has to draw from them.
GLOBAL = (
    np.random.rand.__self__,  # type: ignore[attr-defined]
    random.random.__self__,  # type: ignore[attr-defined]
    torch.default_generator,
)


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
    """Let the global generators follow the named stream inside the block; yield torch's CPU one.

    These are torch's, NumPy's (``np.random``) and Python's (``random``). Modules draw initial
    weights and dropout masks from torch's and take no other, and a user's code may draw from any;
    outside the block all are left exactly as they were.
    """
    with kept_generators(device):
        value = derive(seed, *purpose)
        torch.default_generator.manual_seed(value)
        if torch.device(device).type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(value)
        np.random.seed(value % 2**32)
        random.seed(value)
        yield torch.default_generator


@contextmanager
def kept_generators(device: str = "cpu") -> Iterator[None]:
    """Leave the global generators after the block as they were before it."""
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    numpys, pythons = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)


def imported(address: str) -> Any:
    """Return the class or function of an address; what its package draws on import is fixed.

    A module is imported once for all clients and runs of a process, so this follows no seed.

    Raises:
        ImportError, AttributeError, ValueError: there is no such thing.
    """
    with global_stream(0, "import", address.partition(".")[0]):
        return resolve_name(address)


def draws(act: Callable[[], object]) -> bool:
    """Tell whether an action on the CPU draws from a global generator; it is left as it was.

    >>> draws(lambda: torch.rand(1)), draws(random.random), draws(lambda: rng(0).initial_seed())
    (True, True, False)
    """
    with kept_generators():
        before = _states()
        act()
        return _states() != before


def _states() -> tuple[object, ...]:
    numpys = np.random.get_state()
    held = [part.tobytes() if isinstance(part, np.ndarray) else part for part in numpys]
    return torch.get_rng_state().numpy().tobytes(), held, random.getstate()

"""Deals the training set by a partition, and checks what the partition returns.

Each sample goes to one client and every client gets some, unless the partition says otherwise:
what it does not say is taken for a mistake, and named by client and sample.
"""

import functools
import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ifl.checks import check_flag
from ifl.data.partition import Partition
from ifl.errors import ConfigError, IFLError

ASKED = {"overlap": False, "repeats": False, "exhaustive": True}  # of partitions that say nothing


def deal(
    partition: Partition,
    labels: np.ndarray,
    clients: int,
    generator: np.random.Generator,
    owners: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Return the places in the training set of each client's samples, as int64 arrays (n_k,).

    The partition gets copies, which it may change. Its attributes ``overlap``, ``repeats`` and
    ``exhaustive`` (``ifl.data.partition.Partition``) say what else it may return.

    Args:
        labels: (n,) class of each sample.
        owners: (n,) owner of each sample, for a partition that takes them; None if not known.

    Raises:
        ConfigError: the partition fails, or does not return one array of places for each client
            that keeps to what it says of itself; names the client and the sample.
    """
    name = name_of(partition)
    told = {"owners": None if owners is None else owners.copy()} if takes_owners(partition) else {}
    try:
        returned = partition(labels.copy(), clients, generator, **told)
        found = _parts(name, returned, clients)
    except IFLError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{name} fails with {type(error).__name__} ({' '.join(str(error).split())}) in line "
            f"{place.lineno} of {place.filename}; it must return an array of sample numbers for "
            f"each of {clients} clients"
        ) from error
    parts = [_places(name, k, part, len(labels)) for k, part in enumerate(found)]
    said = {flag: asked(partition, flag) for flag in ASKED}
    if not said["repeats"]:
        for k, part in enumerate(parts):
            _check_once(name, k, part, labels)
    if not said["overlap"]:
        _check_disjoint(name, parts, labels)
    if said["exhaustive"]:
        _check_exhaustive(name, parts, labels)
    return parts


def name_of(partition: object) -> str:
    """Return what a sentence calls a partition: the address of its class or function."""
    while isinstance(partition, functools.partial):
        partition = partition.func
    named: Any = partition if hasattr(partition, "__qualname__") else type(partition)
    return f"the partition {named.__module__}.{named.__qualname__}"


def asked(partition: object, flag: str) -> bool:
    """Return what a partition says of itself by an attribute, or what holds if it says nothing.

    Raises:
        ConfigError: it is neither true nor false.
    """
    while flag not in getattr(partition, "__dict__", {}) and isinstance(
        partition, functools.partial
    ):
        partition = partition.func
    value = getattr(partition, flag, ASKED[flag])
    check_flag(f"{flag} of {name_of(partition)}", value)
    return bool(value)


def takes_owners(partition: Callable[..., object]) -> bool:
    """Return whether a partition has a parameter called owners that is not set."""
    try:
        parameters = inspect.signature(partition).parameters
    except (TypeError, ValueError):  # of a builtin
        return False
    return "owners" in parameters


def _parts(name: str, returned: object, clients: int) -> list[Any]:
    """Return the clients' parts, from whatever holds them in order."""
    if isinstance(returned, Mapping | str | bytes | set | frozenset) or not isinstance(
        returned, Iterable
    ):
        raise ConfigError(
            f"{name} returned {_kind(returned)}; it must return a list of {clients} arrays of "
            "sample numbers, that of client 0 first"
        )
    parts = list(returned)
    if len(parts) != clients:
        raise ConfigError(
            f"{name} returned {len(parts)} parts for {clients} clients; it must return one array "
            "of sample numbers for each, or clients.count be what it deals to"
        )
    return parts


def _places(name: str, client: int, part: object, n: int) -> np.ndarray:
    """Return a client's part as an int64 array, in range and not empty."""
    way_out = "return a one-dimensional array of whole sample numbers"
    if isinstance(part, Tensor):
        part = part.detach().cpu().numpy() if part.dtype != torch.bfloat16 else part.float().numpy()
    if not isinstance(part, np.ndarray | Sequence) or isinstance(part, str | bytes):
        raise ConfigError(f"{name} gives client {client} {_kind(part)}; {way_out}")
    try:
        array = np.asarray(part)
    except ValueError:  # a list of lists that differ in length
        raise ConfigError(f"{name} gives client {client} a list of lists; {way_out}") from None
    if array.ndim != 1:
        raise ConfigError(
            f"{name} gives client {client} an array of shape {array.shape}; {way_out}"
        )
    if not len(array):
        raise ConfigError(
            f"{name} gives client {client} no sample; give every client some, or lower "
            "clients.count"
        )
    if array.dtype == bool:
        way_out = "return the places where it is true, np.flatnonzero(mask)"
        raise ConfigError(f"{name} gives client {client} a mask of {len(array)} flags; {way_out}")
    if array.dtype.kind not in "iu":
        raise ConfigError(
            f"{name} gives client {client} an array of {array.dtype}, such as "
            f"{array[0]!r} at place 0; {way_out}"
        )
    if len(outside := np.flatnonzero((array < 0) | (array >= n))):
        raise ConfigError(
            f"{name} gives client {client} sample {array[outside[0]]} at place {outside[0]} of "
            f"its array; there are {n} training samples, 0 to {n - 1}"
        )
    return array.astype(np.int64)


def _check_once(name: str, client: int, part: np.ndarray, labels: np.ndarray) -> None:
    values, counts = np.unique(part, return_counts=True)
    if len(twice := np.flatnonzero(counts > 1)):
        sample, times = values[twice[0]], counts[twice[0]]
        raise ConfigError(
            f"{name} gives client {client} sample {sample} (class {labels[sample]}) {times} times, "
            f"and {len(twice) - 1} more likewise; give it once, or set repeats = True on the "
            "partition if that is meant"
        )


def _check_disjoint(name: str, parts: Sequence[np.ndarray], labels: np.ndarray) -> None:
    holder = np.full(len(labels), -1)
    for client, part in enumerate(parts):
        if len(shared := part[holder[part] >= 0]):
            sample = shared[0]
            raise ConfigError(
                f"{name} gives sample {sample} (class {labels[sample]}) to client {holder[sample]} "
                f"and to client {client}, which share {len(np.unique(shared))} samples with one "
                "another; give it to one of them, or set overlap = True on the partition if that "
                "is meant"
            )
        holder[part] = client


def _check_exhaustive(name: str, parts: Sequence[np.ndarray], labels: np.ndarray) -> None:
    left = np.setdiff1d(np.arange(len(labels)), np.concatenate(parts))
    if len(left):
        raise ConfigError(
            f"{name} gives sample {left[0]} (class {labels[left[0]]}) to no client, and "
            f"{len(left) - 1} more of {len(labels)} likewise; deal all, or set exhaustive = False "
            "on the partition if that is meant"
        )


def _kind(value: object) -> str:
    kind = type(value).__name__
    return f"{kind} of {len(value)}" if isinstance(value, Sized) else f"a value of type {kind}"

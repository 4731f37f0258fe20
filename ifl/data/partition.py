"""Partitions the samples among clients: labels -> one index array per client.

Every partition here is disjoint and exhaustive. A partition is a small object, checked
when it is made, called as ``partition(labels, clients, generator)`` with labels (n,)
integers; it returns a list of ``clients`` sorted int64 arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ifl.checks import check_above, check_whole
from ifl.errors import ConfigError


class Partition(Protocol):
    """A callable as above: an object, or a function of one's own.

    A parameter called ``owners`` gets the owner of each sample, (n,) int64 or text, or None if
    the data set names none. What is returned is held to this: a list, one entry for each client,
    of one-dimensional arrays, lists or tensors of whole numbers from 0 to n - 1, none empty, no
    sample twice and none left out. Attributes of the object or function allow more:

    - ``overlap = True``: a sample may be with several clients;
    - ``repeats = True``: a client may have a sample several times;
    - ``exhaustive = False``: samples may be with nobody.
    """

    def __call__(
        self, labels: np.ndarray, clients: int, generator: np.random.Generator
    ) -> Sequence[np.ndarray]:
        """Return the clients' indices."""


def _check_size(labels: np.ndarray, clients: int) -> None:
    if not 1 <= clients <= len(labels):
        raise ConfigError(
            f"clients.count must be between 1 and the {len(labels)} training samples, got {clients}"
        )


@dataclass(frozen=True)
class Iid:
    """Equal random shares; sizes differ by at most one sample.

    Args:
        alpha: there to be refused with a sentence: it belongs to ``Dirichlet``.

    Raises:
        ConfigError: alpha is set.
    """

    alpha: float | None = None

    def __post_init__(self) -> None:
        if self.alpha is not None:
            raise ConfigError(
                f"partition.alpha must be > 0 and goes with partition=dirichlet, got {self.alpha} "
                "with partition=iid, which gives equal shares; set one or the other"
            )

    def __call__(
        self, labels: np.ndarray, clients: int, generator: np.random.Generator
    ) -> list[np.ndarray]:
        """Return the clients' indices."""
        _check_size(labels, clients)
        order = generator.permutation(len(labels))
        return [np.sort(part) for part in np.array_split(order, clients)]


@dataclass(frozen=True)
class Dirichlet:
    """Each class is shared out in proportions drawn from Dirichlet(alpha, ..., alpha).

    Small alpha: each class sits with few clients; large alpha: towards iid.
    Source: Yurochkin et al. 2019, section 4; Hsu et al. 2019 is the same per client.

    Raises:
        ConfigError: alpha is not above 0, or ``max_redraws`` draws in a row leave some
            client with fewer than ``min_samples`` samples.
    """

    alpha: float
    min_samples: int = 1
    max_redraws: int = 1000

    def __post_init__(self) -> None:
        check_above("partition.alpha", self.alpha, 0, "; use partition=iid for equal shares")
        check_whole("partition.min_samples", self.min_samples, 0)
        check_whole("partition.max_redraws", self.max_redraws, 1)

    def __call__(
        self, labels: np.ndarray, clients: int, generator: np.random.Generator
    ) -> list[np.ndarray]:
        """Return the clients' indices."""
        _check_size(labels, clients)
        by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if clients * self.min_samples <= len(labels):
            for _ in range(self.max_redraws):
                counts = np.stack(
                    [_sizes(len(c), clients, self.alpha, generator) for c in by_class]
                )
                if counts.sum(axis=0).min() >= self.min_samples:
                    return _deal(by_class, counts, generator)
        raise ConfigError(
            f"partition=dirichlet with alpha={self.alpha} gave some client fewer than "
            f"min_samples={self.min_samples} of {len(labels)} samples in each of "
            f"{self.max_redraws} draws; raise partition.alpha, or lower partition.min_samples, "
            "batch_size or clients.count"
        )


@dataclass(frozen=True)
class Quantity:
    """Clients differ in how much they hold: sizes drawn from Dirichlet(beta, ..., beta).

    Small beta: few clients hold nearly all; large beta: equal sizes. Every client's share of a
    class is within one sample of its share of the whole.
    Source: Li et al. 2022, "Federated Learning on Non-IID Data Silos", quantity skew; there
    samples are drawn regardless of class.

    Raises:
        ConfigError: beta is not above 0, or ``max_redraws`` draws in a row leave some client
            with fewer than ``min_samples`` samples.
    """

    beta: float
    min_samples: int = 1
    max_redraws: int = 1000

    def __post_init__(self) -> None:
        check_above("partition.beta", self.beta, 0, "; use partition=iid for equal shares")
        check_whole("partition.min_samples", self.min_samples, 0)
        check_whole("partition.max_redraws", self.max_redraws, 1)

    def __call__(
        self, labels: np.ndarray, clients: int, generator: np.random.Generator
    ) -> list[np.ndarray]:
        """Return the clients' indices."""
        n = len(labels)
        _check_size(labels, clients)
        if clients * self.min_samples <= n:
            for _ in range(self.max_redraws):
                sizes = _sizes(n, clients, self.beta, generator)
                if sizes.min() >= self.min_samples:
                    order = _interleaved(labels, generator)
                    return [np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1])]
        raise ConfigError(
            f"partition=quantity with beta={self.beta} gave some client fewer than "
            f"min_samples={self.min_samples} of {n} samples in each of {self.max_redraws} draws; "
            "raise partition.beta, or lower partition.min_samples, batch_size or clients.count"
        )


@dataclass(frozen=True)
class Classes:
    """Each client holds ``per_client`` classes; a class is shared equally by its holders.

    Client k takes the next ``per_client`` classes of a shuffled cycle (the pathological
    non-iid setting of McMahan et al. 2017, with every sample used).

    Raises:
        ConfigError: a client cannot hold that many classes, or some class has no holder,
            or more holders than samples.
    """

    per_client: int

    def __post_init__(self) -> None:
        check_whole("partition.per_client", self.per_client, 1)

    def __call__(
        self, labels: np.ndarray, clients: int, generator: np.random.Generator
    ) -> list[np.ndarray]:
        """Return the clients' indices."""
        _check_size(labels, clients)
        by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        n = len(by_class)
        if self.per_client > n or self.per_client * clients < n:
            raise ConfigError(
                f"partition.per_client={self.per_client} with {clients} clients cannot cover "
                f"{n} classes; it must be between {-(-n // clients)} and {n}"
            )
        cycle = generator.permutation(n)
        held = np.zeros((n, clients), dtype=np.int64)
        for client in range(clients):
            for j in range(self.per_client):
                held[cycle[(client * self.per_client + j) % n], client] = 1
        counts = np.zeros_like(held)
        for label, members in enumerate(by_class):
            holders = np.flatnonzero(held[label])
            if len(members) < len(holders):
                raise ConfigError(
                    f"class {label} has {len(members)} samples for {len(holders)} clients; "
                    "lower partition.per_client or clients.count"
                )
            counts[label, holders] = [len(p) for p in np.array_split(members, len(holders))]
        return _deal(by_class, counts, generator)


def _sizes(
    size: int, clients: int, concentration: float, generator: np.random.Generator
) -> np.ndarray:
    """Return how many of ``size`` samples each client gets: (clients,) summing to size."""
    shares = generator.dirichlet(np.full(clients, concentration))
    if not np.isfinite(shares).all():  # underflow at a tiny value: its limit, one owner
        shares = np.eye(clients)[generator.integers(clients)]
    cuts = np.round(np.cumsum(shares)[:-1] * size).astype(np.int64)
    return np.diff(np.concatenate([[0], cuts, [size]]))


def _interleaved(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return all indices in random order, but the samples of each class evenly spaced."""
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.argsort(place, kind="stable")


def _deal(
    by_class: list[np.ndarray], counts: np.ndarray, generator: np.random.Generator
) -> list[np.ndarray]:
    """Give client k ``counts[c, k]`` random samples of each class c."""
    shares: list[list[np.ndarray]] = [[] for _ in range(counts.shape[1])]
    for members, row in zip(by_class, counts, strict=True):
        pieces = np.split(generator.permutation(members), np.cumsum(row)[:-1])
        for share, piece in zip(shares, pieces, strict=True):
            share.append(piece)
    return [np.sort(np.concatenate(share)).astype(np.int64) for share in shares]

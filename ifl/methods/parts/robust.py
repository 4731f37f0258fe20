"""Makes a pool robust: leaves out rows that lie apart from their class, or clips coordinates.

A server can do so without keeping anything: it compares what clients sent of one class in one
round. Sources: the coordinate-wise median and trimming of Yin et al. 2018, "Byzantine-Robust
Distributed Learning", there of gradients, here by class and of fusion outputs. It holds against
fewer than half of the clients that sent rows of a class, and not against what lies within the
spread of honest rows.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ifl.checks import check_one_of
from ifl.client.client import Client
from ifl.errors import ConfigError

FEWEST = 3  # clients with rows of a class: of two that differ nobody knows which one lies
SHARE = 0.25  # of these clients, rounded up, that trimming leaves out
APART = 2.0  # times the median distance, that is too far

Rows = Sequence[tuple[Tensor, Tensor]]  # z (rows, d) and y (rows,) of each client, in their order


def whole(sent: Rows) -> Rows:
    """Return all rows as they came (paper)."""
    return sent


def clipped(sent: Rows) -> Rows:
    """Return z with each coordinate between what is usual among clients.

    That is from the median over clients of their smallest value to the median of their largest,
    since a quantile over rows would move with one client's, who sends a good part of them.
    """
    low = _median(torch.stack([z.amin(dim=0) for z, _ in sent]))  # (d,)
    high = _median(torch.stack([z.amax(dim=0) for z, _ in sent]))
    return [(torch.minimum(torch.maximum(z, low), high), y) for z, y in sent]


def trimmed(sent: Rows) -> Rows:
    """Return rows without those of the quarter of clients, by class, whose mean is farthest off.

    Off the coordinate-wise median of the clients' means of that class. A quarter is rounded up,
    so that one of three or four is left out, whether or not it lies.
    """

    def kept(distances: Tensor) -> Tensor:
        count = len(distances)
        farthest = distances.topk(-int(-SHARE * count // 1)).indices
        return torch.ones(count, dtype=torch.bool).index_fill(0, farthest.cpu(), False)

    return _without(sent, kept)


def near(sent: Rows) -> Rows:
    """Return rows without those of clients whose mean of the class is too far off.

    That is farther than twice the median of the clients' distances to the coordinate-wise median
    of their means. Where all are alike, nobody is left out.
    """
    return _without(sent, lambda distances: (distances <= APART * _median(distances)).cpu())


ROBUST: Mapping[str, Callable[[Rows], Rows]] = {
    "none": whole,
    "trimmed": trimmed,
    "median": near,
    "clip": clipped,
}


def _without(sent: Rows, kept: Callable[[Tensor], Tensor]) -> Rows:
    """Return rows without those that ``kept`` does not keep, by their distances of one class.

    Args:
        kept: maps the distances (clients,) of those with rows of a class to flags, at least two
            of them true.
    """
    flags = [torch.ones(len(y), dtype=torch.bool, device=y.device) for _, y in sent]
    for label in torch.cat([y for _, y in sent]).unique():
        members = [k for k, (_, y) in enumerate(sent) if bool((y == label).any())]
        if len(members) < FEWEST:
            continue
        means = torch.stack([sent[k][0][sent[k][1] == label].double().mean(dim=0) for k in members])
        distances = (means - _median(means)).norm(dim=1)
        for k, keep in zip(members, kept(distances).tolist(), strict=True):
            if not keep:
                flags[k] &= sent[k][1] != label
    return [(z[flag], y[flag]) for (z, y), flag in zip(sent, flags, strict=True)]


def _median(values: Tensor) -> Tensor:
    """Return the median over the first dimension; of an even number, the mean of the middle two."""
    ordered = values.sort(dim=0).values
    middle = (len(values) - 1) // 2
    return (ordered[middle] + ordered[len(values) // 2]) / 2


def check_robust(robust: object, stage2: str) -> None:
    """Raise ConfigError unless it is a way to make a pool robust that goes with stage 2."""
    check_one_of("method.robust", robust, *ROBUST)
    if robust in ("trimmed", "median") and stage2 == "per_client":
        raise ConfigError(
            f"method.stage2=per_client needs each client's pair whole, got method.robust={robust}; "
            "use method.stage2=pooled, or method.robust=clip"
        )


def check_by_class(me: Client, robust: str) -> None:
    """Raise ConfigError if rows are left out by labels that are randomised."""
    if me.disclosure.labels and robust in ("trimmed", "median"):
        raise ConfigError(
            f"method.robust={robust} chooses by labels, which privacy.label_epsilon randomises: "
            "the loss is not corrected for that; use method.robust=clip or none"
        )

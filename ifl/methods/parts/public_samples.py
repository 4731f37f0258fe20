"""Takes anchors of a round, predicts them, and learns from what was agreed on them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ifl.client.client import Client
from ifl.client.memory import Kept
from ifl.client.steps import PORTION, frozen
from ifl.errors import ConfigError
from ifl.methods.parts.mixtures import Published
from ifl.seeding import rng


def public(me: Client) -> Tensor | None:
    """Return the anchors (A, ...) that a client has, given or published; None where it has none."""
    return me.memory.of(Published).mixtures if me.anchors is None else me.anchors


@dataclass
class Agreed(Kept):
    """Anchors of the last rounds and what was agreed on them, the newest at the end."""

    anchor_places: list[Tensor] = field(default_factory=list)  # (rows,) int64 each
    anchor_targets: list[Tensor] = field(default_factory=list)  # (rows, classes) each
    anchor_fusions: list[Tensor] = field(default_factory=list)  # (rows, d) each


def check_anchors(me: Client, rows: int, field: str = "method.rows") -> None:
    """Raise ConfigError unless a client has as many anchors as it is to speak of."""
    count = 0 if me.anchors is None else len(me.anchors)
    if count < rows:
        way = "choose anchors=held_out" if not count else "take fewer"
        raise ConfigError(f"{field}={rows} needs as many anchors, got {count}; {way}")


def places(me: Client, rows: int, round_number: int) -> Tensor:
    """Return the places (rows,) int64 of a round's anchors, the same at all clients."""
    anchors = public(me)
    assert anchors is not None
    draws = rng(me.training.seed, "anchors", round_number)
    return torch.randperm(len(anchors), generator=draws)[:rows].to(anchors.device)


def fusion(me: Client, where: Tensor) -> Tensor:
    """Return a client's z (n, d) of anchors by their places (n,), without graph."""
    anchors = public(me)
    assert anchors is not None
    with frozen(me.model), torch.no_grad():
        return torch.cat([me.model.base(part) for part in anchors[where].split(PORTION)])


def logits_of(me: Client, z: Tensor) -> Tensor:
    """Return a client's logits (n, classes) of its z (n, d), without graph."""
    with frozen(me.model), torch.no_grad():
        return torch.cat([me.model.modular(part) for part in z.split(PORTION)])


def logits(me: Client, where: Tensor) -> Tensor:
    """Return a client's logits (n, classes) of anchors by their places (n,), without graph."""
    return logits_of(me, fusion(me, where))


def digest(
    me: Client,
    where: Tensor,
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    batch: int,
    round_number: int,
) -> None:
    """Train both blocks to say what was agreed of some anchors, as they are.

    Args:
        where: their places (n,) int64.
        targets: (n, classes).
        loss: of logits and targets (b, classes), a scalar.
        epochs: passes over them, shuffled anew.
        batch: anchors of a step.
        round_number: names what is drawn.
    """
    assert me.anchors is not None
    draws = rng(me.training.seed, "client", me.number, "anchors", round_number)
    for _ in range(epochs):
        for some in torch.randperm(len(where), generator=draws).to(where.device).split(batch):
            said = me.model(me.anchors.index_select(0, where[some]))
            me.watch.descend(loss(said, targets[some]), *me.both)

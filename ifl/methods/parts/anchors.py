"""Agrees on predictions for public samples, and teaches base blocks what was agreed.

Each client says what it thinks of some anchors, weighted by how many samples of each class it has;
the server adds these up and tells everybody. A client that never saw a class learns from those who
did, and nothing of its network is shown.

Sources: distillation on public data, Li & Wang 2019, "FedMD", arXiv 1910.03581; sharpened averages,
Itahara et al. 2021, "Distillation-Based Semi-Supervised Federated Learning", arXiv 2008.06180;
a student that sees distorted what its teacher saw clean, Xie et al. 2020, "Self-Training With
Noisy Student Improves ImageNet Classification", arXiv 1911.04252. The weights by class are this
project's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ifl.checks import check_above, check_at_least, check_flag, check_whole
from ifl.client.client import Client
from ifl.client.memory import Kept
from ifl.comm.message import Message
from ifl.comm.schema import Form, floats
from ifl.errors import ConfigError
from ifl.methods.parts.public_samples import check_anchors, logits, places
from ifl.seeding import rng

PREDICTIONS = "p"  # of a message: (rows, classes)
TINY = 1e-12


@dataclass
class Agreed(Kept):
    """Anchors of the last rounds and what was agreed on them, the newest at the end."""

    anchor_places: list[Tensor] = field(default_factory=list)  # (rows,) int64 each
    anchor_targets: list[Tensor] = field(default_factory=list)  # (rows, classes) each


@dataclass(frozen=True)
class Anchored:
    """Predictions on public samples, exchanged each round and distilled in stage 1.

    In round r all take the same ``rows`` anchors, drawn by a public stream. Client k sends
    q_k = softmax(f_k(a)) * n_k, where n_kc is the number of its samples of class c; the server
    sends back Q = sum_k q_k, each row divided by its sum. Everybody sharpens,
    t = Q^power / sum Q^power, keeps the t of the last ``keep`` rounds, and adds to the loss of each
    local step weight * CE(f_k(view(a)), t) on ``batch`` of the kept anchors.

    Bytes per round and client beside those of the method, float32, C classes: 4*rows*C up, as
    many down.

    Args:
        rows: anchors a round; 0: none of this.
        weight: of the term.
        start: the first round, from 1, whose predictions are learned from.
        keep: rounds whose targets are kept.
        batch: anchors of a local step.
        power: 1 leaves predictions as soft as they are.
        weighted: false: all clients count alike, whatever they have seen.
        distort: the student sees anchors as augment shows them; false: as they are.

    Raises:
        ConfigError: a value is out of range.
    """

    rows: int = 0
    weight: float = 1.0
    start: int = 5
    keep: int = 10
    batch: int = 32
    power: float = 2.0
    weighted: bool = True
    distort: bool = True

    def __post_init__(self) -> None:
        check_whole("method.anchors.rows", self.rows, 0)
        check_at_least("method.anchors.weight", self.weight, 0)
        for name in ("start", "keep", "batch"):
            check_whole(f"method.anchors.{name}", getattr(self, name), 1)
        check_above("method.anchors.power", self.power, 0, "; 1 leaves predictions as they are")
        check_flag("method.anchors.weighted", self.weighted)
        check_flag("method.anchors.distort", self.distort)

    def check(self, me: Client) -> None:
        """Raise ConfigError unless a client has as many anchors as it is to speak of."""
        if not self.rows:
            return
        check_anchors(me, self.rows, "method.anchors.rows")
        if me.disclosure.labels or me.disclosure.z:
            raise ConfigError(
                f"method.anchors.rows={self.rows} sends predictions, which privacy does not hide; "
                "set method.anchors.rows=0, or leave privacy out"
            )

    def form(self) -> Form:
        """Expect predictions (rows, classes), or nothing."""
        return {PREDICTIONS: floats(self.rows, "classes")} if self.rows else {}

    def told(self, me: Client, round_number: int) -> dict[str, Tensor]:
        """Return what a client sends of a round's anchors: {"p": (rows, classes)}, or nothing."""
        if not self.rows:
            return {}
        p = logits(me, places(me, self.rows, round_number)).softmax(dim=1)
        if self.weighted:
            p = p * torch.bincount(me.shard.y, minlength=p.shape[1]).to(p)
        return {PREDICTIONS: p}

    def keep_agreed(self, me: Client, round_number: int, reply: Message) -> None:
        """Keep what was agreed on this round's anchors, and forget the oldest beyond ``keep``."""
        if self.rows and round_number >= self.start:
            self.keep_targets(me, places(me, self.rows, round_number), reply[PREDICTIONS])

    def teach_oneself(self, me: Client, round_number: int) -> None:
        """Keep a client's own sharpened predictions of this round's anchors, as if agreed on."""
        if self.rows and round_number >= self.start:
            where = places(me, self.rows, round_number)
            self.keep_targets(me, where, logits(me, where).softmax(dim=1))

    def keep_targets(self, me: Client, where: Tensor, p: Tensor) -> None:
        """Keep sharpened predictions p (rows, classes) of anchors by their places (rows,)."""
        sharp = p.clamp(min=0) ** self.power
        targets = sharp / sharp.sum(dim=1, keepdim=True).clamp(min=TINY)
        kept = me.memory.of(Agreed)
        kept.anchor_places = [*kept.anchor_places, where][-self.keep :]
        kept.anchor_targets = [*kept.anchor_targets, targets][-self.keep :]

    def term(self, me: Client, round_number: int) -> Callable[[], Tensor] | None:
        """Return a function that gives the term of the next local step; None before any."""
        if not self.rows or not self.weight:
            return None
        kept = me.memory.of(Agreed)
        if not kept.anchor_places:
            return None
        assert me.anchors is not None
        anchors = me.anchors
        where, targets = torch.cat(kept.anchor_places), torch.cat(kept.anchor_targets)
        draws = rng(me.training.seed, "client", me.number, "anchors", round_number)

        def next_term() -> Tensor:
            chosen = torch.randint(len(where), (self.batch,), generator=draws).to(where.device)
            x = anchors.index_select(0, where.index_select(0, chosen))
            if self.distort:
                x = me.training.augment(x, draws)
            return self.weight * cross_entropy(me.model(x), targets.index_select(0, chosen))

        return next_term


def agree(uploads: Sequence[Message]) -> dict[str, Tensor]:
    """Return the sum of what clients sent, each row divided by its sum: {"p": (rows, classes)}.

    A row of which nobody says anything is uniform.
    """
    if not uploads or PREDICTIONS not in uploads[0]:
        return {}
    total = torch.stack([upload[PREDICTIONS] for upload in uploads]).sum(dim=0).clamp(min=0)
    sums = total.sum(dim=1, keepdim=True)
    share = torch.where(sums > TINY, total / sums.clamp(min=TINY), 1 / total.shape[1])
    return {PREDICTIONS: share}

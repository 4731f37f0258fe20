"""Agrees on predictions or z of public samples, and teaches base blocks what was agreed.

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
from torch.nn.functional import cross_entropy, mse_loss

from ifl.checks import check_above, check_at_least, check_flag, check_one_of, check_whole
from ifl.client.client import Client
from ifl.client.memory import Kept
from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, floats
from ifl.errors import ConfigError
from ifl.methods.parts.public_samples import check_anchors, fusion, logits, logits_of, places
from ifl.seeding import rng

PREDICTIONS = "p"  # of a message: (rows, classes)
FUSIONS = "za"  # (rows, d)
WEIGHTS = "w"  # (rows,) int32, of these fusion outputs
MOST = 2**31 - 1  # of a weight
TINY = 1e-12


@dataclass
class Agreed(Kept):
    """Anchors of the last rounds and what was agreed on them, the newest at the end."""

    anchor_places: list[Tensor] = field(default_factory=list)  # (rows,) int64 each
    anchor_targets: list[Tensor] = field(default_factory=list)  # (rows, classes) each
    anchor_fusions: list[Tensor] = field(default_factory=list)  # (rows, d) each


@dataclass(frozen=True)
class Anchored:
    """Predictions or z of public samples, exchanged each round and learned from in stage 1.

    In round r all take the same ``rows`` anchors, drawn by a public stream. Client k sends
    q_k = softmax(f_k(a)) * n_k, where n_kc is the number of its samples of class c; the server
    sends back Q = sum_k q_k, each row divided by its sum. Everybody sharpens,
    t = Q^power / sum Q^power, keeps the t of the last ``keep`` rounds, and adds to the loss of each
    local step weight * CE(f_k(view(a)), t) on ``batch`` of the kept anchors.

    With z, client k sends z_k = f_b,k(a) and a whole number w_k a row, how many samples it has of
    the class that it predicts for a; the server sends back zbar = sum_k w_k z_k / sum_k w_k, the
    plain mean where all w_k are 0. The term is weight * |f_b,k(view(a)) - zbar|^2 / d, in the mean
    over the same batch; with both, it is the sum of the two.

    Bytes per round and client beside those of the method, float32, C classes:
        predictions: 4*rows*C up, as many down;
        z: 4*rows*d + 4*rows up, 4*rows*d down;
        both: the sum.

    Args:
        rows: anchors a round; 0: none of this.
        send: "predictions", "z" or "both".
        weight: of the term.
        start: the first round, from 1, whose predictions or z are learned from.
        keep: rounds whose targets are kept.
        batch: anchors of a local step.
        power: 1 leaves predictions as soft as they are.
        weighted: false: all clients count alike, whatever they have seen; w_k is 1.
        distort: the student sees anchors as augment shows them; false: as they are.

    Raises:
        ConfigError: a value is out of range.
    """

    rows: int = 0
    send: str = "predictions"
    weight: float = 1.0
    start: int = 5
    keep: int = 10
    batch: int = 32
    power: float = 2.0
    weighted: bool = True
    distort: bool = True

    def __post_init__(self) -> None:
        check_whole("method.anchors.rows", self.rows, 0)
        check_one_of("method.anchors.send", self.send, "predictions", "z", "both")
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
                f"method.anchors.rows={self.rows} sends {self.words}, which privacy does not hide; "
                "set method.anchors.rows=0, or leave privacy out"
            )

    @property
    def words(self) -> str:
        """What is sent, in words."""
        return "predictions and z" if self.send == "both" else self.send

    def form(self) -> Form:
        """Expect what the server says: predictions (rows, classes), z (rows, d), or nothing."""
        form: dict[str, Expected] = {}
        if self.rows and self.send != "z":
            form[PREDICTIONS] = floats(self.rows, "classes")
        if self.rows and self.send != "predictions":
            form[FUSIONS] = floats(self.rows, "d")
        return form

    def upload_form(self) -> Form:
        """Expect what a client says: likewise, and with z a weight (rows,) each."""
        form = self.form()
        if FUSIONS not in form:
            return form
        return {**form, WEIGHTS: Expected((self.rows,), torch.int32, 0, MOST)}

    def told(self, me: Client, round_number: int) -> dict[str, Tensor]:
        """Return what a client sends of a round's anchors, as ``upload_form`` has it."""
        if not self.rows:
            return {}
        z = fusion(me, places(me, self.rows, round_number))
        p = logits_of(me, z).softmax(dim=1)
        held = torch.bincount(me.shard.y, minlength=p.shape[1]).to(p.device)
        said = {PREDICTIONS: p * held.to(p) if self.weighted else p, FUSIONS: z}
        weights = held[p.argmax(dim=1)] if self.weighted else torch.ones_like(p[:, 0])
        said[WEIGHTS] = weights.to(torch.int32)
        return {name: said[name] for name in self.upload_form()}

    def keep_agreed(self, me: Client, round_number: int, reply: Message) -> None:
        """Keep what was agreed on this round's anchors, and forget the oldest beyond ``keep``."""
        if not self.rows or round_number < self.start:
            return
        where, kept = places(me, self.rows, round_number), me.memory.of(Agreed)
        if PREDICTIONS in reply:
            self.keep_targets(me, where, reply[PREDICTIONS])
        else:
            kept.anchor_places = [*kept.anchor_places, where][-self.keep :]
        if FUSIONS in reply:
            kept.anchor_fusions = [*kept.anchor_fusions, reply[FUSIONS]][-self.keep :]

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
        where = torch.cat(kept.anchor_places)
        targets, fusions = (
            torch.cat(each) if each else None for each in (kept.anchor_targets, kept.anchor_fusions)
        )
        draws = rng(me.training.seed, "client", me.number, "anchors", round_number)

        def next_term() -> Tensor:
            chosen = torch.randint(len(where), (self.batch,), generator=draws).to(where.device)
            x = anchors.index_select(0, where.index_select(0, chosen))
            if self.distort:
                x = me.training.augment(x, draws)
            z, parts = me.model.base(x), []
            if targets is not None:
                parts.append(cross_entropy(me.model.modular(z), targets.index_select(0, chosen)))
            if fusions is not None:
                parts.append(mse_loss(z, fusions.index_select(0, chosen)))
            return self.weight * torch.stack(parts).sum()

        return next_term


def agree(uploads: Sequence[Message]) -> dict[str, Tensor]:
    """Return what was agreed of what clients sent, by name, or nothing.

    Predictions p (rows, classes) are added up, each row divided by its sum; a row of which nobody
    says anything is uniform. Of z (rows, d) it is the mean by weight, the plain one where all are
    0.
    """
    agreed: dict[str, Tensor] = {}
    if not uploads:
        return agreed
    if PREDICTIONS in uploads[0]:
        total = torch.stack([upload[PREDICTIONS] for upload in uploads]).sum(dim=0).clamp(min=0)
        sums = total.sum(dim=1, keepdim=True)
        share = torch.where(sums > TINY, total / sums.clamp(min=TINY), 1 / total.shape[1])
        agreed[PREDICTIONS] = share
    if FUSIONS in uploads[0]:
        z = torch.stack([upload[FUSIONS] for upload in uploads])  # (N, rows, d)
        weights = torch.stack([upload[WEIGHTS] for upload in uploads]).to(z)
        weights = torch.where(weights.sum(dim=0) > 0, weights, 1)
        agreed[FUSIONS] = (weights / weights.sum(dim=0)).unsqueeze(2).mul(z).sum(dim=0)
    return agreed

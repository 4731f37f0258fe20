"""Agrees on predictions or z of public samples, and teaches base blocks what was agreed.

Each client says what it thinks of some anchors, weighted by how many samples of each class it has;
the server adds these up and tells everybody. A client that never saw a class learns from those who
did, and nothing of its network is shown.

Sources: distillation on public data, Li & Wang 2019, "FedMD", arXiv 1910.03581; sharpened averages,
Itahara et al. 2021, "Distillation-Based Semi-Supervised Federated Learning", arXiv 2008.06180;
a student that sees distorted what its teacher saw clean, Xie et al. 2020, "Self-Training With
Noisy Student Improves ImageNet Classification", arXiv 1911.04252. Weights by class are ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from ifl.checks import check_above, check_at_least, check_flag, check_one_of, check_whole
from ifl.client.client import Client
from ifl.comm.message import Message
from ifl.comm.schema import Form
from ifl.errors import ConfigError
from ifl.methods.parts.agreement import (  # fmt: skip
    COUNTS,
    FUSIONS,
    PREDICTIONS,
    TINY,
    WEIGHTS,
    agreed_form,
    speaks,
    upload_form,
)
from ifl.methods.parts.mixtures import MIXES, MIXTURES, Published, check_mixtures, mixtures
from ifl.methods.parts.mixtures import form as mixtures_form
from ifl.methods.parts.public_samples import (
    Agreed,
    check_anchors,
    fusion,
    logits_of,
    places,
    public,
)
from ifl.seeding import rng


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

    With mixtures M the anchors are means of the clients' own samples. In the first round the server
    asks for them; each client that is there publishes M, each of ``mixed`` samples, and all of
    these hear them in client order. Who was not there holds none: it sends nothing of anchors and
    learns nothing of them, now or later.

    Bytes per round and client beside those of the method, float32, C classes:
        predictions: 4*rows*C up, as many down, 4*C more up where they are balanced;
        z: 4*rows*d + 4*rows up, 4*rows*d down;
        both: the sum;
        mixtures: in place of these in the first round 4*M*|x| up for |x| numbers a sample, and
            4*K*M*|x| down where K clients came, with a message without content before.

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
        mixtures: M, that each client publishes where there are no public samples; 0: none.
        mixed: samples behind each mixture; 1: the samples themselves are published.
        mix: "across" classes, or "within" one, which classes with fewer samples are left out of.
        balance: clients tell how many samples of each class they have; the server divides Q by
            their sums, so that classes weigh alike, and scales its columns and rows in turn, twice,
            so that classes have nearly the shares of it that they have of all samples.

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
    mixtures: int = 0
    mixed: int = 8
    mix: str = "across"
    balance: bool = False

    def __post_init__(self) -> None:
        check_whole("method.anchors.rows", self.rows, 0)
        check_one_of("method.anchors.send", self.send, "predictions", "z", "both")
        check_at_least("method.anchors.weight", self.weight, 0)
        for name in ("start", "keep", "batch"):
            check_whole(f"method.anchors.{name}", getattr(self, name), 1)
        check_above("method.anchors.power", self.power, 0, "; 1 leaves predictions as they are")
        check_flag("method.anchors.weighted", self.weighted)
        check_flag("method.anchors.distort", self.distort)
        check_flag("method.anchors.balance", self.balance)
        check_whole("method.anchors.mixtures", self.mixtures, 0)
        check_whole("method.anchors.mixed", self.mixed, 1)
        check_one_of("method.anchors.mix", self.mix, *MIXES)
        if self.balance and (self.send == "z" or not self.weighted):
            raise ConfigError(
                "method.anchors.balance=true balances predictions that samples weigh; set "
                "method.anchors.send=predictions, weighted=true, or balance=false"
            )
        if self.mixtures and not self.rows:
            raise ConfigError(
                f"method.anchors.mixtures={self.mixtures} needs method.anchors.rows of 1 or more"
            )

    def check(self, me: Client, clients: int = 1) -> None:
        """Raise ConfigError unless a client has, or gets, as many anchors as it is to speak of."""
        if not self.rows:
            return
        if self.mixtures:
            check_mixtures(me, self.mixtures, self.mixed, self.mix)
            if self.rows > self.mixtures * clients:
                raise ConfigError(
                    f"method.anchors.rows={self.rows} needs as many anchors, got {clients} clients "
                    f"with method.anchors.mixtures={self.mixtures} each; raise it or take fewer"
                )
        else:
            check_anchors(me, self.rows, "method.anchors.rows")
        if me.disclosure.labels or me.disclosure.z:
            raise ConfigError(
                f"method.anchors.rows={self.rows} sends {self.words}, which privacy does not hide; "
                "set method.anchors.rows=0, or leave privacy out"
            )

    @property
    def words(self) -> str:
        """Name what is sent, in words."""
        said = "predictions and z" if self.send == "both" else self.send
        return f"mixtures of samples and {said}" if self.mixtures else said

    def present(self, holders: int | None = None) -> int:
        """Return the rows of a round: fewer where so many clients published too few mixtures."""
        if not self.mixtures or holders is None:
            return self.rows
        return min(self.rows, self.mixtures * holders)

    def upload_form(self, holders: int | None = None) -> Form:
        """Expect what a client says of anchors; of mixtures, those of so many clients."""
        return upload_form(self.send, self.present(holders), self.balance)

    def forms(self, clients: int, shape: Sequence[int]) -> list[Form]:
        """Expect what the server may say of anchors, where up to so many clients publish theirs."""
        if not self.mixtures:
            return [agreed_form(self.send, self.rows)]
        counts = range(1, clients + 1)
        rows = {self.present(k): None for k in counts}
        published = [mixtures_form(k * self.mixtures, shape) for k in counts]
        return [{}, *published, *(agreed_form(self.send, n) for n in rows)]

    def told(self, me: Client, round_number: int, asked: bool = False) -> dict[str, Tensor]:
        """Return what a client sends of a round's anchors, as ``upload_form`` has it.

        Args:
            asked: the server asks for mixtures.
        """
        if asked:
            return {MIXTURES: mixtures(me, self.mixtures, self.mixed, self.mix)}
        if not self.rows or public(me) is None:
            return {}
        z = fusion(me, places(me, self.rows, round_number))
        p = logits_of(me, z).softmax(dim=1)
        held = torch.bincount(me.shard.y, minlength=p.shape[1]).to(p.device)
        said = {PREDICTIONS: p * held.to(p) if self.weighted else p, FUSIONS: z}
        weights = held[p.argmax(dim=1)] if self.weighted else torch.ones_like(p[:, 0])
        said |= {WEIGHTS: weights.to(torch.int32), COUNTS: held.to(torch.int32)}
        return {name: said[name] for name in self.upload_form()}

    def keep_agreed(self, me: Client, round_number: int, reply: Message) -> None:
        """Keep what was agreed on this round's anchors, and forget the oldest beyond ``keep``."""
        if MIXTURES in reply:
            me.memory.of(Published).mixtures = reply[MIXTURES]
        if not speaks(reply) or round_number < self.start:
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
            self.keep_targets(me, where, logits_of(me, fusion(me, where)).softmax(dim=1))

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
        anchors = public(me)
        assert anchors is not None
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

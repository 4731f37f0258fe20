"""Trains one client (a vendor): its network, shard, optimisers and random streams."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from ifl.client.adjustment import log_shares
from ifl.client.divergence import Watch
from ifl.client.habits import Habits, habits, on_a_copy
from ifl.client.memory import Memory
from ifl.client.precision import compute_in
from ifl.client.privacy import Disclosure
from ifl.client.settings import Training
from ifl.client.state import learner_state, load_learner
from ifl.client.steps import PORTION, batched, optimizer_of
from ifl.data.augment import check_augment
from ifl.data.dataset import Shard
from ifl.errors import ConfigError
from ifl.models import SplitModel
from ifl.runs.checkpoint import State
from ifl.seeding import draws, rng

Pull = Callable[[Tensor, Tensor], Tensor]  # z (B, d), y (B,) -> a term of the loss, a scalar
Term = Callable[[], Tensor]  # a term that has samples of its own


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of a client's shard and their places in it; unpacks as ``x, y = batch``.

    Args:
        x: (B, ...) float32 samples, augmented, or int64 tokens.
        y: (B,) int64 labels.
        places: (B,) int64, in the shard.
    """

    x: Tensor
    y: Tensor
    places: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        """Yield x and y."""
        yield from (self.x, self.y)


class Client:
    """One party that learns: a split network on a shard.

    Mini-batches are drawn without replacement from a shuffled order that is drawn
    anew when fewer than ``batch_size`` samples of it are left.

    Args:
        name: how messages to the user call it, such as "client 2 (conv_base)".
        number: k, from 0; also names its random streams.
        training: its batch size is at most the size of the shard.
        disclosure: what its uploads tell of labels and z.
        anchors: (A, ...) public samples, as networks take them; None where there are none.
        known: the habits of its network, where another client's is alike; None: they are tried.

    Raises:
        ConfigError: the shard holds less than one batch, or the augmentation of its first one is
            not what was agreed on (``ifl.data.augment.check_augment``).
    """

    def __init__(
        self,
        name: str,
        number: int,
        model: SplitModel,
        shard: Shard,
        training: Training,
        disclosure: Disclosure = Disclosure(),  # noqa: B008 (frozen)
        anchors: Tensor | None = None,
        known: Habits | None = None,
    ) -> None:
        if training.batch_size > len(shard):
            raise ConfigError(
                f"batch_size must not exceed the smallest shard, got {training.batch_size} while "
                f"{name} has {len(shard)} samples; lower batch_size or clients.count, or choose "
                "a more even partition"
            )
        self.name = name
        self.number = number
        self.watch = Watch(name)
        # channels last: the same numbers, in the order that convolutions read them fastest
        self.model = model.to(training.device).to(memory_format=torch.channels_last)
        first = Shard(shard.x[: training.batch_size], shard.y[: training.batch_size]).inputs()
        self.habits = known or habits(self.model, name, first)
        for block in self.habits.changes:
            getattr(model, block).register_forward_pre_hook(on_a_copy)
        for learning in (model.base, model.modular):
            compute_in(training.precision, learning)
        # from a global generator, when its blocks are tested
        self.draws_tested = self.habits.draws_tested
        view = partial(check_augment, training.augment, first.to(training.device))
        drawing = self.habits.draws or draws(view)
        self.draws = drawing or training.optimizers.draws  # in its own turns
        self.training = training
        self.disclosure = disclosure
        self.anchors = None if anchors is None else anchors.to(training.device)
        self.base_optimizer = optimizer_of(model.base, training.optimizers.base)
        self.modular_optimizer = optimizer_of(model.modular, training.optimizers.modular)
        self.optimizers = (self.base_optimizer, self.modular_optimizer)
        blocks = ((model.base, self.base_optimizer), (model.modular, self.modular_optimizer))
        self.both = [optimizer for block, optimizer in blocks if list(block.parameters())]
        self._shuffle = rng(training.seed, "client", number, "batches")
        self._views = rng(training.seed, "client", number, "augment")
        self.memory = Memory()
        self.hold(shard)

    def hold(self, shard: Shard) -> None:
        """Draw mini-batches from this shard from now on."""
        self.shard = shard
        self._x = shard.inputs().to(self.training.device)
        self._y = shard.y.to(self.training.device)
        self.told = self._y  # (n,) int64: the labels that it sends, drawn once for the whole run
        if response := self.disclosure.labels:
            stream = rng(self.training.seed, "client", self.number, "privacy", "labels")
            self.told = response(self._y, stream)
        self._log_shares: Tensor | None = None  # (C,), when they are asked for
        self._order = torch.empty(0, dtype=torch.int64)
        self.classes = self._y.unique()  # (C,) int64, ascending: those that it has samples of

    def portions(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples once, not augmented: x (n, ...) as networks take them, y (n,) int64."""
        return batched(self._x, self._y, PORTION)

    def batch(self) -> Batch:
        """Return the next mini-batch."""
        size = self.training.batch_size
        if len(self._order) < size:
            self._order = torch.randperm(len(self._y), generator=self._shuffle).to(self._x.device)
        chosen, self._order = self._order[:size], self._order[size:]
        return self.samples(chosen)

    def samples(self, places: Tensor) -> Batch:
        """Return samples of its shard by their places (n,) int64."""
        places = places.to(self._x.device)
        x, y = self._x.index_select(0, places), self._y.index_select(0, places)
        return Batch(self.training.augment(x, self._views), y, places)

    def batches(self, count: int) -> Iterator[Batch]:
        """Yield the next ``count`` mini-batches."""
        for _ in range(count):
            yield self.batch()

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy, a scalar, of logits (B, C) of own samples with labels y (B,).

        With ``logit_adjustment`` the logits are adjusted to the classes of the shard.
        """
        if factor := self.training.logit_adjustment:
            if self._log_shares is None:
                self._log_shares = log_shares(self._y, logits.shape[1])
            logits = logits + factor * self._log_shares
        return cross_entropy(logits, y)

    def step(
        self,
        x: Tensor,
        y: Tensor,
        *optimizers: Optimizer,
        pull: Pull | None = None,
        term: Term | None = None,
    ) -> Tensor:
        """Take one step of each optimiser on the loss of the whole network on own samples.

        Args:
            x: (B, ...) samples, as networks take them.
            y: (B,) int64 labels.
            optimizers: those that step; both blocks' if none is named.
            pull: adds a term in the fusion output z to the loss.
            term: adds one of other samples.

        Returns:
            The loss before the step, a scalar without graph; ``watch`` keeps an eye on it.
        """
        z = self.model.base(x)
        loss = self.loss(self.model.modular(z), y)
        if pull:
            loss = loss + pull(z, y)
        if term:
            loss = loss + term()
        return self.watch.descend(loss, *(optimizers or self.both))

    def state(self) -> State:
        """Return all that its next round depends on, but for the shard."""
        return {
            "learner": learner_state(self.model, self.base_optimizer, self.modular_optimizer),
            "shuffle": self._shuffle.get_state(),
            "views": self._views.get_state(),
            "order": self._order,
            "memory": self.memory.state(),
        }

    def load_state(self, state: State) -> None:
        """Go on from such a state.

        Raises:
            ConfigError: it is that of another network.
        """
        load_learner(state["learner"], self.model, self.base_optimizer, self.modular_optimizer)
        self._shuffle.set_state(state["shuffle"])
        if "views" in state:  # not in checkpoints of before there were any
            self._views.set_state(state["views"])
        self._order = state["order"].to(self._x.device)
        self.memory.load_state(state["memory"])

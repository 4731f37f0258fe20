"""Trains one client (a vendor): its shard and settings, and the learner that it steps with."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from ifl.client.divergence import Watch
from ifl.client.habits import Habits, habits
from ifl.client.learner import OWN, Batch, Home, Learner, placed
from ifl.client.memory import Memory
from ifl.client.privacy import Disclosure
from ifl.client.settings import Training
from ifl.client.steps import PORTION, batched
from ifl.data.augment import check_augment
from ifl.data.dataset import Shard
from ifl.errors import ConfigError
from ifl.models import SplitModel
from ifl.runs.checkpoint import State
from ifl.seeding import draws

Pull = Callable[[Tensor, Tensor], Tensor]  # z (B, d), y (B,) -> a term of the loss, a scalar
Term = Callable[[], Tensor]  # a term that has samples of its own
Change = Callable[["Client"], None]


class Client:
    """One party that learns: a split network on a shard.

    Mini-batches are drawn without replacement from a shuffled order that is drawn
    anew when fewer than ``batch_size`` samples of it are left.

    Args:
        name: how messages to the user call it, such as "client 2 (conv_base)".
        number: k, from 0; also names its random streams.
        model: its network; where it has a home, a function that makes it, the same each time.
        training: its batch size is at most the size of the shard.
        disclosure: what its uploads tell of labels and z.
        anchors: (A, ...) public samples, as networks take them; None where there are none.
        like: a client whose network is alike, so that its habits are known; None: they are tried.
        home: lets go of its learner between rounds, and brings it when it is asked for; None: it
            is here from the start on.

    Attributes:
        stays: its home never lets go of its learner.

    Raises:
        ConfigError: the shard holds less than one batch, or the augmentation of its first one is
            not what was agreed on (``ifl.data.augment.check_augment``).
    """

    home: Home | None = None
    like: "Client | None" = None
    stays = False
    model: SplitModel
    base_optimizer: Optimizer
    modular_optimizer: Optimizer
    optimizers: Sequence[Optimizer]
    both: Sequence[Optimizer]
    memory: Memory
    told: Tensor
    habits: Habits
    draws: bool  # from a global generator, in its own turns
    draws_tested: bool  # when its blocks are tested

    def __init__(
        self,
        name: str,
        number: int,
        model: SplitModel | Callable[[], SplitModel],
        shard: Shard,
        training: Training,
        disclosure: Disclosure = Disclosure(),  # noqa: B008 (frozen)
        anchors: Tensor | None = None,
        like: "Client | None" = None,
        home: Home | None = None,
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
        self.training = training
        self.disclosure = disclosure
        self.anchors = None if anchors is None else anchors.to(training.device)
        self.shard = shard
        self.home, self.like = home, like if home else None
        self._make = None if isinstance(model, SplitModel) else model
        self._starts: list[Change] = []
        self._returns: list[Change] = []
        self._learner: Learner | None = None
        if like is not None and home is not None:
            self.habits, self.draws = like.habits, like.draws
            self.draws_tested = like.draws_tested
            return
        made = placed(model if isinstance(model, SplitModel) else model(), training.device)
        first = Shard(shard.x[: training.batch_size], shard.y[: training.batch_size]).inputs()
        self.habits = like.habits if like else habits(made, name, first)
        self.draws_tested = self.habits.draws_tested
        if home is None:
            self._learner = self._learning(made)
        view = partial(check_augment, training.augment, first.to(training.device))
        drawing = self.habits.draws or draws(view)
        self.draws = drawing or training.optimizers.draws

    def _learning(self, model: SplitModel) -> Learner:
        changes = self.habits.changes
        learner = Learner(model, self.number, self.training, self.disclosure, changes)
        learner.hold(self.shard)
        return learner

    @property
    def resident(self) -> bool:
        """True if its learner is in memory."""
        return self._learner is not None

    @property
    def learner(self) -> Learner:
        """Its network, optimisers, streams, samples and memory; brought if they are not here."""
        if self._learner is None:
            assert self.home is not None
            self.home.bring(self)
        assert self._learner is not None
        return self._learner

    def __getattr__(self, name: str) -> Any:
        if name in OWN:
            return getattr(self.learner, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def wake(self, state: State | None = None) -> None:
        """Make the learner anew: as it is at the start, or in this state.

        Raises:
            ConfigError: the state is that of another network.
        """
        assert self._make is not None
        self._learner = self._learning(placed(self._make(), self.training.device))
        if state is None:
            for change in self._starts:
                change(self)
        else:
            self.load_state(state)

    def sleep(self) -> None:
        """Let go of the learner; whoever calls this has its state."""
        self._learner = None

    def at_start(self, change: Change) -> None:
        """Change what this client starts with: now, or when it is first made if it is not yet."""
        if self.home is None:
            change(self)
            return
        self._starts.append(change)
        if self.resident or self.home.keeps(self):
            change(self)

    def on_return(self, change: Change) -> None:
        """Do something whenever this client goes on from a state; not where it is always here."""
        if self.home is not None:
            self._returns.append(change)

    def hold(self, shard: Shard) -> None:
        """Draw mini-batches from this shard from now on."""
        self.shard = shard
        self.__dict__.pop("classes", None)
        self.learner.hold(shard)

    @cached_property
    def classes(self) -> Tensor:
        """The classes that it has samples of: (C,) int64, ascending, on its device."""
        found: Tensor = self.shard.y.unique()
        return found.to(self.training.device)

    def portions(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples once, not augmented: x (n, ...) as networks take them, y (n,) int64."""
        return batched(self.learner.x, self.learner.y, PORTION)

    def batch(self) -> Batch:
        """Return the next mini-batch."""
        return self.learner.batch()

    def samples(self, places: Tensor) -> Batch:
        """Return samples of its shard by their places (n,) int64."""
        return self.learner.samples(places)

    def batches(self, count: int) -> Iterator[Batch]:
        """Yield the next ``count`` mini-batches."""
        for _ in range(count):
            yield self.batch()

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy, a scalar, of logits (B, C) of own samples with labels y (B,).

        With ``logit_adjustment`` the logits are adjusted to the classes of the shard.
        """
        if factor := self.training.logit_adjustment:
            logits = logits + factor * self.learner.log_shares(logits.shape[1])
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
        return self.learner.state()

    def load_state(self, state: State) -> None:
        """Go on from such a state.

        Raises:
            ConfigError: it is that of another network.
        """
        self.learner.load_state(state)
        for change in self._returns:
            change(self)

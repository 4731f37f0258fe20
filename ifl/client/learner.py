"""Holds what of a client takes memory: network, optimisers, random streams, samples, memory.

A client is light without it. The learner of one that has never trained follows from the seed, and
any other one from its state, bit for bit; so it may be let go of, and made again when it is needed.
"""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ifl.client.habits import on_a_copy
from ifl.client.memory import Memory
from ifl.client.precision import compute_in
from ifl.client.privacy import Disclosure
from ifl.client.settings import Training
from ifl.client.state import learner_state, load_learner
from ifl.client.steps import log_shares, optimizer_of
from ifl.data.dataset import Shard
from ifl.models import SplitModel
from ifl.runs.checkpoint import State
from ifl.seeding import rng

if TYPE_CHECKING:
    from ifl.client.client import Client


class Home(Protocol):
    """Keeps the learners of clients while they are not needed."""

    def bring(self, client: "Client") -> None:
        """Let a client have its learner."""

    def let_go(self, client: "Client") -> None:
        """Take it away, its state kept if it has changed."""

    def keeps(self, client: "Client") -> bool:
        """Tell whether it is not as it was at the start."""

    def looking(self) -> AbstractContextManager[None]:
        """Take clients that are brought inside for unchanged, if they were before."""


# What a client has of its learner.
OWN = ("model", "base_optimizer", "modular_optimizer", "optimizers", "both", "memory", "told")


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


def placed(model: SplitModel, device: str) -> SplitModel:
    """Return a network on its device, in the memory layout that convolutions read fastest."""
    # channels last: the same numbers in another order
    return model.to(device).to(memory_format=torch.channels_last)


class Learner:
    """A client's network with all that changes as it learns.

    Args:
        model: on its device, as ``placed`` returns it.
        number: of the client; names its random streams.
        disclosure: what its uploads tell of labels.
        changes: names of the blocks that change their input, and get a copy of it.
    """

    def __init__(
        self,
        model: SplitModel,
        number: int,
        training: Training,
        disclosure: Disclosure,
        changes: Collection[str],
    ) -> None:
        self.model = model
        for block in changes:
            getattr(model, block).register_forward_pre_hook(on_a_copy)
        for learning in (model.base, model.modular):
            compute_in(training.precision, learning)
        self.base_optimizer = optimizer_of(model.base, training.optimizers.base)
        self.modular_optimizer = optimizer_of(model.modular, training.optimizers.modular)
        self.optimizers = (self.base_optimizer, self.modular_optimizer)
        blocks = ((model.base, self.base_optimizer), (model.modular, self.modular_optimizer))
        self.both = [optimizer for block, optimizer in blocks if list(block.parameters())]
        self.memory = Memory()
        self.shuffle = rng(training.seed, "client", number, "batches")
        self.views = rng(training.seed, "client", number, "augment")
        self._number, self._training, self._disclosure = number, training, disclosure

    def hold(self, shard: Shard) -> None:
        """Take a shard's samples as networks take them, and its labels as they are told."""
        device = self._training.device
        self.x = shard.inputs().to(device)
        self.y = shard.y.to(device)
        self.told = self.y  # (n,) int64: the labels that it sends, drawn once for the whole run
        if response := self._disclosure.labels:
            stream = rng(self._training.seed, "client", self._number, "privacy", "labels")
            self.told = response(self.y, stream)
        self.order = torch.empty(0, dtype=torch.int64)
        self._log_shares: Tensor | None = None  # (C,), from the first loss that is adjusted

    def log_shares(self, classes: int) -> Tensor:
        """Return the log of each class's share of the shard: (classes,), worked out once."""
        if self._log_shares is None:
            self._log_shares = log_shares(self.y.cpu(), classes).to(self.y.device)
        return self._log_shares

    def batch(self) -> Batch:
        """Return the next mini-batch."""
        size = self._training.batch_size
        if len(self.order) < size:
            self.order = torch.randperm(len(self.y), generator=self.shuffle).to(self.x.device)
        chosen, self.order = self.order[:size], self.order[size:]
        return self.samples(chosen)

    def samples(self, places: Tensor) -> Batch:
        """Return samples of the shard by their places (n,) int64."""
        places = places.to(self.x.device)
        x, y = self.x.index_select(0, places), self.y.index_select(0, places)
        return Batch(self._training.augment(x, self.views), y, places)

    def state(self) -> State:
        """Return all that its next round depends on, but for the shard."""
        return {
            "learner": learner_state(self.model, self.base_optimizer, self.modular_optimizer),
            "shuffle": self.shuffle.get_state(),
            "views": self.views.get_state(),
            "order": self.order,
            "memory": self.memory.state(),
        }

    def load_state(self, state: State) -> None:
        """Go on from such a state.

        Raises:
            ConfigError: it is that of another network.
        """
        load_learner(state["learner"], self.model, self.base_optimizer, self.modular_optimizer)
        self.shuffle.set_state(state["shuffle"])
        if "views" in state:  # not in checkpoints of before there were any
            self.views.set_state(state["views"])
        self.order = state["order"].to(self.x.device)
        self.memory.load_state(state["memory"])

"""FML: a shared network beside each client's own; they teach each other, it alone is averaged.

Source: Shen et al. 2020, "Federated Mutual Learning", arXiv 2006.16765, algorithm 1; mutual
learning: Zhang et al. 2018, "Deep Mutual Learning".
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div
from torch.optim import Optimizer

from ifl.checks import check_at_least, check_whole
from ifl.client.client import Client
from ifl.client.memory import Kept
from ifl.client.settings import Training
from ifl.client.state import learner_state, load_learner
from ifl.client.steps import anneal, optimizer_of
from ifl.errors import ConfigError
from ifl.methods.base import (
    Blocks,
    Conversation,
    Reply,
    Server,
    check_architecture,
    own_blocks,
)
from ifl.methods.parts.averaging import AveragingServer, averaged, unpack
from ifl.methods.parts.passing import alike
from ifl.models import SplitModel
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends


@dataclass
class Meme(Kept):
    """A client's copy of the shared network; what is kept of it is its state, not copied."""

    meme: State | None = None

    def __post_init__(self) -> None:
        self.network: SplitModel
        self.optimizers: list[Optimizer] = []

    def give(self, network: SplitModel, me: Client) -> None:
        """Hold a copy of the network with optimisers of its own, in the state kept if there is."""
        self.network = deepcopy(network)
        makers = me.training.optimizers
        pairs = ((self.network.base, makers.base), (self.network.modular, makers.modular))
        self.optimizers = [optimizer_of(b, make) for b, make in pairs if list(b.parameters())]
        if self.meme is not None:
            load_learner(self.meme, self.network, *self.optimizers)
        self.keep()

    def keep(self) -> None:
        """Let a checkpoint have the state of now."""
        self.meme = learner_state(self.network, *self.optimizers)


@dataclass(frozen=True)
class FML:
    """Networks stay at home; a small one that all have in common carries what they learned.

    In each of tau local steps client k steps on its own network, p its softmax, and on its copy of
    the shared one, q, on the same batch:
        own:     alpha * CE(p, y) + (1 - alpha) * KL(q | p),
        shared:  beta * CE(q, y) + (1 - beta) * KL(p | q),
    each with the other held fixed. Then the shared one is averaged by samples, as in method=fl.
    Who was away, or refused, gets the newest average before its first step. Clients' networks
    may be of any architecture; the shared one is, at the start, a copy of the smallest of them.

    Bytes per round, N clients that came, P parameters and floating-point buffers of the shared
    network, float32, plus one header a message: uplink N*(4P + 8), downlink N*4P, and 4P more for
    each that lacked the newest average. The 8 are the shard's size.

    Args:
        tau: local steps.
        alpha: weight of the labels for a client's own network; 1 is no communication's training.
        beta: likewise for the shared one; 1 is federated averaging of it.
        architecture: the client whose network the shared one is a copy of; None for the one of
            fewest parameters.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"params": "parameters", "samples": "sample counts"}

    tau: int = 10
    alpha: float = 0.5
    beta: float = 0.5
    architecture: int | None = None
    title: str = "FML"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        for name, weight in (("alpha", self.alpha), ("beta", self.beta)):
            check_at_least(f"method.{name}", weight, 0)
            if weight > 1:
                raise ConfigError(
                    f"method.{name} must be <= 1, got {weight}; 1 is learning from labels alone"
                )
        if self.architecture is not None:
            check_whole("method.architecture", self.architecture, 0)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Give every client a copy of the shared network; return the averaging server.

        Raises:
            ConfigError: there is no such client.
        """
        if self.architecture is None:
            whose = min(alike(clients), key=_size)
        else:
            check_architecture(self.architecture, clients)
            whose = clients[self.architecture]
        for client in clients:
            client.draws = client.draws or whose.draws
        return FMLServer(deepcopy(whose.model), clients)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train both networks tau steps, send the shared one, take over the average."""
        memory = me.memory.of(Meme)
        if missed:
            unpack(memory.network, missed)
        if rounds := me.training.optimizers.decay_rounds:
            anneal(memory.optimizers, round_number, rounds)
        losses = []
        for x, y in me.batches(self.tau):
            own, shared = me.model(x), memory.network(x)
            loss = taught(me.loss(own, y), own, shared, self.alpha)
            lesson = taught(me.loss(shared, y), shared, own, self.beta)
            losses.append(me.watch.descend(loss, *me.both))
            me.watch.descend(lesson, *memory.optimizers)
        memory.keep()
        yield from averaged(memory.network, len(me.shard))
        return torch.stack(losses)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base and N modular blocks, of the clients' own networks."""
        return own_blocks(clients)


def _size(client: Client) -> int:
    return sum(p.numel() for p in client.model.parameters())


def taught(loss: Tensor, logits: Tensor, teacher: Tensor, weight: float) -> Tensor:
    """Return weight * loss + (1 - weight) * KL(teacher | pupil) of logits (B, C)."""
    if weight == 1:
        return loss
    # Paper's KL has the other network's outputs in its graph; here: they are held fixed, as in
    # deep mutual learning, because each network has a loss of its own.
    target = teacher.detach().log_softmax(dim=1)
    distance = kl_div(logits.log_softmax(dim=1), target, reduction="batchmean", log_target=True)
    return weight * loss + (1 - weight) * distance


class FMLServer(AveragingServer):
    """Averages the shared network.

    Args:
        network: the shared one at its start.
    """

    def __init__(self, network: SplitModel, clients: Sequence[Client]) -> None:
        self.network = network
        self._start = deepcopy(network)  # some clients may be made when the average has moved
        for client in clients:
            client.at_start(self._give)
            client.on_return(self._give)
        super().__init__(network, clients)

    def _give(self, client: Client) -> None:
        client.memory.of(Meme).give(self._start, client)

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state; the clients' copies are in their own."""
        super().load_state(state, clients)
        for client in clients:
            if client.home is None:
                self._give(client)

"""Centralized: all data in one place, one network. The ceiling of every figure."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from ifl.checks import whole
from ifl.client import Client, Training
from ifl.data import Shard
from ifl.errors import ConfigError
from ifl.learner import State
from ifl.message import Message
from ifl.methods import Blocks, Conversation, Server
from ifl.models import SplitModel


@dataclass(frozen=True)
class Centralized:
    """Every client sends its raw data once; the server trains one client's network on all.

    A round is tau steps, as many as each network takes in the other methods.

    Bytes, n samples of C*H*W uint8 pixels in all, label type of b bytes, plus one header
    a client: uplink n*(C*H*W + b) in round 1, nothing after; downlink none.

    Args:
        tau: steps a round.
        architecture: the client whose network is trained.
    """

    tau: int = 10
    architecture: int = 0

    def __post_init__(self) -> None:
        whole("local.tau", self.tau, 1)
        whole("method.architecture", self.architecture, 0)

    def open(self, clients: Sequence[Client]) -> Server:
        """Return a server with a copy of the chosen network.

        Raises:
            ConfigError: there is no such client.
        """
        if self.architecture >= len(clients):
            raise ConfigError(
                f"method.architecture must name a client from 0 to {len(clients) - 1}, "
                f"got {self.architecture}"
            )
        chosen = clients[self.architecture]
        return CentralizedServer(deepcopy(chosen.model), chosen.training, self.tau)

    def client_round(self, me: Client, round_number: int) -> Conversation:
        """Send the shard in round 1; nothing afterwards."""
        if round_number == 1:
            yield Message(x=me.shard.x, y=me.shard.y)
        return None

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the server's one network."""
        assert isinstance(server, CentralizedServer)
        return {"server": server.model.base}, {"server": server.model.modular}


class CentralizedServer:
    """Gathers the shards in client order and learns from them as one client would."""

    def __init__(self, model: SplitModel, training: Training, tau: int) -> None:
        self.model = model
        self.training = training
        self.tau = tau
        self.learner: Client | None = None

    def reply(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Keep the data; answer nobody."""
        ordered = [uploads[k] for k in sorted(uploads)]
        data = Shard(torch.cat([m.x for m in ordered]), torch.cat([m.y for m in ordered]))
        self.learner = Client("the server", -1, self.model, data, self.training)
        return {}

    def end_round(self) -> Tensor | None:
        """Train tau steps on the whole network; return the losses (tau,)."""
        assert self.learner is not None
        self.learner.watch.begin_round()
        losses = [self.learner.step(x, y) for x, y in self.learner.batches(self.tau)]
        self.learner.watch.check()
        return torch.stack(losses)

    def state(self) -> State:
        """Return the learner's state, without the data: its clients still have that."""
        assert self.learner is not None
        return self.learner.state()

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Gather the shards as round 1 did and go on from the learner's state."""
        self.reply({c.number: Message(x=c.shard.x, y=c.shard.y) for c in clients})
        assert self.learner is not None
        self.learner.load_state(state)

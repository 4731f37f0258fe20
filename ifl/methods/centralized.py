"""Centralized: all data in one place, one network. The ceiling of every figure."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.optim import Optimizer

from ifl.checks import check_whole
from ifl.client.client import Client
from ifl.client.memory import Kept
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, labels
from ifl.data.dataset import Shard
from ifl.methods.base import (
    Blocks,
    Conversation,
    Reply,
    Server,
    StatelessServer,
    check_architecture,
)
from ifl.models import SplitModel
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends


@dataclass
class Sent(Kept):
    """A note that the server has the shard."""

    sent: bool = False


@dataclass(frozen=True)
class Centralized:
    """Every client sends its raw data once; the server trains one client's network on all.

    A round is tau steps, as many as each network takes in the other methods.

    Bytes, n samples of C*H*W uint8 pixels in all, label type of b bytes, plus one header
    a client: uplink n*(C*H*W + b), each client's when it first comes; downlink none. Samples of
    floats pass the codec, 4 bytes a value in float32; tokens keep their type.

    Args:
        tau: steps a round.
        architecture: the client whose network is trained.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "once"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"x": "images", "y": "labels"}  # or other samples

    tau: int = 10
    architecture: int = 0
    title: str = "all data in one place"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_whole("method.architecture", self.architecture, 0)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a server with a copy of the chosen network.

        Raises:
            ConfigError: there is no such client.
        """
        check_architecture(self.architecture, clients)
        chosen = clients[self.architecture]
        model = deepcopy(chosen.model)
        forms = {c.number: _form(c.shard) for c in clients}
        return CentralizedServer(model, chosen.training, self.tau, forms)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Send the shard when first here; nothing once the server has it."""
        memory = me.memory.of(Sent)
        if not memory.sent:
            yield Message(x=me.shard.x, y=me.shard.y)
            memory.sent = True  # not reached where the server refuses it
        return None

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect nothing."""
        return []

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the server's one network."""
        assert isinstance(server, CentralizedServer)
        return {"server": server.model.base}, {"server": server.model.modular}


def _form(shard: Shard) -> Form:
    kind = None if shard.x.is_floating_point() else shard.x.dtype
    return {"x": Expected(tuple(shard.x.shape), kind), "y": labels(len(shard))}


class CentralizedServer(StatelessServer):
    """Gathers the shards as they come and learns from them as one client would."""

    def __init__(
        self, model: SplitModel, training: Training, tau: int, forms: Mapping[int, Form]
    ) -> None:
        self.model = model
        self.training = training
        self.tau = tau
        self.forms = forms
        self.came: list[int] = []  # the clients whose samples are here, in the samples' order
        self.learner: Client | None = None

    def expects(self, client: int) -> Sequence[Form]:
        """Expect a client's samples, once in a run."""
        return [] if client in self.came else [self.forms[client]]

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Keep the data, in client order behind those that are here; answer nobody."""
        self._gather({k: Shard(uploads[k]["x"], uploads[k]["y"]) for k in sorted(uploads)})
        return {}

    def _gather(self, shards: Mapping[int, Shard]) -> None:
        self.came += shards
        pieces = [self.learner.shard] if self.learner else []
        pieces += shards.values()
        data = Shard(torch.cat([p.x for p in pieces]), torch.cat([p.y for p in pieces]))
        if self.learner:
            self.learner.hold(data)
        else:
            self.learner = Client("the server", -1, self.model, data, self.training)

    def optimizers(self) -> Iterable[Optimizer]:
        """Return the network's, once there is data."""
        return self.learner.optimizers if self.learner else ()

    def end_round(self) -> Tensor | None:
        """Train tau steps on the whole network; return the losses (tau,)."""
        if self.learner is None:
            return None
        self.learner.watch.begin_round()
        losses = [self.learner.step(x, y) for x, y in self.learner.batches(self.tau)]
        self.learner.watch.check()
        return torch.stack(losses)

    def state(self) -> State:
        """Return the learner's state, without the data that its clients still have.

        Floats are not what they have: they passed a codec.
        """
        floats = self.learner.shard.x if self.learner else None
        if floats is not None and not floats.is_floating_point():
            floats = None
        learner = self.learner.state() if self.learner else None
        return {"came": self.came, "learner": learner, **({} if floats is None else {"x": floats})}

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Gather the shards in the order in which they came and go on from the learner's state."""
        if state["came"]:
            self._gather({k: clients[k].shard for k in state["came"]})
            assert self.learner is not None
            if "x" in state:
                self.learner.hold(Shard(state["x"], self.learner.shard.y))
            self.learner.load_state(state["learner"])

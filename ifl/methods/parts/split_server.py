"""Trains modular blocks on the server from z (B, d) and y (B,), as split learning does."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from ifl.client.client import Client
from ifl.client.divergence import Watch
from ifl.client.settings import Training
from ifl.client.state import learner_state, load_learner
from ifl.client.steps import OptimizerMaker, optimizer_of
from ifl.comm.message import Message
from ifl.comm.schema import FUSION_BATCH, Form
from ifl.errors import ConfigError
from ifl.methods.base import Blocks, own_blocks
from ifl.methods.parts.averaging import Averaging, equalise
from ifl.runs.checkpoint import State


def check_plain_loss(training: Training) -> None:
    """Raise ConfigError if a loss that the server computes is to be adjusted to a client."""
    if training.logit_adjustment:
        raise ConfigError(
            f"logit_adjustment={training.logit_adjustment} needs the class shares of a client "
            "where its loss is computed, which here is the server; set logit_adjustment=0, or "
            "choose a method whose clients compute it"
        )


class ModularBlocks:
    """One modular block for all clients, or one each, with their optimisers.

    Args:
        modular: what all start from; copied.
        samples: of each owner of a block; a client without its own learns with the first.
    """

    def __init__(
        self, modular: nn.Module, samples: Mapping[int, int], make: OptimizerMaker
    ) -> None:
        self.modulars = {k: deepcopy(modular) for k in samples}
        self._optimizers = {k: optimizer_of(m, make) for k, m in self.modulars.items()}
        self.samples = samples
        self.served: set[int] = set()  # owners of the blocks that learned in this round
        self.losses: list[Tensor] = []
        self.watches: dict[int, Watch] = {}  # of each client's losses

    def optimizers(self) -> Iterable[Optimizer]:
        """Return those of the blocks."""
        return self._optimizers.values()

    def learn(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Step on each client's block with its z and y, in turn; return dCE/dz (B, d) as grad.

        Raises:
            DivergenceError: a loss is not finite.
        """
        replies = {k: self._step(k, upload) for k, upload in sorted(uploads.items())}
        for client in uploads:
            self.watches[client].check()
        return replies

    def _step(self, client: int, upload: Message) -> Message:
        owner = client if client in self.modulars else next(iter(self.modulars))
        self.served.add(owner)
        z = upload["z"].detach().requires_grad_()  # the upload itself stays as it came
        loss = cross_entropy(self.modulars[owner](z), upload["y"])
        watch = self.watches.setdefault(client, Watch(f"client {client}"))
        self.losses.append(watch.descend(loss, self._optimizers[owner]))
        assert z.grad is not None
        return Message(grad=z.grad)

    def end_round(self) -> Tensor | None:
        """Give every block the mean of those that learned, by samples; return the losses."""
        if not self.served:
            return None
        total = sum(self.samples[k] for k in self.served)
        weights = [n / total if k in self.served else 0.0 for k, n in self.samples.items()]
        equalise(self.modulars.values(), weights)
        for watch in self.watches.values():
            watch.begin_round()
        losses, self.losses, self.served = torch.stack(self.losses), [], set()
        return losses

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Do nothing: these blocks are the server's own, whatever a codec makes of them."""

    def state(self) -> State:
        """Return the blocks and their optimisers, by owner."""
        return {str(k): learner_state(m, self._optimizers[k]) for k, m in self.modulars.items()}

    def load_state(self, state: State) -> None:
        """Go on from such a state."""
        for k, modular in self.modulars.items():
            load_learner(state[str(k)], modular, self._optimizers[k])


def base_average(clients: Sequence[Client]) -> Averaging:
    """Return the average of the clients' base blocks, by samples; at the start, client 0's."""
    samples = {client.number: len(client.shard) for client in clients}
    return Averaging(deepcopy(clients[0].model.base), samples)


class SplitServer(ModularBlocks):
    """Teaches modular blocks; averages what the clients have of the network at a round's end.

    Args:
        modular, samples, make: of the modular blocks.
        exchanges: uploads of z and y that a client makes in a round.
        bases: the average of the clients' parts, if they send them after that.
    """

    def __init__(
        self,
        modular: nn.Module,
        samples: Mapping[int, int],
        make: OptimizerMaker,
        exchanges: int,
        bases: Averaging | None,
    ) -> None:
        super().__init__(modular, samples, make)
        self.bases = bases
        self.forms: list[Form] = [FUSION_BATCH] * exchanges + ([bases.form] if bases else [])

    def base(self) -> nn.Module | None:
        """Return the newest average of base blocks, if they are averaged."""
        return self.bases.module if self.bases else None

    def tested(self, clients: Sequence[Client]) -> tuple[Blocks, Blocks]:
        """Return the N base blocks, the newest average if there is one, and the server's block."""
        bases, _ = own_blocks(clients)
        if base := self.base():
            bases = dict.fromkeys(bases, base)
        return bases, {"server": next(iter(self.modulars.values()))}

    def expects(self, client: int) -> Sequence[Form]:
        """Expect z (B, d) and y (B,) in every exchange, then the client's part if averaged."""
        return self.forms

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return the newest average to those who lack it."""
        return self.bases.welcome(clients) if self.bases else {}

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Return what ``learn`` does, or the average of the parts sent."""
        if self.bases and all("samples" in upload for upload in uploads.values()):
            return self.bases.reply(uploads)
        return self.learn(uploads)

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Keep the average as the clients got it."""
        if self.bases:
            self.bases.delivered(replies)

    def state(self) -> State:
        """Return the modular blocks, and the average if there is one."""
        return {"modulars": super().state(), "bases": self.bases.state() if self.bases else None}

    def load_state(self, state: State, clients: Sequence[object] = ()) -> None:
        """Go on from such a state."""
        super().load_state(state["modulars"])
        if self.bases:
            self.bases.load_state(state["bases"])

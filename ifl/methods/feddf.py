"""FedDF: federated averaging whose average then learns from all clients on public samples.

Source: Lin et al. 2020, "Ensemble Distillation for Robust Model Fusion in Federated Learning",
arXiv 2006.07242, algorithm 1, for one architecture.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn.functional import kl_div

from ifl.checks import check_above, check_whole
from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.client.steps import PORTION, descend, frozen
from ifl.comm.message import Message
from ifl.comm.schema import Form
from ifl.methods.base import Blocks, Conversation, Reply, Server, same_start
from ifl.methods.parts.averaging import AveragingServer, averaged, parameters_form, told, unpack
from ifl.methods.parts.public_samples import check_anchors
from ifl.runs.method import Sends


@dataclass(frozen=True)
class FedDF:
    """FedAvg, then ``steps`` of the average towards the clients' mean prediction.

    Each round as in method=fl, but that the server, before it sends the average w, trains it on
    batches of anchors by KL(softmax(mean_k f_k(a)) | softmax(f_w(a))), with a fresh Adam whose rate
    falls along half a cosine. The paper stops when held-out accuracy stalls; here the number of
    steps is given. Everybody shows its architecture and its parameters, and the server has the
    anchors.

    Bytes as of method=fl: N clients that came, P parameters and floating-point buffers, float32,
    plus one header a message: uplink N*(4P + 8), downlink N*4P, and 4P more for each that lacked
    the newest average.

    Args:
        tau: local steps on the whole network.
        steps: of the server, each round.
        batch: anchors of a step; 128 in the paper.
        lr: of the server's Adam at the start; 0.001 in the paper.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"params": "parameters", "samples": "sample counts"}

    tau: int = 10
    steps: int = 40
    batch: int = 128
    lr: float = 0.001
    title: str = "FedDF"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_whole("method.steps", self.steps, 1)
        check_whole("method.batch", self.batch, 1)
        check_above("method.lr", self.lr, 0)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Give every client the same start; return the averaging server.

        Raises:
            ConfigError: the clients do not all have one architecture, or there are fewer anchors
                than a batch.
        """
        same_start("method=feddf", clients)
        check_anchors(clients[0], self.batch, "method.batch")
        return FedDFServer(clients, self)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps from the newest average, send the parameters, take over the next."""
        if missed:
            unpack(me.model, missed)
        losses = [me.step(x, y) for x, y in me.batches(self.tau)]
        yield from averaged(me.model, len(me.shard))
        return torch.stack(losses)

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect the parameters of the network."""
        return [parameters_form(me.model)]

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the one global network, the server's newest average."""
        assert isinstance(server, FedDFServer)
        return {"server": server.model.base}, {"server": server.model.modular}


class FedDFServer(AveragingServer):
    """Averages whole networks and teaches the average what they say of anchors."""

    def __init__(self, clients: Sequence[Client], method: FedDF) -> None:
        assert clients[0].anchors is not None
        self.model = deepcopy(clients[0].model)
        self.method, self.anchors = method, clients[0].anchors
        super().__init__(self.model, clients)

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Return the taught average to those who sent."""
        replies = super().reply(uploads, draws)
        student = deepcopy(self.model)
        unpack(student, next(iter(replies.values())))
        teacher = self.teacher(uploads)
        optimizer = torch.optim.Adam(student.parameters(), lr=self.method.lr)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.method.steps)
        for _ in range(self.method.steps):
            chosen = torch.randint(len(teacher), (self.method.batch,), generator=draws)
            chosen = chosen.to(teacher.device)
            said = student(self.anchors.index_select(0, chosen)).log_softmax(dim=1)
            wanted = teacher.index_select(0, chosen)
            descend(kl_div(said, wanted, reduction="batchmean"), optimizer)
            falling.step()
        return dict.fromkeys(uploads, told(student))

    def teacher(self, uploads: Mapping[int, Message]) -> Tensor:
        """Return the softmax of the clients' mean logits (A, classes) of all anchors."""
        network, total = deepcopy(self.model), []
        with frozen(network), torch.no_grad():
            for upload in uploads.values():
                unpack(network, upload)
                total.append(torch.cat([network(part) for part in self.anchors.split(PORTION)]))
        return torch.stack(total).mean(dim=0).softmax(dim=1)

"""FedMD: clients of any networks agree on logits of public samples, and learn what was agreed.

Source: Li & Wang 2019, "FedMD: Heterogenous Federated Learning via Model Distillation", arXiv
1910.03581, algorithm 1; its loss, the mean absolute error of logits, from the authors' code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator
from torch.nn.functional import l1_loss

from ifl.checks import check_whole
from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.comm.schema import Form, floats
from ifl.methods.base import Blocks, Conversation, Reply, Server, StatelessServer, own_blocks
from ifl.methods.parts.public_samples import check_anchors, digest, logits, places
from ifl.runs.method import Sends


@dataclass(frozen=True)
class FedMD:
    """Tau steps on one's own samples ("revisit"), then those towards the consensus ("digest").

    A round: tau steps on the whole network; client k sends its logits (rows, C) of the round's
    anchors; the server sends back their mean; each client trains ``epochs`` passes over these
    anchors towards it. The paper begins with training on private data to convergence and then
    digests before it revisits: the same turns, here from the first round on. It also begins with
    training on labelled public samples; anchors have no labels.

    A client predicts with its own network; its blocks are not made to fit those of others.

    Bytes per round, N clients that came, C classes, float32, plus one header a message: uplink
    N*4*rows*C, downlink as many.

    Args:
        tau: local steps on one's own samples.
        rows: anchors a round; 5,000 in the paper.
        epochs: passes over them.
        batch: anchors of a step.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"logits": "logits of anchors"}

    tau: int = 10
    rows: int = 256
    epochs: int = 1
    batch: int = 32
    title: str = "FedMD"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        for name in ("rows", "epochs", "batch"):
            check_whole(f"method.{name}", getattr(self, name), 1)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a stateless server.

        Raises:
            ConfigError: there are fewer anchors than rows.
        """
        for client in clients:
            check_anchors(client, self.rows)
        return FedMDServer(self.rows)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps, send logits, learn the consensus; the losses are those of the steps."""
        losses = [me.step(x, y) for x, y in me.batches(self.tau)]
        where = places(me, self.rows, round_number)
        reply = yield Message(logits=logits(me, where))
        assert reply is not None
        digest(me, where, reply["logits"], l1_loss, self.epochs, self.batch, round_number)
        return torch.stack(losses)

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect logits of anchors (rows, classes)."""
        return [{"logits": floats(self.rows, "classes")}]

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base and N modular blocks."""
        return own_blocks(clients)


@dataclass(frozen=True)
class FedMDServer(StatelessServer):
    """Gives everybody the mean of the logits; keeps nothing."""

    rows: int

    def expects(self, client: int) -> Sequence[Form]:
        """Expect logits (rows, C), once."""
        return [{"logits": floats(self.rows, "classes")}]

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Return the consensus to those who sent."""
        mean = torch.stack([upload["logits"] for upload in uploads.values()]).mean(dim=0)
        return dict.fromkeys(uploads, Message(logits=mean))

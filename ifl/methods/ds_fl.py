"""DS-FL: clients of any networks agree on sharpened predictions of public samples.

Source: Itahara et al. 2021, "Distillation-Based Semi-Supervised Federated Learning for
Communication-Efficient Collaborative Training with Non-IID Private Data", arXiv 2008.06180:
algorithm 1 with entropy reduction aggregation (ERA).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator
from torch.nn.functional import cross_entropy

from ifl.checks import check_above, check_whole
from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.comm.schema import Form, floats
from ifl.methods.base import Blocks, Conversation, Reply, Server, StatelessServer, own_blocks
from ifl.methods.parts.public_samples import check_anchors, digest, logits, places
from ifl.runs.method import Sends


@dataclass(frozen=True)
class DSFL:
    """Tau steps on one's own samples, predictions of anchors, steps towards their sharp mean.

    A round: tau steps on the whole network; client k sends its probabilities (rows, C) of the
    round's anchors; the server sends back softmax(mean / temperature), which a temperature of 0.1
    makes surer than any of them; each client trains ``epochs`` passes of CE towards it. The paper
    has a global model besides, trained on the server on the same targets; here a client predicts
    with its own network, and its blocks are not made to fit those of others.

    Bytes per round, N clients that came, C classes, float32, plus one header a message: uplink
    N*4*rows*C, downlink as many.

    Args:
        tau: local steps on one's own samples.
        rows: anchors a round; 1,000 in the paper.
        epochs: passes over them.
        batch: anchors of a step.
        temperature: of the aggregation; null for the plain mean ("simple aggregation").
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"p": "predictions on anchors"}

    tau: int = 10
    rows: int = 256
    epochs: int = 1
    batch: int = 32
    temperature: float | None = 0.1
    title: str = "DS-FL"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        for name in ("rows", "epochs", "batch"):
            check_whole(f"method.{name}", getattr(self, name), 1)
        if self.temperature is not None:
            check_above("method.temperature", self.temperature, 0, "; null is the plain mean")

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a stateless server.

        Raises:
            ConfigError: there are fewer anchors than rows.
        """
        for client in clients:
            check_anchors(client, self.rows)
        return DSFLServer(self.rows, self.temperature)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps, send predictions, learn what was agreed; the losses are the steps'."""
        losses = [me.step(x, y) for x, y in me.batches(self.tau)]
        where = places(me, self.rows, round_number)
        reply = yield Message(p=logits(me, where).softmax(dim=1))
        assert reply is not None
        digest(me, where, reply["p"], cross_entropy, self.epochs, self.batch, round_number)
        return torch.stack(losses)

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect predictions of anchors (rows, classes)."""
        return [{"p": floats(self.rows, "classes")}]

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base and N modular blocks."""
        return own_blocks(clients)


@dataclass(frozen=True)
class DSFLServer(StatelessServer):
    """Gives everybody the aggregate of the predictions; keeps nothing."""

    rows: int
    temperature: float | None

    def expects(self, client: int) -> Sequence[Form]:
        """Expect predictions (rows, C), once."""
        return [{"p": floats(self.rows, "classes")}]

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Return the aggregate to those who sent."""
        p = torch.stack([upload["p"] for upload in uploads.values()]).mean(dim=0)
        if self.temperature is not None:
            p = (p / self.temperature).softmax(dim=1)
        return dict.fromkeys(uploads, Message(p=p))

"""FedDistill: federated distillation of mean predictions by label.

Source: Jeong et al. 2018, "Communication-Efficient On-Device Machine Learning: Federated
Distillation and Augmentation under Non-IID Private Data", arXiv 1811.11479, algorithm 1 (FD;
without FAug, its augmentation).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from ifl.checks import check_at_least, check_whole
from ifl.client.client import Client
from ifl.client.memory import Kept
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.comm.schema import Form, floats, labels
from ifl.methods.base import Blocks, Conversation, Reply, Server, StatelessServer, own_blocks
from ifl.methods.parts.class_statistics import ClassMeans
from ifl.runs.method import Sends


@dataclass
class Teachers(Kept):
    """The newest teachers (C_k, C), in the order of the client's classes."""

    teachers: Tensor | None = None


@dataclass(frozen=True)
class FedDistill:
    """Every client is taught by the others' mean prediction for a sample's label.

    Predictions F are logits normalised by softmax; the paper calls them logit vectors. Tau steps
    on both blocks of CE(F, y) + gamma * CE(F, T_y), where T_c is the teacher for label c that
    came last, if one did. Client k sends A_k^(c), the mean F over the samples of label c in these
    steps, and gets T_c, the mean of A_j^(c) over the others j (lines 5 to 8 and 15). Who was away,
    or refused, goes on with the teachers that it has.

    A client predicts with its own network, here as in the paper; its blocks are not made to fit
    those of others.

    Rows are for the classes of a client's shard. A label that its steps did not meet travels as
    zeros, which is no mean of predictions, and so does the teacher that nobody could give; it
    adds 0 to the loss.

    Bytes per round, N clients that came, C_k classes at client k of C in all, float32, label type
    of b bytes, plus one header a message: uplink sum_k C_k*(4C + b), downlink sum_k C_k*4C.

    Args:
        tau: local steps, n in the paper.
        gamma: weight of the distillation; 0 is no communication's training.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"logits": "mean predictions", "y": "labels"}

    tau: int = 10
    gamma: float = 1.0
    title: str = "FedDistill"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_at_least("method.gamma", self.gamma, 0)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a stateless server; any clients that keep the contract will do."""
        return FedDistillServer(clients)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps, send the mean predictions of these, keep the teachers."""
        memory, losses, own = me.memory.of(Teachers), [], ClassMeans(me.classes)
        for x, y in me.batches(self.tau):
            logits = me.model(x)
            loss = me.loss(logits, y)
            if memory.teachers is not None:
                taught = memory.teachers.to(y.device)[torch.searchsorted(me.classes, y)]
                loss = loss + self.gamma * cross_entropy(logits, taught)
            own.add(logits.detach().softmax(dim=1), y)
            losses.append(me.watch.descend(loss, *me.both))
        reply = yield Message(logits=own.means(), y=own.classes)
        assert reply is not None
        memory.teachers = reply["logits"]
        return torch.stack(losses)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base and N modular blocks."""
        return own_blocks(clients)


class FedDistillServer(StatelessServer):
    """Gives each client the mean of what the others sent; keeps nothing."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self.forms: Mapping[int, Form] = {
            c.number: {"logits": floats(len(c.classes), "classes"), "y": labels(len(c.classes))}
            for c in clients
        }

    def expects(self, client: int) -> Sequence[Form]:
        """Expect a mean prediction (C_k, C) and a label for each class, once."""
        return [self.forms[client]]

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Return each sender's teachers, in the order of its labels."""
        return {k: Message(logits=self._teachers(k, uploads)) for k in uploads}

    def _teachers(self, client: int, uploads: Mapping[int, Message]) -> Tensor:
        # Paper: divides by the M - 1 others, who have every label; here: by those of them whose
        # steps met the label, because others sent zeros.
        teachers = ClassMeans(uploads[client]["y"])
        for k, upload in uploads.items():
            met = upload["logits"].sum(dim=1) > 0.5  # a mean of predictions sums to 1
            teachers.add(upload["logits"], upload["y"], met & (k != client))
        return teachers.means()

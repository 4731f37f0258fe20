"""FedProto: clients pull their z towards common class prototypes.

Source: Tan et al. 2022, "FedProto: Federated Prototype Learning across Heterogeneous
Clients", arXiv 2105.00243, algorithm 1, and its code, github.com/yuetan031/FedProto.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn.functional import mse_loss

from ifl.checks import check_at_least, check_one_of, check_whole
from ifl.client.client import Client
from ifl.client.contract import tried
from ifl.client.memory import Kept
from ifl.client.settings import Training
from ifl.client.state import learner_state, load_learner
from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, floats, labels
from ifl.methods.base import Blocks, Conversation, Reply, Server, StatelessServer, own_blocks
from ifl.methods.parts.class_statistics import ClassMeans, fusion_means
from ifl.methods.parts.prototypes import NearestPrototype
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends

BY_HEAD = "FedProto, by modular blocks"


@dataclass
class Prototypes(Kept):
    """The newest common prototypes (C_k, d), in the order of the client's classes."""

    prototypes: Tensor | None = None


@dataclass(frozen=True)
class FedProto:
    """Prototypes, the mean z of each class, are averaged; parameters and single z stay at home.

    Tau steps on both blocks of CE + lam * |z - P_y|^2 / d, a mean over the batch, where P_c is the
    prototype of class c that came last, if one did; without any, of CE alone. Then a client
    sends C_k^(c), the mean of z over its samples of class c (equation 3), for the classes that it
    holds, and gets P_c = sum_k |D_k,c| C_k^(c) / N_c over the clients that came (equation 6).
    Of a class that nobody sent, P_c stays as it was. Who was away, or refused, goes on with the
    prototypes that it has.

    A sample is of the class whose P_c is nearest to its z. So the prototypes are one modular block
    for all, which goes with every base block (``parts.prototypes.NearestPrototype``).

    Bytes per round, N clients that came, C_k classes at client k, C classes that have a prototype,
    d, float32, label type of b bytes, plus one header a message: uplink sum_k C_k*(4d + b + 4),
    downlink N*C*(4d + b), or sum_k C_k*4d with predict=head. The 4 are a class's samples.

    Args:
        tau: local steps.
        lam: lambda, the weight of the pull; 0 is no communication's training.
        predict: "prototypes", by the nearest one (paper); "head", by the modular blocks that the
            first term of the loss trains: a client then gets those of its own classes alone.
        title: its name in figures and tables; one that is told apart by ``predict`` by default.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {
        "z": "means of z",
        "y": "labels",
        "samples": "sample counts",
    }

    tau: int = 10
    lam: float = 1.0
    predict: str = "prototypes"
    title: str = "FedProto"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_at_least("method.lam", self.lam, 0)
        check_one_of("method.predict", self.predict, "prototypes", "head")
        if self.predict == "head" and self.title == "FedProto":
            object.__setattr__(self, "title", BY_HEAD)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a server without prototypes yet; any clients that keep the contract will do."""
        nearest = None
        if self.predict == "prototypes":
            z, logits = tried(clients[0])
            nearest = NearestPrototype(z.shape[1], logits.shape[1]).to(training.device)
        return FedProtoServer(clients, nearest)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps, send the prototypes of the shard, keep the common ones."""
        memory, losses = me.memory.of(Prototypes), []
        for x, y in me.batches(self.tau):
            z = me.model.base(x)
            loss = me.loss(me.model.modular(z), y)
            if memory.prototypes is not None:
                # Paper: lambda * sum_c d(C_k^(c), P_c) (equation 8); here: of the batch's z, with
                # the mean square, because its code has that and its lambda = 1 goes with it.
                near = memory.prototypes.to(z.device)[torch.searchsorted(me.classes, y)]
                loss = loss + self.lam * mse_loss(z, near)
            losses.append(me.watch.descend(loss, *me.both))
        own = fusion_means(me)
        reply = yield Message(z=own.means(), y=own.classes, samples=own.weights.int())
        assert reply is not None
        if "y" in reply:  # those of all classes, in their order
            memory.prototypes = reply["z"][torch.searchsorted(reply["y"], me.classes)]
        else:
            memory.prototypes = reply["z"]
        return torch.stack(losses)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base blocks, and the prototypes or N modular blocks."""
        assert isinstance(server, FedProtoServer)
        bases, modulars = own_blocks(clients)
        # Paper's code: a client compares with the prototypes of its own classes alone; here: with
        # all, because every base block is tested on every class.
        return bases, {"server": server.nearest} if server.nearest else modulars


class FedProtoServer(StatelessServer):
    """Averages the prototypes that came.

    Args:
        nearest: keeps them, as their receivers decoded them; None to keep nothing, and to send
            each client those of its classes alone.
    """

    def __init__(self, clients: Sequence[Client], nearest: NearestPrototype | None = None) -> None:
        self.nearest = nearest
        self.forms: Mapping[int, Form] = {
            c.number: {
                "z": floats(len(c.classes), "d"),
                "y": labels(len(c.classes)),
                "samples": Expected((len(c.classes),), torch.int32, 1, len(c.shard) + 1),
            }
            for c in clients
        }

    def expects(self, client: int) -> Sequence[Form]:
        """Expect a mean z (C_k, d), a label and a number of samples for each class, once."""
        return [self.forms[client]]

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Return the average prototypes: all there are, or each sender's classes in its order."""
        sent = uploads.values()
        y = torch.cat([m["y"] for m in sent])
        common = ClassMeans(y.unique())
        # Paper: divides by the number of clients once more (equation 6); here: a mean, because
        # else a prototype shrinks with every client (its appendix B has a mean, too).
        samples = torch.cat([m["samples"] for m in sent])
        common.add(torch.cat([m["z"] for m in sent]), y, samples)
        if self.nearest:
            self.nearest.learn(common.means(), common.classes)
            z, y = self.nearest.held()
            return dict.fromkeys(uploads, Message(z=z, y=y))
        rows = {k: torch.searchsorted(common.classes, m["y"]) for k, m in uploads.items()}
        means = common.means()
        return {k: Message(z=means[rows[k]]) for k in uploads}

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Keep the prototypes as the clients got them."""
        newest = next(iter(replies.values()), None)
        if self.nearest and newest:
            self.nearest.learn(newest["z"], newest["y"])

    def state(self) -> State:
        """Return the prototypes that are kept."""
        return {"nearest": learner_state(self.nearest)} if self.nearest else {}

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state."""
        if self.nearest:
            load_learner(state["nearest"], self.nearest)

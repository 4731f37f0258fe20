"""FedTGP: clients pull their z towards prototypes that the server trains to lie apart.

Source: Zhang et al. 2024, "FedTGP: Trainable Global Prototypes with Adaptive-Margin-Enhanced
Contrastive Learning for Data and Model Heterogeneity in Federated Learning", AAAI, arXiv
2401.03230, and its code, github.com/TsingZ0/FedTGP and HtFLlib.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot
from torch.optim import Optimizer

from ifl.checks import check_above, check_at_least, check_whole
from ifl.client.client import Client
from ifl.client.contract import tried
from ifl.client.divergence import Watch
from ifl.client.memory import Kept
from ifl.client.settings import Training
from ifl.client.state import learner_state, load_learner
from ifl.client.steps import optimizer_of
from ifl.comm.message import Message
from ifl.comm.schema import Form, floats, labels
from ifl.methods.base import (
    Blocks,
    Conversation,
    Reply,
    Server,
    StatelessServer,
    own_blocks,
)
from ifl.methods.parts.class_statistics import ClassMeans, fusion_means
from ifl.methods.parts.prototypes import NearestPrototype
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends
from ifl.seeding import global_stream


@dataclass
class GlobalPrototypes(Kept):
    """The newest trained prototypes (C, d) of all classes."""

    global_prototypes: Tensor | None = None


@dataclass(frozen=True)
class FedTGP:
    """FedProto with prototypes that are trained instead of averaged.

    Tau steps on both blocks of CE + lam * |z - P_y|^2 / d, a mean over the batch, for the
    prototypes P that came last; without any, of CE alone. Then a client sends C_k^(c), the mean
    of z over its samples of class c, for the classes that it holds. The server trains
    P_c = f(theta_c), f of two fully connected layers of width d, on all the means that came, in
    batches, for S epochs:
        CE(-(D(C_k^(c), P_c') + delta * [c = c'])_c', c),  D the Euclidean distance,
        delta = min(max_c min_c' D(Q_c, Q_c'), margin),  Q_c the mean of the C_k^(c),
    and sends all P to the clients that came. A sample's class is that of the prototype nearest to
    its z. Who was away, or refused, goes on with the prototypes that it has.

    Bytes per round, N clients that came, C_k classes at client k of C in all, d, float32, label
    type of b bytes, plus one header a message: uplink sum_k C_k*(4d + b), downlink N*C*4d.

    Args:
        tau: local steps.
        lam: lambda, the weight of the pull; 0 is no communication's training.
        epochs: S, of the server in a round.
        batch: means in a step of the server.
        margin: the largest delta, tau in the paper.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {
        "z": "means of z",
        "y": "labels",
        "prototypes": "prototypes",
    }

    tau: int = 10
    lam: float = 1.0
    epochs: int = 100
    batch: int = 10
    margin: float = 100.0
    title: str = "FedTGP"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_at_least("method.lam", self.lam, 0)
        check_whole("method.epochs", self.epochs, 1)
        check_whole("method.batch", self.batch, 1)
        check_above("method.margin", self.margin, 0)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a server with prototypes to train; any clients that keep the contract will do."""
        return FedTGPServer(self, clients, training)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps, send the means of z by class, keep the trained prototypes."""
        memory, losses = me.memory.of(GlobalPrototypes), []
        for x, y in me.batches(self.tau):
            z = me.model.base(x)
            loss = me.loss(me.model.modular(z), y)
            if memory.global_prototypes is not None:
                near = memory.global_prototypes.to(z.device)[y]
                loss = loss + self.lam * mse_loss(z, near)
            losses.append(me.watch.descend(loss, *me.both))
        own = fusion_means(me)
        reply = yield Message(z=own.means(), y=own.classes)
        assert reply is not None
        memory.global_prototypes = reply["prototypes"]
        return torch.stack(losses)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base blocks, and the nearest of the prototypes that clients hold."""
        assert isinstance(server, FedTGPServer)
        return own_blocks(clients)[0], {"server": server.nearest}


class TrainablePrototypes(nn.Module):
    """Prototypes P (classes, d) as a network's outputs of a vector for each class."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(classes, dim))
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self) -> Tensor:
        """Return all of them."""
        return self.layers(self.vectors)  # type: ignore[no-any-return]


def contrast(means: Tensor, y: Tensor, prototypes: Tensor, delta: float) -> Tensor:
    """Return the loss, a scalar, of means (n, d) of classes y (n,) against prototypes (C, d)."""
    # Distances by differences: their gradient is 0, and not nan, where two points are one.
    distances = torch.cdist(means, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    return cross_entropy(-(distances + delta * one_hot(y, len(prototypes))), y)


def adaptive_margin(means: Tensor, y: Tensor, largest: float) -> float:
    """Return delta for what clients sent: means (n, d) of classes y (n,)."""
    centres = ClassMeans(y.unique())
    centres.add(means, y)
    if len(centres.classes) < 2:
        return largest
    distances = torch.cdist(centres.exact(), centres.exact()).fill_diagonal_(torch.inf)
    return min(float(distances.min(dim=1).values.max()), largest)


class FedTGPServer(StatelessServer):
    """Trains prototypes on the means that came; keeps them, and which classes were ever sent."""

    def __init__(self, method: FedTGP, clients: Sequence[Client], training: Training) -> None:
        z, logits = tried(clients[0])
        dim, classes = z.shape[1], logits.shape[1]
        self.method = method
        with global_stream(training.seed, "server", "prototypes"):
            self.prototypes = TrainablePrototypes(classes, dim).to(training.device)
        self.optimizer = optimizer_of(self.prototypes, training.optimizers.modular)
        self.nearest = NearestPrototype(dim, classes).to(training.device)
        self.watch = Watch("the server")
        self.sent: set[int] = set()  # classes that ever came
        self.forms: Mapping[int, Form] = {
            c.number: {"z": floats(len(c.classes), "d"), "y": labels(len(c.classes))}
            for c in clients
        }

    def expects(self, client: int) -> Sequence[Form]:
        """Expect a mean z (C_k, d) and a label for each class, once."""
        return [self.forms[client]]

    def optimizers(self) -> Iterable[Optimizer]:
        """Return the prototypes'."""
        return [self.optimizer]

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Train the prototypes on what came; return all of them to the senders."""
        ordered = [uploads[k] for k in sorted(uploads)]
        z, y = torch.cat([m["z"] for m in ordered]), torch.cat([m["y"] for m in ordered])
        delta = adaptive_margin(z, y, self.method.margin)
        self.watch.begin_round()
        for _ in range(self.method.epochs):
            order = torch.randperm(len(y), generator=draws).to(y.device)
            for some in order.split(self.method.batch):
                loss = contrast(z[some], y[some], self.prototypes(), delta)
                self.watch.descend(loss, self.optimizer)
        self.watch.check()
        self.sent.update(y.tolist())
        return dict.fromkeys(uploads, Message(prototypes=self.prototypes().detach()))

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Keep for inference what the clients hold now, of the classes that ever came."""
        for reply in [*replies.values()][:1]:
            known = torch.tensor(sorted(self.sent), device=reply["prototypes"].device)
            self.nearest.learn(reply["prototypes"][known], known)

    def state(self) -> State:
        """Return the prototypes with their optimiser, as they are held, and which came."""
        trained = learner_state(self.prototypes, self.optimizer)
        held = learner_state(self.nearest)
        return {"prototypes": trained, "nearest": held, "sent": sorted(self.sent)}

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state."""
        load_learner(state["prototypes"], self.prototypes, self.optimizer)
        load_learner(state["nearest"], self.nearest)
        self.sent = set(state["sent"])

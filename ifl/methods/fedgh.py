"""FedGH: the server trains one modular block for all, on mean z by class.

Source: Yi et al. 2023, "FedGH: Heterogeneous Federated Learning with Generalized Global
Header", arXiv 2303.13137, and its code, github.com/LipingYi/FedGH.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from ifl.checks import check_whole
from ifl.client.client import Client
from ifl.client.contract import check_learns_from_one
from ifl.client.divergence import Watch
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.comm.schema import Form, floats, labels
from ifl.methods.base import Blocks, Conversation, Reply, Server, own_blocks, same_start
from ifl.methods.parts.averaging import Newest, parameters_form, unpack
from ifl.methods.parts.class_statistics import fusion_means
from ifl.methods.parts.split_server import ModularBlocks
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends

NOBODY = -1  # stands for the clients whose means are in one batch


@dataclass(frozen=True)
class FedGH:
    """Base blocks stay personal; the modular block is learned where all the z meet.

    The paper's header is the modular block, its feature extractors are the base blocks. Tau
    steps on both blocks; then client k sends the mean of z over its samples of each class that
    it holds, with the label. The server steps on its modular block with each of them,
        theta_m <- theta_m - eta_m grad CE(f_m(C_k^(c)), c),  k in client order, c ascending,
    in each epoch, or with shuffled batches of them; and the clients that came replace theirs by it.
    Who was away, or refused, gets the newest one before its first step. Base blocks may differ,
    modular blocks have to be of one architecture.

    Bytes per round, N clients that came, C_k classes at client k, d, P_m parameters and buffers
    of the modular block, float32, label type of b bytes, plus one header a message: uplink
    sum_k C_k*(4d + b), downlink N*4*P_m, and 4*P_m more for each that lacked the newest block.

    Args:
        tau: local steps.
        epochs: how often the server goes through what came in a round (paper: once).
        batch_size: means a step of the server, shuffled in each epoch; None for one by one in
            their order (paper).
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"z": "means of z", "y": "labels", "params": "parameters"}

    tau: int = 10
    epochs: int = 1
    batch_size: int | None = None
    title: str = "FedGH"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_whole("method.epochs", self.epochs, 1)
        if self.batch_size is not None:
            check_whole("method.batch_size", self.batch_size, 1)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Give every modular block the same start; return the server that trains its own.

        Raises:
            ConfigError: the modular blocks are not of one architecture, or cannot learn from one
                row at a time.
        """
        same_start("method=fedgh", clients, "modular")
        check_learns_from_one(
            clients[0],
            "method=fedgh trains it on one mean at a time, or on the one that batches leave over; "
            "use clients without batch normalisation there",
        )
        return FedGHServer(self, clients, training)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps, send the means of z by class, take over the server's block."""
        if missed:
            unpack(me.model.modular, missed)
        losses = [me.step(x, y) for x, y in me.batches(self.tau)]
        # Paper's code: a mean of batches' means, in training mode; here: of all samples of a
        # class, at inference, because the paper's text says so.
        own = fusion_means(me)
        reply = yield Message(z=own.means(), y=own.classes)
        assert reply is not None
        unpack(me.model.modular, reply)
        return torch.stack(losses)

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect the parameters of the modular block."""
        return [parameters_form(me.model.modular)]

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the N base blocks and the server's modular block."""
        assert isinstance(server, FedGHServer)
        return own_blocks(clients)[0], {"server": server.newest.module}


class FedGHServer(ModularBlocks):
    """Trains a modular block on what came and hands it out; keeps it for the others."""

    def __init__(self, method: FedGH, clients: Sequence[Client], training: Training) -> None:
        first = clients[0]
        self.epochs, self.batch_size = method.epochs, method.batch_size
        super().__init__(first.model.modular, {first.number: 1}, training.optimizers.modular)
        self.newest = Newest(self.modulars[first.number], [c.number for c in clients])
        self.forms: Mapping[int, Form] = {
            c.number: {"z": floats(len(c.classes), "d"), "y": labels(len(c.classes))}
            for c in clients
        }

    def expects(self, client: int) -> Sequence[Form]:
        """Expect a mean z (C_k, d) and a label for each class, once."""
        return [self.forms[client]]

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return the newest block to those who lack it."""
        return self.newest.welcome(clients)

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Step on each mean, or on batches of them; return the block to the senders."""
        # Authors' code: computes these gradients of its header (net_FC), but steps the optimiser
        # of another network (net), so that the header never changes; here: the text's algorithm.
        # HtFLlib's: SGD of its own, 100 epochs by default, in shuffled batches.
        for _ in range(self.epochs):
            if self.batch_size is None:
                for k, upload in sorted(uploads.items()):
                    for z, y in zip(upload["z"].split(1), upload["y"].split(1), strict=True):
                        self.learn({k: Message(z=z, y=y)})
            else:
                self._learn_shuffled([uploads[k] for k in sorted(uploads)], self.batch_size, draws)
        return self.newest.hand_out(uploads)

    def _learn_shuffled(self, uploads: Sequence[Message], size: int, draws: Generator) -> None:
        """Step on batches of all means, in a new order; losses are watched as one party's."""
        z, y = (torch.cat([upload[name] for upload in uploads]) for name in ("z", "y"))
        self.watches.setdefault(NOBODY, Watch("the server"))
        for chosen in torch.randperm(len(y), generator=draws).to(y.device).split(size):
            self.learn({NOBODY: Message(z=z[chosen], y=y[chosen])})

    def state(self) -> State:
        """Return the block with its optimiser, and who holds it."""
        return {"modulars": super().state(), "holders": sorted(self.newest.holders)}

    def load_state(self, state: State, clients: Sequence[Client] = ()) -> None:
        """Go on from such a state."""
        super().load_state(state["modulars"])
        self.newest.holders = set(state["holders"])

"""FedLite: split learning whose z travel as codes of a codebook.

Source: Wang et al. 2022, "FedLite: A Scalable Approach for Federated Learning on
Resource-constrained Clients", arXiv 2201.11865, algorithm 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ifl.checks import check_at_least, check_flag, check_whole
from ifl.client.client import Client
from ifl.client.contract import tried
from ifl.client.settings import Training
from ifl.client.steps import descend
from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, floats, labels
from ifl.methods.base import (
    Blocks,
    Conversation,
    Reply,
    Server,
    same_start,
)
from ifl.methods.parts.averaging import averaged, unpack
from ifl.methods.parts.passing import alike
from ifl.methods.parts.split_server import SplitServer, base_average, check_plain_loss
from ifl.methods.parts.vector_quantise import ProductQuantiser
from ifl.runs.method import Sends
from ifl.seeding import rng


@dataclass(frozen=True)
class FedLite:
    """Split learning on quantised z, with gradients that are corrected for what that loses.

    In each of tau local steps client k cuts the z = f_b,k(x) of its batch into q pieces each,
    clusters the pieces of each of R groups by k-means, and sends the L centroids of a group, the
    codes of the pieces and y. The server steps on its one modular block with the z~ that they
    stand for, in client order, and returns g = dCE/dz~; the client steps on its base block with
        g + lam / B * (z - z~),
    the gradient of CE + lam / 2 * |z - z~|^2, mean over the batch (equation 5). With sync_base,
    base blocks are averaged after the round.

    Bytes per round, N clients that came, d, float32, label type of b bytes, plus one header a
    message: uplink N*tau*(4*R*L*d/q + ceil(B*q*log2(L)/8) + B*b), downlink N*tau*B*4d; with
    sync_base, for P_b parameters and buffers of a base block, N*(4P_b + 8) more up and N*4P_b
    more down, and 4P_b down for each that was away, or refused, when the newest average was made.

    Args:
        tau: local steps, an exchange each.
        width: d/q, values of a piece.
        groups: R, of pieces with one codebook; divides q.
        codes: L, entries of a codebook, a power of 2.
        iterations: of k-means in each step.
        lam: lambda, the weight of the correction; 0 is none.
        sync_base: average the base blocks after the round; needs equal ones.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {
        "codebook": "codebooks of z",
        "codes": "codes of z",
        "y": "labels",
        "grad": "gradients of z",
        "params": "parameters",
        "samples": "sample counts",
    }

    tau: int = 10
    width: int = 8
    groups: int = 1
    codes: int = 8
    iterations: int = 10
    lam: float = 0.01
    sync_base: bool = False
    title: str = "FedLite"
    quantiser: ProductQuantiser = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_at_least("method.lam", self.lam, 0)
        check_flag("method.sync_base", self.sync_base)
        made = ProductQuantiser(self.width, self.groups, self.codes, self.iterations)
        object.__setattr__(self, "quantiser", made)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a server whose modular block starts as a copy of client 0's.

        Raises:
            ConfigError: z cannot be cut up so, or has fewer pieces than codes; or ``sync_base`` and
                the base blocks are not of one architecture; or the loss is to be adjusted.
        """
        check_plain_loss(training)
        for client in alike(clients):
            self.quantiser.check(tried(client)[0].shape[1], client.training.batch_size)
        if self.sync_base:
            same_start("method=fedlite with method.sync_base=true", clients, "base")
        return FedLiteServer(self, clients, training)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps with the server's gradients; the server knows the losses."""
        if missed:
            unpack(me.model.base, missed)
        draws = rng(me.training.seed, "client", me.number, "codebooks", round_number)
        for x, y in me.batches(self.tau):
            z = me.model.base(x)
            books, codes = self.quantiser.quantise(z.detach(), draws)
            said = Message(codebook=books, codes=self.quantiser.pack(codes), y=y)
            reply = yield said
            assert reply is not None
            assert said.arrived is not None
            books = said.arrived["codebook"]  # as the server decoded it
            lost = z.detach() - self.quantiser.assemble(books, codes, len(y))
            gradient = reply["grad"] + self.lam / len(y) * lost
            descend(z, me.base_optimizer, gradient=gradient)
        if self.sync_base:
            yield from averaged(me.model.base, len(me.shard))
        return None

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the N base blocks, the newest average if there is one, and the server's block."""
        assert isinstance(server, SplitServer)
        return server.tested(clients)


class FedLiteServer(SplitServer):
    """Assembles z~ and teaches its modular block; averages base blocks, if asked to."""

    def __init__(self, method: FedLite, clients: Sequence[Client], training: Training) -> None:
        first, self.quantiser = clients[0], method.quantiser
        bases = base_average(clients) if method.sync_base else None
        make = training.optimizers.modular
        super().__init__(first.model.modular, {first.number: 1}, make, method.tau, bases)
        self.pieces = tried(first)[0].shape[1] // method.width  # q
        books = floats(method.groups * method.codes, method.width)
        sent: dict[int, Form] = {}
        for client in clients:
            packed = -(-client.training.batch_size * self.pieces * self.quantiser.bits // 8)
            codes = Expected((packed,), torch.uint8)
            sent[client.number] = {"codebook": books, "codes": codes, "y": labels("B")}
        averages = [bases.form] if bases else []
        self.sent = {k: [form] * method.tau + averages for k, form in sent.items()}

    def expects(self, client: int) -> Sequence[Form]:
        """Expect codebooks, codes and y in every exchange, then the base block if averaged."""
        return self.sent[client]

    def learn(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Step on the modular block with each client's z~ and y, in turn; return dCE/dz~."""
        return super().learn({k: self._assembled(upload) for k, upload in uploads.items()})

    def _assembled(self, upload: Message) -> Message:
        y = upload["y"]
        codes = self.quantiser.unpack(upload["codes"], len(y) * self.pieces)
        return Message(z=self.quantiser.assemble(upload["codebook"], codes, len(y)), y=y)

"""IFL where means and covariances by class stand for fusion outputs.

Source: Krouka & Bennis 2025, arXiv 2509.22823, with the statistics of CCVR (Luo et al. 2021) and
FedPFT (Beitollahi et al. 2024) in place of its upload (``parts.gaussians``). These train a
classifier once, at the end and on the server; here the clients do it, in every round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypedDict

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from ifl.checks import check_flag, check_made_of, check_one_of, check_whole
from ifl.client.client import Client
from ifl.client.contract import check_learns_from_one, tried
from ifl.client.memory import Kept
from ifl.client.settings import Training
from ifl.client.steps import frozen
from ifl.comm.message import Message
from ifl.comm.schema import Form
from ifl.methods.base import Blocks, Conversation, Reply, Server, StatelessServer, own_blocks
from ifl.methods.parts.gaussians import (
    COVARIANCES,
    drawn,
    fusion_gaussians,
    gaussians_form,
    joined,
    merged,
)
from ifl.methods.parts.passing import alike, in_passing
from ifl.methods.parts.replay import Align
from ifl.runs.method import Sends
from ifl.seeding import rng


class ClassCentres(TypedDict):
    """Means z (rows, d) of classes y (rows,), each over ``samples`` (rows,) of them."""

    z: Tensor
    y: Tensor
    samples: Tensor


@dataclass
class Statistics(Kept):
    """The number of clients, and the class means of the newest Gaussians where z is aligned.

    ``nonnegative`` is true where nobody's z is negative and draws are to be alike.
    """

    clients: int = 0
    gaussians: ClassCentres | None = None
    nonnegative: bool | None = None


@dataclass(frozen=True)
class IFLStatistics:
    """The paper's two stages, no sample's z leaves a client.

    Stage 1 is the paper's. Then client k sends, for each class c of its shard, the mean and the
    covariance of f_b,k(x) over all of its samples (x, c), and how many these are; the server
    broadcasts the concatenations in client order. Stage 2, base block held fixed, each step on
    Z (rows, d) drawn anew from these Gaussians, classes and clients as often as they have samples:
        theta_m,k <- theta_m,k - eta_m grad CE(f_m,k(Z), Y).

    Bytes per round, N clients that came, C_k classes and n_k samples at client k, C classes in
    all of them, T = d(d+1)/2, float32, label type of b bytes, count type of s_k bytes (1 for
    n_k < 2^8, 2 for n_k < 2^15, else 4; s the largest), plus one header a message:
        diagonal: uplink sum_k C_k*(8d + b + s_k), downlink N*sum_k C_k*(8d + b + s);
        full: uplink sum_k C_k*(4d + 4T + b + s_k), downlink N*sum_k C_k*(4d + 4T + b + s);
        pooled: uplink sum_k (C_k*(4d + b + s_k) + 4T), downlink
            N*sum_k (C_k*(4d + b + s) + 4T + 4);
    and where the server merges them, downlink that of one client with C classes and s = 4.

    Args:
        tau: local steps of stage 1.
        steps: of stage 2.
        rows: of such a step; None for N*B, all clients' batches, whoever came.
        align: a term of stage 1's loss, towards the class means of the newest Gaussians.
        relay: "all", the server sends all Gaussians; "merged", one a class, with the mean and
            covariance of all clients' samples together.
        covariance: "diagonal", "full", or "pooled", one full one a client for all of its classes.
        nonnegative: make 0 of what is drawn below 0, as a ReLU would; the moments of what is drawn
            are then others. None: if no client's base block, as it starts, makes anything negative.
        title: its name in figures and tables.

    Raises:
        ConfigError: a value is out of range.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {
        "z": "means of z",
        "y": "labels",
        "sd": "deviations of z",
        "factor": "covariances of z",
        "held": "counts of classes",
        "samples": "sample counts",
    }

    tau: int = 10
    steps: int = 1
    rows: int | None = None
    align: Align = field(default_factory=Align)
    relay: str = "all"
    covariance: str = "diagonal"
    nonnegative: bool | None = None
    title: str = "IFL statistics"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_whole("method.steps", self.steps, 1)
        if self.rows is not None:
            check_whole("method.rows", self.rows, 1)
        check_made_of("method.align", self.align, Align)
        check_one_of("method.relay", self.relay, "all", "merged")
        check_one_of("method.covariance", self.covariance, *COVARIANCES)
        if self.nonnegative is not None:
            check_flag("method.nonnegative", self.nonnegative)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Tell the clients how many they are and if z is negative; return a stateless server.

        Raises:
            ConfigError: a step of stage 2 has one row, and a block cannot learn from that.
        """
        clamped, dim = self.nonnegative, 0
        if clamped is None:
            clamped = all(bool((tried(client)[0] >= 0).all()) for client in in_passing(clients))
        if self.covariance != "diagonal":
            dim = tried(clients[0])[0].shape[1]

        def tell(client: Client) -> None:
            memory = client.memory.of(Statistics)
            memory.clients, memory.nonnegative = len(clients), clamped or None

        for client in clients:
            client.at_start(tell)
        for client in alike(clients):
            if (self.rows or len(clients) * client.training.batch_size) == 1:
                check_learns_from_one(
                    client, "method.rows=1 makes stage 2 of single rows; take 2 or more"
                )
        forms = {c.number: gaussians_form(c, self.covariance, dim) for c in clients}
        return StatisticsServer(forms, self.relay)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Run one client's share of a round; the losses are those of stage 1 (tau,)."""
        losses, pull, memory = [], None, me.memory.of(Statistics)
        if memory.gaussians:
            pull = self.align.towards(me, **memory.gaussians)
        with frozen(me.model.modular):
            for x, y in me.batches(self.tau):
                losses.append(me.step(x, y, me.base_optimizer, pull=pull))

        pool = yield fusion_gaussians(me, self.covariance)

        assert pool is not None
        if self.align.weight:
            memory.gaussians = {"z": pool["z"], "y": pool["y"], "samples": pool["samples"]}
        rows = self.rows or memory.clients * me.training.batch_size
        draws = rng(me.training.seed, "client", me.number, "statistics", round_number)
        for _ in range(self.steps):
            z, y = drawn(pool, rows, draws, bool(memory.nonnegative))
            me.watch.descend(cross_entropy(me.model.modular(z), y), me.modular_optimizer)
        return torch.stack(losses)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base and N modular blocks."""
        return own_blocks(clients)


@dataclass(frozen=True)
class StatisticsServer(StatelessServer):
    """Concatenates and broadcasts Gaussians, or merges them first; keeps nothing."""

    forms: Mapping[int, Form]
    relay: str = "all"

    def expects(self, client: int) -> Sequence[Form]:
        """Expect a Gaussian for each class of the client, once."""
        return [self.forms[client]]

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Return the Gaussians of the uploads, in client order, to their senders."""
        pool = joined([uploads[k] for k in sorted(uploads)])
        return dict.fromkeys(uploads, merged(pool) if self.relay == "merged" else pool)

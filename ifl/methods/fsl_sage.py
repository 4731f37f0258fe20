"""FSL-SAGE: split learning by estimates of the server's gradients, which the server corrects.

Source: Nair et al. 2025, "FSL-SAGE: Accelerating Federated Split Learning via Smashed Activation
Gradient Estimation", arXiv 2505.23182, algorithm 1, and its code, github.com/srijith1996/FSL-SAGE.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from ifl.checks import check_flag, check_whole
from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.client.state import learner_state, load_learner
from ifl.client.steps import descend, frozen, optimizer_of
from ifl.comm.message import Message
from ifl.errors import ConfigError
from ifl.methods.base import Blocks, Conversation, Reply, Server, same_start
from ifl.methods.parts.averaging import averaged, told, unpack
from ifl.methods.parts.passing import in_passing
from ifl.methods.parts.split_server import SplitServer, base_average
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends


@dataclass(frozen=True)
class FSLSAGE:
    """Clients learn by an auxiliary network that stands for the server's gradient of z.

    In each of tau local steps client k steps on its base block, its auxiliary network a_k held
    fixed,
        theta_b,k <- theta_b,k - eta_b grad CE(a_k(f_b,k(x)), y),
    and with every h-th of them it sends z = f_b,k(x), as it was before that step, and y. The
    server steps on its one modular block with what came, in client order. In rounds 1, 1 + l,
    1 + 2l, ... it then aligns a_k, by steps on the z and y that came last from client k,
        min_a  mean_i |grad_z CE(a(z_i), y_i) - grad_z CE(f_m(z_i), y_i)|^2,
    and answers the last upload of the round with it. With sync_base, base blocks are averaged
    after the round.

    Bytes per round, N clients that came, d, float32, label type of b bytes, P_k parameters and
    buffers of client k's auxiliary network, plus one header a message: uplink
    N*floor(tau/h)*B*(4d + b), downlink sum_k 4*P_k in one of l rounds, else none; with
    sync_base, for P_b of a base block, N*(4P_b + 8) more up and N*4P_b more down, and 4P_b down
    for each that was away, or refused, when the newest average was made.

    Args:
        tau: local steps.
        h: local steps from one upload to the next, at most tau.
        align_every: l, rounds from one alignment to the next; 10 in the paper, whose rounds are
            epochs.
        align_steps: of an alignment.
        align_rows: z of each client that the server keeps to align on, the newest.
        sync_base: average the base blocks after the round; needs equal ones.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {
        "z": "fusion outputs z",
        "y": "labels",
        "params": "parameters",
        "samples": "sample counts",
    }

    tau: int = 10
    h: int = 10
    align_every: int = 2
    align_steps: int = 50
    align_rows: int = 320
    sync_base: bool = False
    title: str = "FSL-SAGE"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        for name in ("h", "align_every", "align_steps", "align_rows"):
            check_whole(f"method.{name}", getattr(self, name), 1)
        check_flag("method.sync_base", self.sync_base)
        if self.h > self.tau:
            raise ConfigError(
                f"method.h must be at most local.tau={self.tau}, or nothing is ever sent, got "
                f"{self.h}; lower it or raise local.tau"
            )

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a server with a copy of client 0's modular block, and of all as auxiliary ones.

        Raises:
            ConfigError: ``sync_base`` and the base blocks are not of one architecture.
        """
        if self.sync_base:
            same_start("method=fsl_sage with method.sync_base=true", clients, "base")
        return FSLSAGEServer(self, clients, training)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps on estimated gradients, sending z and y with every h-th."""
        if missed:
            unpack(me.model.base, missed)
        losses = []
        for step, (x, y) in enumerate(me.batches(self.tau), 1):
            # Paper: a small network beside the split one; here: the client's own modular block,
            # because it maps z to logits, is there already, and can be small.
            with frozen(me.model.modular):
                z = me.model.base(x)
                loss = me.loss(me.model.modular(z), y)
                losses.append(me.watch.descend(loss, me.base_optimizer))
            if step % self.h == 0:
                aligned = yield Message(z=z.detach(), y=y)
                if aligned:
                    unpack(me.model.modular, aligned)
        if self.sync_base:
            yield from averaged(me.model.base, len(me.shard))
        return torch.stack(losses)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the N base blocks, the newest average if there is one, and the server's block."""
        assert isinstance(server, SplitServer)
        return server.tested(clients)


class FSLSAGEServer(SplitServer):
    """Learns from what comes, keeps some of it, and aligns the clients' auxiliary networks."""

    def __init__(self, method: FSLSAGE, clients: Sequence[Client], training: Training) -> None:
        first, make = clients[0], training.optimizers.modular
        bases = base_average(clients) if method.sync_base else None
        self.exchanges = method.tau // method.h
        super().__init__(first.model.modular, {first.number: 1}, make, self.exchanges, bases)
        self.method = method
        self.auxiliary = {c.number: deepcopy(c.model.modular) for c in in_passing(clients)}
        self.aligners = {k: optimizer_of(a, make) for k, a in self.auxiliary.items()}
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.rounds = 0  # that are over, and had anybody in them
        self.turn = 0  # of this round

    def optimizers(self) -> Iterable[Optimizer]:
        """Return those of the modular block and of the auxiliary networks."""
        return chain(super().optimizers(), self.aligners.values())

    def learn(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Step on the modular block with each client's z and y; return aligned networks, if due."""
        super().learn(uploads)
        for k, upload in uploads.items():
            z, y = upload["z"], upload["y"]
            if k in self.kept:
                z, y = torch.cat([self.kept[k][0], z]), torch.cat([self.kept[k][1], y])
            self.kept[k] = z[-self.method.align_rows :], y[-self.method.align_rows :]
        self.turn += 1
        if self.turn < self.exchanges or self.rounds % self.method.align_every:
            return {}
        for k in sorted(uploads):
            self.align(k)
        return {k: told(self.auxiliary[k]) for k in uploads}

    def align(self, client: int) -> None:
        """Make a client's auxiliary network estimate the gradients of what is kept of it."""
        (z, y), auxiliary = self.kept[client], self.auxiliary[client]
        modular = next(iter(self.modulars.values()))
        with frozen(modular):
            true = slopes(modular, z, y)
        auxiliary.eval()  # as its client uses it
        for _ in range(self.method.align_steps):
            estimated = slopes(auxiliary, z, y, learning=True)
            loss = (estimated - true).square().sum(dim=1).mean()
            descend(loss, self.aligners[client])

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Keep the average, or the aligned networks, as the clients got them."""
        if self.turn > self.exchanges or not replies:
            super().delivered(replies)
            return
        for k, reply in replies.items():
            unpack(self.auxiliary[k], reply)

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Return what ``learn`` does, or the average of the base blocks sent."""
        if all("samples" in upload for upload in uploads.values()):
            self.turn += 1
        return super().reply(uploads, draws)

    def end_round(self) -> Tensor | None:
        """Count the round; return the modular block's losses."""
        self.rounds, self.turn = self.rounds + 1, 0
        return super().end_round()

    def state(self) -> State:
        """Return the blocks with their optimisers, what is kept, and the rounds."""
        auxiliary = {str(k): learner_state(a, self.aligners[k]) for k, a in self.auxiliary.items()}
        kept = {str(k): {"z": z, "y": y} for k, (z, y) in self.kept.items()}
        own = {"auxiliary": auxiliary, "kept": kept, "rounds": self.rounds}
        return {"split": super().state(), **own}

    def load_state(self, state: State, clients: Sequence[object] = ()) -> None:
        """Go on from such a state."""
        super().load_state(state["split"])
        for k, auxiliary in self.auxiliary.items():
            load_learner(state["auxiliary"][str(k)], auxiliary, self.aligners[k])
        self.kept = {int(k): (pair["z"], pair["y"]) for k, pair in state["kept"].items()}
        self.rounds = state["rounds"]


def slopes(block: nn.Module, z: Tensor, y: Tensor, learning: bool = False) -> Tensor:
    """Return grad_z CE(block(z_i), y_i) (n, d) of each row.

    Args:
        learning: keep the graph, for a gradient of it.
    """
    z = z.detach().requires_grad_()
    loss = cross_entropy(block(z), y, reduction="sum")
    (found,) = torch.autograd.grad(loss, z, create_graph=learning)
    return found

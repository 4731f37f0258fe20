"""CSE-FSL: split learning without gradients down, and z up only now and then.

Source: Mu & Shen 2023, "Communication and Storage Efficient Federated Split Learning",
arXiv 2302.05599 (and 2025, arXiv 2507.15816), and its code,
github.com/HowDoIBlowUpTheMoon/ECSE-FL.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ifl.checks import check_flag, check_whole
from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.errors import ConfigError
from ifl.methods.base import Blocks, Conversation, Reply, Server, same_start
from ifl.methods.parts.averaging import Averaging, averaged, unpack
from ifl.methods.parts.split_server import SplitServer
from ifl.runs.method import Sends


@dataclass(frozen=True)
class CSEFSL:
    """Clients learn by an auxiliary network of their own; one server-side block for all listens.

    In each of tau local steps client k steps on its base block and on its auxiliary network a_k,
        grad CE(a_k(f_b,k(x)), y),
    and with every h-th of them it sends z = f_b,k(x), as it was before that step, and y. The
    server steps on its one modular block with what came, in client order; no gradient goes down.
    Base blocks and auxiliary networks are averaged after the round, by samples. Without
    sync_clients they are not: that is not the paper's method, but what is left of it where
    architectures differ.

    Bytes per round, N clients that came, d, P parameters and buffers of a whole network, float32,
    label type of b bytes, plus one header a message: uplink N*(floor(tau/h)*B*(4d + b) + 4P + 8),
    downlink N*4P, and 4P more for each that was away, or refused, when the newest average was
    made; without sync_clients, uplink N*floor(tau/h)*B*(4d + b), downlink none.

    Args:
        tau: local steps.
        h: local steps from one upload to the next, at most tau.
        sync_clients: average what the clients have after the round (paper); needs one architecture.
        title: its name in figures and tables; says by default if nothing is averaged.
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
    sync_clients: bool = True
    title: str = "CSE-FSL"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_whole("method.h", self.h, 1)
        check_flag("method.sync_clients", self.sync_clients)
        if self.h > self.tau:
            raise ConfigError(
                f"method.h must be at most local.tau={self.tau}, or nothing is ever sent, got "
                f"{self.h}; lower it or raise local.tau"
            )
        if not self.sync_clients and self.title == "CSE-FSL":
            object.__setattr__(self, "title", "CSE-FSL without averaging")

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a server whose modular block starts as a copy of client 0's.

        Raises:
            ConfigError: ``sync_clients`` and the clients are not of one architecture.
        """
        if self.sync_clients:
            same_start(
                "method=cse_fsl",
                clients,
                otherwise="method.sync_clients=false (CSE-FSL without averaging)",
            )
        return CSEFSLServer(self, clients, training)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps on the client's own losses, sending z and y with every h-th."""
        if missed:
            unpack(me.model, missed)
        losses = []
        for step, (x, y) in enumerate(me.batches(self.tau), 1):
            z = me.model.base(x)
            # Paper: a small network beside the split one; here: the client's own modular block,
            # because it maps z to logits, is there already, and can be small.
            loss = me.loss(me.model.modular(z), y)
            losses.append(me.watch.descend(loss, *me.both))
            if step % self.h == 0:
                yield Message(z=z.detach(), y=y)
        if self.sync_clients:
            yield from averaged(me.model, len(me.shard))
        return torch.stack(losses)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the N base blocks, the newest average if there is one, and the server's block."""
        assert isinstance(server, SplitServer)
        return server.tested(clients)


class CSEFSLServer(SplitServer):
    """Learns from what comes and says nothing; averages the clients' networks, if asked to."""

    def __init__(self, method: CSEFSL, clients: Sequence[Client], training: Training) -> None:
        first = clients[0]
        samples = {c.number: len(c.shard) for c in clients}
        self.model = deepcopy(first.model) if method.sync_clients else None
        average = Averaging(self.model, samples) if self.model else None
        make, exchanges = training.optimizers.modular, method.tau // method.h
        super().__init__(first.model.modular, {first.number: 1}, make, exchanges, average)

    def base(self) -> nn.Module | None:
        """Return the newest average of base blocks, if networks are averaged."""
        return self.model.base if self.model else None

    def learn(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Step on the modular block with each client's z and y, in turn; answer nobody."""
        super().learn(uploads)
        return {}

"""FSL: federated split learning, the network's upper part on the server.

Sources: Thapa et al. 2022, "SplitFed: When Federated Learning Meets Split Learning"
(V1, V2); Gawali et al. 2021, "Comparison of Privacy-Preserving Distributed Deep Learning
Methods in Healthcare" (V3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ifl.checks import check_flag, check_one_of, check_whole
from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.client.steps import descend
from ifl.comm.message import Message
from ifl.comm.schema import Form, floats
from ifl.methods.base import Blocks, Conversation, Reply, Server, same_start
from ifl.methods.parts.averaging import averaged, parameters_form, unpack
from ifl.methods.parts.split_server import SplitServer, base_average, check_plain_loss
from ifl.runs.method import Sends


@dataclass(frozen=True)
class FSL:
    """Split learning by many clients at once.

    In each of tau local steps client k sends z_k = f_b,k(x) and y_k; the server steps on its
    modular block and returns dCE/dz_k, with which the client steps on its base block. With
    sync_base, server=shared is SplitFed V2 (here in client order, there in random order) and
    per_client V1; without it, per_client is V3 and shared is V2 without its fed server.

    Bytes per round, N clients that came, d, float32, label type of b bytes, plus one header a
    message: uplink N*tau*B*(4d + b), downlink N*tau*B*4d; with sync_base, for P_b
    parameters and buffers of a base block, N*(4P_b + 8) more up and N*4P_b more down, and
    4P_b down for each that was away, or refused, when the newest average was made.

    Args:
        tau: local steps, an exchange each.
        server: "shared", one modular block that learns from every client in turn;
            "per_client", a copy each, averaged after the round.
        sync_base: average the base blocks after the round; needs equal ones.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {
        "z": "fusion outputs z",
        "y": "labels",
        "grad": "gradients of z",
        "params": "parameters",
        "samples": "sample counts",
    }

    tau: int = 10
    server: str = "shared"
    sync_base: bool = False
    title: str = "FSL"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_one_of("method.server", self.server, "shared", "per_client")
        check_flag("method.sync_base", self.sync_base)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a server whose modular blocks start as copies of client 0's.

        Raises:
            ConfigError: ``sync_base`` and the base blocks are not of one architecture, or the loss
                is to be adjusted.
        """
        check_plain_loss(training)
        if self.sync_base:
            same_start("method=fsl with method.sync_base=true", clients, "base")
        return FSLServer(self, clients, training)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps with the server's gradients; the server knows the losses."""
        if missed:
            unpack(me.model.base, missed)
        for x, y in me.batches(self.tau):
            z = me.model.base(x)
            reply = yield Message(z=z, y=y)
            assert reply is not None
            descend(z, me.base_optimizer, gradient=reply["grad"])
        if self.sync_base:
            yield from averaged(me.model.base, len(me.shard))
        return None

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect dCE/dz (B, d), and the parameters of the base block if averaged."""
        return [
            {"grad": floats("B", "d")},
            *([parameters_form(me.model.base)] if self.sync_base else []),
        ]

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the N base blocks, the newest average if there is one, and the server's block."""
        assert isinstance(server, SplitServer)
        return server.tested(clients)


class FSLServer(SplitServer):
    """Teaches the modular blocks; averages the base blocks at the end of a round, if asked to."""

    def __init__(self, fsl: FSL, clients: Sequence[Client], training: Training) -> None:
        model, make = clients[0].model, training.optimizers.modular
        samples = {c.number: len(c.shard) for c in clients}
        owners = samples if fsl.server == "per_client" else {clients[0].number: 1}
        bases = base_average(clients) if fsl.sync_base else None
        super().__init__(model.modular, owners, make, fsl.tau, bases)

"""LG-FedAvg: averaging of the upper part of the networks alone.

Source: Liang et al. 2020, "Think Locally, Act Globally: Federated Learning with Local and
Global Representations", arXiv 2001.01523 (LG-FedAvg), and its code,
github.com/pliang279/LG-FedAvg.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch

from ifl.checks import check_whole
from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.comm.schema import Form
from ifl.methods.base import Blocks, Conversation, Reply, Server, own_blocks, same_start
from ifl.methods.parts.averaging import AveragingServer, parameters_form
from ifl.methods.parts.updates import Part, Sending
from ifl.runs.method import Sends


@dataclass(frozen=True)
class LGFedAvg:
    """Base blocks stay personal, modular blocks are averaged: heads are shared where IFL shares z.

    The paper's local representations are the base blocks, its global model the modular block.
    Tau steps on both, of one loss; then theta_m <- sum_k n_k theta_m,k / sum_k n_k over the
    clients that come. Base blocks may differ, modular blocks have to be of one architecture.
    Who was away, or refused, gets the newest average before its first step.

    Bytes per round, N clients that came, P_m parameters and floating-point buffers of the
    modular block, float32, plus one header a message: uplink N*(4*P_m + 8), downlink N*4*P_m,
    and 4*P_m more for each that lacked the newest average. The 8 are the shard's size.

    Args:
        tau: local steps on the whole network.
        send: "weights" or "updates", the modular block's difference to the average (as of FL).
        error_feedback: add what the codec lost of an update, or of the average, to the next one.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"params": "parameters", "samples": "sample counts"}

    tau: int = 10
    send: str = "weights"
    error_feedback: bool = False
    title: str = "LG-FedAvg"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        self.sending()

    def sending(self) -> Sending:
        """Return what a client sends of its modular block."""
        return Sending(self.send, self.error_feedback)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Give every modular block the same start; return the averaging server.

        Raises:
            ConfigError: the modular blocks are not of one architecture.
        """
        # Paper's code: goes on from a network that FedAvg trained, and takes the plain mean over
        # clients; here: from the seed's weights, by samples, because method=fl does so.
        same_start("method=lg_fedavg", clients, "modular")
        return AveragingServer(deepcopy(clients[0].model.modular), clients, self.sending().average)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps on both blocks, send the modular one, take over the average."""
        part = Part(me, me.model.modular, self.sending(), missed)
        losses = [me.step(x, y) for x, y in me.batches(self.tau)]
        yield from part.averaged()
        return torch.stack(losses)

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect the parameters of the modular block."""
        return [parameters_form(me.model.modular)]

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the N base blocks and the one modular block, the server's newest average."""
        assert isinstance(server, AveragingServer)
        return own_blocks(clients)[0], {"server": server.average.module}

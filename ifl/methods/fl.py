"""FL: federated averaging of whole networks.

Source: McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", algorithm 1, with local work counted in steps; which clients come is
``participation`` (there C, here all by default).
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
from ifl.methods.base import Blocks, Conversation, Reply, Server, same_start
from ifl.methods.parts.averaging import AveragingServer, parameters_form
from ifl.methods.parts.updates import Part, Sending
from ifl.runs.method import Sends


@dataclass(frozen=True)
class FL:
    """FedAvg: w <- sum_k n_k w_k / sum_k n_k after tau local steps of the clients that come.

    The first round starts from client 0's initial weights, which follow from the seed.
    Optimisers stay with their clients between rounds, so that one client alone trains
    as if there were no federation, with momentum too. Who was away, or refused, gets the
    newest average before its first step.

    With send=updates w_k - w travels in place of w_k, w <- w + sum_k n_k (w_k - w) / sum_k n_k
    (FedPAQ; with error_feedback, EF-SGD's memory at both ends: ``parts.updates``). In float32
    that is the same up to rounding; with a codec, what it loses is a part of the update, not of
    the weights. What comes down are weights, which pass the codec too.

    Bytes per round, N clients that came, P parameters and floating-point buffers, float32,
    plus one header a message: uplink N*(4P + 8), downlink N*4P, and 4P more for each that
    lacked the newest average. The 8 are the shard's size.

    Args:
        tau: local steps on the whole network.
        send: "weights" or "updates".
        error_feedback: add what the codec lost of an update, or of the average, to the next one.
        title: its name in figures and tables.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {"params": "parameters", "samples": "sample counts"}

    tau: int = 10
    send: str = "weights"
    error_feedback: bool = False
    title: str = "FL"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        self.sending()

    def sending(self) -> Sending:
        """Return what a client sends of its network."""
        return Sending(self.send, self.error_feedback)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Give every client the same start; return the averaging server.

        Raises:
            ConfigError: the clients do not all have one architecture.
        """
        same_start("method=fl", clients)
        return FLServer(clients, self.sending())

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps from the newest average, send the parameters, take over the next."""
        part = Part(me, me.model, self.sending(), missed)
        losses = [me.step(x, y) for x, y in me.batches(self.tau)]
        yield from part.averaged()
        return torch.stack(losses)

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect the parameters of the network."""
        return [parameters_form(me.model)]

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the one global network, the server's newest average."""
        assert isinstance(server, FLServer)
        return {"server": server.model.base}, {"server": server.model.modular}


class FLServer(AveragingServer):
    """Averages whole networks."""

    def __init__(self, clients: Sequence[Client], sending: Sending) -> None:
        self.model = deepcopy(clients[0].model)
        super().__init__(self.model, clients, sending.average)

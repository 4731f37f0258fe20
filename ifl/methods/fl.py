"""FL: federated averaging of whole networks.

Source: McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", algorithm 1, with every client in every round and local work
counted in steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ifl.averaging import average, averaged
from ifl.checks import whole
from ifl.client import Client
from ifl.message import Message
from ifl.methods import Blocks, Conversation, Server, StatelessServer, same_start


@dataclass(frozen=True)
class FL:
    """FedAvg: w <- sum_k n_k w_k / sum_k n_k after tau local steps of every client.

    The first round starts from client 0's initial weights, which follow from the seed.
    Optimisers stay with their clients between rounds, so that one client alone trains
    as if there were no federation, with momentum too.

    Bytes per round, N clients, P parameters and floating-point buffers, float32, plus one
    header a message: uplink N*(4P + 8), downlink N*4P. The 8 are the shard's size.

    Args:
        tau: local steps on the whole network.
    """

    tau: int = 10

    def __post_init__(self) -> None:
        whole("local.tau", self.tau, 1)

    def open(self, clients: Sequence[Client]) -> Server:
        """Give every client the same start; return the averaging server.

        Raises:
            ConfigError: the clients do not all have one architecture.
        """
        same_start("method=fl", clients, whole=True)
        return AveragingServer()

    def client_round(self, me: Client, round_number: int) -> Conversation:
        """Train tau steps, send the parameters, take over the average."""
        losses = [me.step(x, y) for x, y in me.batches(self.tau)]
        yield from averaged(me.model, len(me.shard))
        return torch.stack(losses)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the one global network, which every client holds after a round."""
        return {"server": clients[0].model.base}, {"server": clients[0].model.modular}


class AveragingServer(StatelessServer):
    """Averages what came and sends it to everybody; keeps nothing."""

    def reply(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Return the weighted average of all uploads to every client."""
        return dict.fromkeys(uploads, average(uploads))

"""FL: federated averaging of whole networks.

Source: McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", algorithm 1, with local work counted in steps; which clients come is
``participation`` (there C, here all by default).
"""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch

from ifl.averaging import Averaging, averaged, unpack
from ifl.checks import whole
from ifl.client import Client
from ifl.forms import Form
from ifl.learner import State
from ifl.message import Message
from ifl.methods import Blocks, Conversation, Reply, Server, StatelessServer, same_start


@dataclass(frozen=True)
class FL:
    """FedAvg: w <- sum_k n_k w_k / sum_k n_k after tau local steps of the clients that come.

    The first round starts from client 0's initial weights, which follow from the seed.
    Optimisers stay with their clients between rounds, so that one client alone trains
    as if there were no federation, with momentum too. Who was away, or refused, gets the
    newest average before its first step.

    Bytes per round, N clients that came, P parameters and floating-point buffers, float32,
    plus one header a message: uplink N*(4P + 8), downlink N*4P, and 4P more for each that
    lacked the newest average. The 8 are the shard's size.

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
        return FLServer(clients)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Train tau steps from the newest average, send the parameters, take over the next."""
        if missed:
            unpack(me.model, missed)
        losses = [me.step(x, y) for x, y in me.batches(self.tau)]
        yield from averaged(me.model, len(me.shard))
        return torch.stack(losses)

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the one global network, the server's newest average."""
        assert isinstance(server, FLServer)
        return {"server": server.model.base}, {"server": server.model.modular}


class FLServer(StatelessServer):
    """Averages what came and sends it to those who came; keeps it for the others."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self.model = deepcopy(clients[0].model)
        self.average = Averaging(self.model, {c.number: len(c.shard) for c in clients})

    def expects(self, client: int) -> Sequence[Form]:
        """Expect the parameters, once."""
        return [self.average.form]

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return the newest average to those who lack it."""
        return self.average.welcome(clients)

    def reply(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Return the weighted average of the uploads to their senders."""
        return self.average.reply(uploads)

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Keep the average as the clients got it."""
        self.average.delivered(replies)

    def state(self) -> State:
        """Return the newest average and who holds it."""
        return self.average.state()

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state."""
        self.average.load_state(state)

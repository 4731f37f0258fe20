"""FSL: federated split learning, the network's upper part on the server.

Sources: Thapa et al. 2022, "SplitFed: When Federated Learning Meets Split Learning"
(V1, V2); Gawali et al. 2021, "Comparison of Privacy-Preserving Distributed Deep Learning
Methods in Healthcare" (V3).
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ifl.averaging import average, averaged, equalise
from ifl.checks import flag, one_of, whole
from ifl.client import Client
from ifl.divergence import Watch
from ifl.learner import OptimizerMaker, State, descend, learner_state, load_learner, optimizer_of
from ifl.message import Message
from ifl.methods import Blocks, Conversation, Server, own_blocks, same_start


@dataclass(frozen=True)
class FSL:
    """Split learning by many clients at once.

    In each of tau local steps client k sends z_k = f_b,k(x) and y_k; the server steps on its
    modular block and returns dCE/dz_k, with which the client steps on its base block. With
    sync_base, server=shared is SplitFed V2 (here in client order, there in random order) and
    per_client V1; without it, per_client is V3 and shared is V2 without its fed server.

    Bytes per round, N clients, d, float32, label type of b bytes, plus one header a
    message: uplink N*tau*B*(4d + b), downlink N*tau*B*4d; with sync_base, for P_b
    parameters and buffers of a base block, N*(4P_b + 8) more up and N*4P_b more down.

    Args:
        tau: local steps, an exchange each.
        server: "shared", one modular block that learns from every client in turn;
            "per_client", a copy each, averaged after the round.
        sync_base: average the base blocks after the round; needs equal ones.
    """

    tau: int = 10
    server: str = "shared"
    sync_base: bool = False

    def __post_init__(self) -> None:
        whole("local.tau", self.tau, 1)
        one_of("method.server", self.server, "shared", "per_client")
        flag("method.sync_base", self.sync_base)

    def open(self, clients: Sequence[Client]) -> Server:
        """Return a server whose modular blocks start as copies of client 0's.

        Raises:
            ConfigError: ``sync_base`` and the base blocks are not of one architecture.
        """
        if self.sync_base:
            same_start("method=fsl with method.sync_base=true", clients, whole=False)
        samples = {c.number: len(c.shard) for c in clients}
        owners = samples if self.server == "per_client" else {clients[0].number: 1}
        return FSLServer(clients[0].model.modular, owners, clients[0].training.optimizers.modular)

    def client_round(self, me: Client, round_number: int) -> Conversation:
        """Train tau steps with the server's gradients; the server knows the losses."""
        for x, y in me.batches(self.tau):
            z = me.model.base(x)
            reply = yield Message(z=z, y=y)
            assert reply is not None
            descend(z, me.base_optimizer, gradient=reply.grad)
        if self.sync_base:
            yield from averaged(me.model.base, len(me.shard))
        return None

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the N base blocks and the server's modular block."""
        assert isinstance(server, FSLServer)
        return own_blocks(clients)[0], {"server": next(iter(server.modulars.values()))}


class FSLServer:
    """Holds the shared modular block, or one for each client (with its samples), and optimisers."""

    def __init__(self, modular: nn.Module, owners: Mapping[int, int], make: OptimizerMaker) -> None:
        self.modulars = {k: deepcopy(modular) for k in owners}
        self.optimizers = {k: optimizer_of(m, make) for k, m in self.modulars.items()}
        self.weights = [samples / sum(owners.values()) for samples in owners.values()]
        self.losses: list[Tensor] = []
        self.watches: dict[int, Watch] = {}

    def reply(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Return each client's gradient of z, or the average of the base blocks sent."""
        if all("z" in upload for upload in uploads.values()):
            replies = {k: self._learn(k, upload) for k, upload in sorted(uploads.items())}
            for watch in self.watches.values():
                watch.check()
            return replies
        return dict.fromkeys(uploads, average(uploads))

    def _learn(self, client: int, upload: Message) -> Message:
        owner = client if client in self.modulars else next(iter(self.modulars))
        z = upload.z.requires_grad_()
        loss = cross_entropy(self.modulars[owner](z), upload.y)
        watch = self.watches.setdefault(client, Watch(f"client {client}"))
        self.losses.append(watch.descend(loss, self.optimizers[owner]))
        assert z.grad is not None
        return Message(grad=z.grad)

    def end_round(self) -> Tensor | None:
        """Average the clients' modular blocks, if they have their own; return the losses."""
        equalise(self.modulars.values(), self.weights)
        for watch in self.watches.values():
            watch.begin_round()
        losses, self.losses = torch.stack(self.losses), []
        return losses

    def state(self) -> State:
        """Return the modular blocks and their optimisers, by owner."""
        return {str(k): learner_state(m, self.optimizers[k]) for k, m in self.modulars.items()}

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state."""
        for k, modular in self.modulars.items():
            load_learner(state[str(k)], modular, self.optimizers[k])

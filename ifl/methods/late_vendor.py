"""A vendor that joins late: its base block alone is aligned to a modular block that is finished.

The others train by IFL (Krouka & Bennis 2025, arXiv 2509.22823), which has all clients there from
the first round on. That one may join later is not in the paper.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from ifl.checks import check_one_of, check_whole
from ifl.client.client import Client
from ifl.client.memory import Kept
from ifl.client.settings import Training
from ifl.client.state import learner_state, load_learner
from ifl.client.steps import frozen
from ifl.comm.message import Message
from ifl.comm.schema import Form, floats, fusion_rows
from ifl.errors import ConfigError
from ifl.methods.base import Blocks, Conversation, Reply, Server, StatelessServer, own_blocks
from ifl.methods.parts.averaging import PARAMS, numbered, state, told, unpack
from ifl.methods.parts.passing import of_clients
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends


@dataclass
class Part(Kept):
    """A client's part: what it is to the late vendor, and how far it has come.

    Args:
        role: "late", "partner" or "other".
        begun: it has been in a round of IFL.
        passed: the partner has handed its modular block over, or the late vendor has it.
    """

    role: str | None = None
    begun: bool | None = None
    passed: bool | None = None


def _tell(role: str, client: Client) -> None:
    client.memory.of(Part).role = role


@dataclass(frozen=True)
class LateVendor:
    """N - 1 clients train by IFL; the last one joins when they have finished.

    Rounds 1 to ``after``: the paper's two stages among the first N - 1 clients. In the last of
    them the partner hands its modular block theta_m over, which the late vendor gets before the
    next round. From then on the late vendor alone trains, tau steps a round on its own images:
        theta_b <- theta_b - eta_b grad CE(f_m(f_b(x)), y), theta_m of the partner held fixed.
    Nobody else does anything, and nothing more is sent. With ``join="ifl"`` the late vendor takes
    part in IFL from then on instead, with all others, and its own modular block is tested too.

    Bytes per round, n clients in IFL (N - 1, later 0 or N), float32, label type of b bytes, P_m
    parameters and floating-point buffers of the partner's modular block, plus one header a
    message: uplink n*B*(4d + b), downlink n*n*B*(4d + b); once 4*P_m up and 4*P_m down.

    Args:
        tau: local steps.
        after: rounds before the last client joins.
        join: "block", by the partner's modular block; "ifl", by IFL.
        partner: the client whose modular block it is.
        title: its name in figures and tables.

    Raises:
        ConfigError: a value is out of range.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = False
    kinds: ClassVar[Mapping[str, str]] = {
        "z": "fusion outputs z",
        "y": "labels",
        "params": "parameters",
    }

    tau: int = 10
    after: int = 60
    join: str = "block"
    partner: int = 0
    title: str = "IFL, late vendor"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_whole("method.after", self.after, 2)
        check_one_of("method.join", self.join, "block", "ifl")
        check_whole("method.partner", self.partner, 0)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Tell the clients their parts; return the server.

        Raises:
            ConfigError: there are not two clients, or the partner is none of the first ones.
        """
        *first, late = clients
        if self.partner >= len(first):
            raise ConfigError(
                "method.partner must name a client that is there from the start, 0 to "
                f"{len(first) - 1}, got {self.partner} of clients.count={len(clients)}"
                if first
                else "method=late_vendor needs a client before the last one, got clients.count=1"
            )
        partner = first[self.partner]
        for client in clients:
            its = "late" if client is late else "partner" if client is partner else "other"
            client.at_start(partial(_tell, its))
        if self.join == "ifl":
            return LateServer(partner.number, late.number, None)
        late.stays = True  # with a network that is not its own
        late.model.modular = deepcopy(partner.model.modular)  # its values come when it joins
        late.draws = late.draws or partner.draws
        return LateServer(partner.number, late.number, deepcopy(partner.model.modular))

    def smallest_pool(self, training: Training, present: int) -> int:
        """Return the rows of a step of stage 2 where one client alone may be there."""
        return training.batch_size

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Run one client's share of a round, if it has one; the losses are those of stage 1."""
        part = me.memory.of(Part)
        joined = round_number > self.after
        if self.join == "block" and part.role == "late":
            if missed:
                unpack(me.model.modular, missed)
                part.passed = True
            return self._stage1(me) if part.passed else None
        # One that was away in the last of its rounds hands its block over when it is back.
        owes = self.join == "block" and part.role == "partner" and not part.passed
        if (part.role == "late" and not joined) or (self.join == "block" and joined and not owes):
            return None
        losses = yield from self._ifl(me)
        if owes and part.begun and round_number >= self.after:
            part.passed = True
            yield told(me.model.modular)
        part.begun = True
        return losses

    def _stage1(self, me: Client) -> Tensor:
        """Take tau steps on the base block, the modular one held fixed; return the losses."""
        with frozen(me.model.modular):
            losses = [me.step(x, y, me.base_optimizer) for x, y in me.batches(self.tau)]
        return torch.stack(losses)

    def _ifl(self, me: Client) -> Generator[Message, Reply, Tensor]:
        """Run a round of the paper's IFL; return the losses of stage 1 (tau,)."""
        losses = self._stage1(me)
        x, y = me.batch()
        with frozen(me.model.base), torch.no_grad():
            z = me.model.base(x)
        pool = yield Message(z=z, y=y)
        assert pool is not None
        loss = me.disclosure.loss(me.model.modular(pool["z"]), pool["y"])
        me.watch.descend(loss, me.modular_optimizer)
        return losses

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base blocks, and the modular blocks that are somebody's own: N - 1, or N."""
        bases, modulars = own_blocks(clients)
        if self.join == "block":
            modulars = of_clients(clients[:-1], lambda client: client.model.modular)
        return bases, modulars


class LateServer(StatelessServer):
    """Concatenates and broadcasts as IFL's does; passes the partner's block on to the late vendor.

    Args:
        partner, late: their numbers.
        module: a block such as the partner's, which it holds as it received it; None where the
            late vendor takes part in IFL instead.
    """

    def __init__(self, partner: int, late: int, module: nn.Module | None) -> None:
        self.partner = partner
        self.late = late
        self.module = module
        self.begun = False  # there was a round
        self.waiting = False  # it has the block, and the late vendor has not
        tensors = numbered(state(module)) if module else {}
        self.form: Form = {name: floats(*tensor.shape) for name, tensor in tensors.items()}

    def expects(self, client: int) -> Sequence[Form]:
        """Expect z and y, and later the partner's block too; nothing yet of who joins late."""
        if client == self.late and (self.module or not self.begun):
            return ()
        block = [self.form] if self.module and self.begun and client == self.partner else []
        return [fusion_rows("B"), *block]

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return the block to the late vendor, once."""
        if self.module is None or not self.waiting or self.late not in clients:
            return {}
        self.waiting = False
        return {self.late: told(self.module)}

    def reply(
        self, uploads: Mapping[int, Message], draws: torch.Generator
    ) -> Mapping[int, Message]:
        """Return the pool to who sent rows, in client order; keep the partner's block."""
        block = uploads.get(self.partner)
        if self.module and block is not None and list(block.group(PARAMS)):
            unpack(self.module, block)
            self.waiting = True
            return {}
        ordered = [uploads[k] for k in sorted(uploads)]
        pool = {name: torch.cat([message[name] for message in ordered]) for name in ("z", "y")}
        return dict.fromkeys(uploads, Message(**pool))

    def end_round(self) -> Tensor | None:
        """Note that there was a round."""
        self.begun = True
        return None

    def state(self) -> State:
        """Return the block, and what became of it."""
        block = learner_state(self.module) if self.module else None
        return {"block": block, "begun": self.begun, "waiting": self.waiting}

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state."""
        if self.module:
            load_learner(state["block"], self.module)
        self.begun, self.waiting = state["begun"], state["waiting"]

"""IFL: interoperable federated learning over fusion outputs.

Source: Krouka & Bennis 2025, "Communication-Efficient and Interoperable Distributed
Learning", arXiv 2509.22823. Deviations: README, "What differs from the paper".
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

import torch
from torch import Generator

from ifl.checks import check_made_of, check_one_of, check_whole
from ifl.client.client import Client
from ifl.client.privatise import check_choice, release
from ifl.client.settings import Training
from ifl.client.steps import batched, frozen
from ifl.comm.message import Message
from ifl.comm.schema import Form, fusion_rows, pool_rows
from ifl.errors import ConfigError
from ifl.methods.base import Blocks, Conversation, Reply, Server, StatelessServer, own_blocks
from ifl.methods.parts.agreement import agree, speaks
from ifl.methods.parts.anchors import Anchored
from ifl.methods.parts.mixtures import ASK, ASKED, Holders
from ifl.methods.parts.mixtures import form as mixtures_form
from ifl.methods.parts.replay import Align, Replay, check_pools
from ifl.methods.parts.robust import ROBUST, check_by_class, check_robust
from ifl.methods.parts.row_selection import PICKS, Upload, check_relay, check_upload
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends


@dataclass(frozen=True)
class IFL:
    """The paper's two stages.

    Stage 1, tau times on a batch of the client's own:
        theta_b,k <- theta_b,k - eta_b grad CE(f_m,k(f_b,k(x)), y), theta_m,k held fixed.
    Upload z_k = f_b,k(x) (B, d) and y_k (B,); the server broadcasts the concatenations
    Z (N*B, d) and Y (N*B,) in client order. Stage 2, base block held fixed:
        theta_m,k <- theta_m,k - eta_m grad CE(f_m,k(Z), Y),
    a corrected CE where labels are randomised (``ifl/client/randomised_response.py``).

    Bytes per round, N clients that came, float32, label type of b bytes, plus one header a
    message:
        uplink N*B*(4d + b), downlink N*N*B*(4d + b) (the broadcast counts per receiver), or
        N*min(R, N*B)*(4d + b) where the server relays R rows.

    Args:
        tau: local steps of stage 1.
        stage2: "pooled", one step on the pool; "per_client", one step on each client's
            pair, in client order.
        upload_batch: "fresh", z_k of a batch that stage 1 did not use; "last", of the
            last batch of stage 1.
        replay: more steps of stage 2, on pools of earlier rounds; none in the paper.
        align: a term of stage 1's loss, towards the pools' class means; none in the paper.
            Neither moves a byte.
        anchors: predictions on public samples, or their z, that travel with z and teach stage 1;
            none in the paper.
        upload: which samples' z_k are sent instead, and how many in place of B.
        relay: "all", the server sends the whole pool (paper); "sample", R of its rows at
            random; "balanced", R rows with all classes alike. All clients get the same rows.
        relay_rows: R.
        robust: "none", the pool has all rows as they came (paper); "trimmed", "median" and "clip"
            as ``parts.robust`` says. Fewer rows may come down than were sent.
        title: its name in figures and tables.

    Raises:
        ConfigError: a value is out of range or goes with another one that is not set.
    """

    sends: ClassVar[Sends] = "each round"
    hides: ClassVar[bool] = True  # it sends no label and no z but by ``release``
    kinds: ClassVar[Mapping[str, str]] = {
        "z": "fusion outputs z",
        "y": "labels",
        "p": "predictions on anchors",
        "za": "z of anchors",
        "w": "weights of anchors",
        "n": "class counts",
        "x": "mixtures of samples",
        "ask": "requests",
    }

    tau: int = 10
    stage2: str = "pooled"
    upload_batch: str = "fresh"
    replay: Replay = field(default_factory=Replay)
    align: Align = field(default_factory=Align)
    anchors: Anchored = field(default_factory=Anchored)
    upload: Upload = field(default_factory=Upload)
    relay: str = "all"
    relay_rows: int | None = None
    robust: str = "none"
    title: str = "IFL"

    def __post_init__(self) -> None:
        check_whole("local.tau", self.tau, 1)
        check_one_of("method.stage2", self.stage2, "pooled", "per_client")
        check_one_of("method.upload_batch", self.upload_batch, "fresh", "last")
        check_pools(self.replay, self.align)
        check_made_of("method.anchors", self.anchors, Anchored)
        check_upload(self.upload, self.upload_batch)
        check_relay(self.relay, self.relay_rows, self.stage2)
        check_robust(self.robust, self.stage2)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Return a stateless server.

        Raises:
            ConfigError: a client has fewer samples than it is to send, or what is hidden of
                labels or z does not go with how rows are chosen or left out.
        """
        for client in clients:
            check_choice(client.disclosure, self.upload.pick, self.relay)
            check_by_class(client, self.robust)
            self.upload.check(client)
            self.anchors.check(client, len(clients))
        sizes = {client.training.batch_size for client in clients}
        if self.stage2 == "per_client" and not self.upload.rows and len(sizes) > 1:
            raise ConfigError(
                "method.stage2=per_client takes a pool apart into uploads of one size, got a "
                f"batch_size of {' and '.join(map(str, sorted(sizes)))} in clients.members; set "
                "method.upload.rows, or use method.stage2=pooled"
            )
        rows, relayed = self.upload.rows or "B", self.relay_rows or 0
        shape = clients[0].shard.x.shape[1:]
        return IFLServer(rows, self.relay, relayed, self.anchors, self.robust, shape)

    def smallest_pool(self, training: Training, present: int) -> int:
        """Return the rows of a step of stage 2 where so many clients take part."""
        rows = self.upload.rows or training.batch_size
        together = rows if self.stage2 == "per_client" else rows * present
        if self.robust in ("trimmed", "median"):
            together = min(together, 2)  # of a class with three clients or more, two at least stay
        replayed = self.replay.rows if self.replay.steps > 1 else None
        return min(together, self.relay_rows or together, replayed or together)

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Run one client's share of a round; the losses are those of stage 1 (tau,)."""
        losses, pull, term = [], self.align.pull(me), self.anchors.term(me, round_number)
        with frozen(me.model.modular):
            for batch in me.batches(self.tau):
                losses.append(me.step(batch.x, batch.y, me.base_optimizer, pull=pull, term=term))

        if self.upload_batch == "fresh":
            batch = self.upload.batch(me, round_number)
        with frozen(me.model.base), torch.no_grad():
            z = me.model.base(batch.x)
        z, y = release(me, z, batch, round_number)
        asked = missed is not None and ASK in missed
        pool = yield Message(z=z, y=y, **self.anchors.told(me, round_number, asked))

        assert pool is not None
        self.replay.keep(me, pool)
        self.anchors.keep_agreed(me, round_number, pool)
        rows = len(pool["y"]) if self.stage2 == "pooled" else len(y)
        newest, more = batched(pool["z"], pool["y"], rows), self.replay.batches(me, round_number)
        for pool_z, pool_y in chain(newest, more):
            loss = me.disclosure.loss(me.model.modular(pool_z), pool_y)
            me.watch.descend(loss, me.modular_optimizer)
        return torch.stack(losses)

    def hears(self, me: Client, agreed: Mapping[str, int]) -> Sequence[Form]:
        """Expect a pool of as many rows as all clients send, or fewer, and what was agreed."""
        rows = self.upload.rows
        most = agreed["N"] * rows if rows else agreed["batches"]
        if self.relay != "all":
            most = min(most, self.relay_rows or most)
        shape = me.shard.x.shape[1:]
        forms = [{**pool_rows(most), **form} for form in self.anchors.forms(agreed["N"], shape)]
        return [*forms, ASKED] if self.anchors.mixtures else forms

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return N base and N modular blocks: the paper's compositions f_m,i(f_b,k(x))."""
        return own_blocks(clients)


@dataclass(frozen=True)
class IFLServer(StatelessServer):
    """Concatenates and broadcasts, all rows or some, and averages over anchors; keeps nothing.

    Where clients publish mixtures it passes them on, and keeps who has them.
    """

    rows: int | str = "B"  # of an upload
    relay: str = "all"
    relay_rows: int = 0
    anchors: Anchored = field(default_factory=Anchored)
    robust: str = "none"
    shape: Sequence[int] = ()  # of a sample
    holders: Holders = field(default_factory=Holders)

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Ask for mixtures until there are any; return nothing where there are to be none."""
        return self.holders.asks(clients) if self.anchors.mixtures else {}

    def expects(self, client: int) -> Sequence[Form]:
        """Expect z (B, d) and y (B,), once, or as many rows as were agreed on, and of anchors."""
        told = self.anchors.upload_form()
        if self.anchors.mixtures:
            has = self.holders.numbers
            if has is None:
                told = mixtures_form(self.anchors.mixtures, self.shape)
            else:
                told = self.anchors.upload_form(len(has)) if client in has else {}
        return [{**fusion_rows(self.rows), **told}]

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        """Return the pool of the uploads, or some rows of it, in client order, to their senders."""
        ordered = [uploads[k] for k in sorted(uploads)]
        rows = ROBUST[self.robust]([(m["z"], m["y"]) for m in ordered])
        z, y = torch.cat([z for z, _ in rows]), torch.cat([y for _, y in rows])
        if self.relay != "all":
            some = PICKS[self.relay](y, self.relay_rows, draws)
            z, y = z[some], y[some]
        mixed = self.holders.joined(uploads)
        pool = Message(z=z, y=y, **mixed)
        agreed = Message(z=z, y=y, **agree([m for m in ordered if speaks(m)]))
        return {k: agreed if speaks(uploads[k]) else pool for k in uploads}

    def state(self) -> State:
        """Return who holds mixtures, if anybody does."""
        has = self.holders.numbers
        return {} if has is None else {"holders": sorted(has)}

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state."""
        if "holders" in state:
            self.holders.numbers = set(state["holders"])

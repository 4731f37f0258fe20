"""Replays the pools that a client kept, and aligns base blocks to their class means.

Neither sends a byte, since a pool was broadcast to everybody anyway. Sources: experience replay
(Lin 1992; Rolnick et al. 2019); pulling features to class centres (Wen et al. 2016, "A
Discriminative Feature Learning Approach for Deep Face Recognition"), here to those of the pool
(as FedProto, Tan et al. 2022, does with prototypes that are sent).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ifl.checks import check_at_least, check_made_of, check_whole
from ifl.client.client import Client, Pull
from ifl.client.memory import Kept
from ifl.comm.message import Message
from ifl.errors import ConfigError
from ifl.seeding import rng


class Pool(TypedDict):
    """A pool as it came: z (rows, d), y (rows,)."""

    z: Tensor
    y: Tensor


@dataclass
class Pools(Kept):
    """The last pools, the newest one at the end."""

    pools: list[Pool] = field(default_factory=list)


@dataclass(frozen=True)
class Replay:
    """More steps of stage 2, on rows of the pools kept: the newest one and those before it.

    The rows of a step are drawn from all kept pools alike, with replacement. Rows are as old as
    their pools: their senders' base blocks have moved on.

    Args:
        pools: R, how many of the last pools a client keeps, the newest included; 0 for none.
        steps: of stage 2 in a round, of which the first is on the newest pool alone.
        rows: of each step after the first; None for as many as the newest pool has.

    Raises:
        ConfigError: a value is out of range, or there are steps but no pools for them.
    """

    pools: int = 0
    steps: int = 1
    rows: int | None = None

    def __post_init__(self) -> None:
        check_whole("method.replay.pools", self.pools, 0)
        check_whole("method.replay.steps", self.steps, 1)
        if self.rows is not None:
            check_whole("method.replay.rows", self.rows, 1)
        if self.steps > 1 and not self.pools:
            raise ConfigError(
                f"method.replay.steps={self.steps} needs pools to replay, got "
                "method.replay.pools=0; keep 1 or more, or take 1 step"
            )

    def keep(self, me: Client, pool: Message) -> None:
        """Keep a new pool, and forget the oldest one beyond R."""
        if self.pools:
            memory, newest = me.memory.of(Pools), Pool(z=pool["z"], y=pool["y"])
            memory.pools = [*memory.pools, newest][-self.pools :]

    def batches(self, me: Client, round_number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the z (rows, d) and y (rows,) of the steps after the first."""
        if self.steps > 1:
            kept = me.memory.of(Pools).pools
            (z, y), rows = _joined(kept), self.rows or len(kept[-1]["y"])
            draws = rng(me.training.seed, "client", me.number, "replay", round_number)
            for _ in range(self.steps - 1):
                chosen = torch.randint(len(y), (rows,), generator=draws).to(y.device)
                yield z.index_select(0, chosen), y.index_select(0, chosen)


@dataclass(frozen=True)
class Align:
    """A term of stage 1's loss that draws all base blocks to one representation of a class.

    To CE is added weight / d * |f_b,k(x) - c_y|^2, mean over the batch, where c_y (d,) is the
    mean of the kept pools' z of class y. z is neither scaled nor normalised: while the z of all
    classes are small and alike, at the start, the pull is weak and cannot make them one. A
    class that no kept pool has is not pulled, so nothing is before the first pool. The z of a
    pool are in evaluation mode, those that are pulled in training mode.

    Args:
        weight: >= 0; 0 for no such term.
    """

    weight: float = 0.0

    def __post_init__(self) -> None:
        check_at_least("method.align.weight", self.weight, 0, "; 0 is no alignment")

    def pull(self, me: Client) -> Pull | None:
        """Return the term as a function of z (B, d) and y (B,); None where there is none."""
        if not self.weight:
            return None
        kept = me.memory.of(Pools).pools
        return self.towards(me, *_joined(kept)) if kept else None

    def towards(self, me: Client, z: Tensor, y: Tensor, samples: Tensor | None = None) -> Pull:
        """Return the term where c_y is the mean of these z (rows, d) of class y (rows,).

        Args:
            samples: (rows,), how many a row of z is the mean of; None for 1.
        """
        response = me.disclosure.labels
        classes = 1 + max(int(y.max()), int(me.shard.y.max()))
        members = one_hot(y, response.classes if response else classes).to(z.dtype)
        if samples is not None:
            members = members * samples.unsqueeze(1)
        counts, sums = members.sum(dim=0), members.T @ z  # (classes,), (classes, d)
        if response:
            counts, sums = response.unmixed(counts), response.unmixed(sums)
        centroids = sums / counts.clamp(min=1).unsqueeze(1)  # (classes, d)
        known = counts >= 1

        def term(own_z: Tensor, own_y: Tensor) -> Tensor:
            squares = (own_z - centroids[own_y]).square().mean(dim=1)
            return self.weight * (squares * known[own_y]).mean()

        return term


def check_pools(replay: Replay, align: Align) -> None:
    """Raise ConfigError unless there are pools kept for what needs them."""
    check_made_of("method.replay", replay, Replay)
    check_made_of("method.align", align, Align)
    if align.weight and not replay.pools:
        raise ConfigError(
            f"method.align.weight={align.weight} needs pools whose class means it can take, got "
            "method.replay.pools=0; keep 1 or more"
        )


def _joined(kept: list[Pool]) -> tuple[Tensor, Tensor]:
    """Return the rows of all pools: z (rows, d), y (rows,)."""
    return torch.cat([pool["z"] for pool in kept]), torch.cat([pool["y"] for pool in kept])

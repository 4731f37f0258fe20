"""Evaluates the composition matrix: every modular block on every base block.

Source: Krouka & Bennis 2025, inference y_k,i = f_m,i(f_b,k(x)).
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ifl.checks import check_flag, check_whole
from ifl.client.steps import PORTION, batched, frozen
from ifl.engines.testing import tallied
from ifl.errors import ConfigError
from ifl.federation.class_counts import ClassCounts, Pair, metrics
from ifl.federation.workers import Workers
from ifl.methods.base import Blocks
from ifl.methods.parts.passing import Lazy
from ifl.seeding import numpy_rng


@dataclass(frozen=True)
class Compositions:
    """Test accuracies, fractions in [0, 1], by (owner of base, owner of modular block).

    Owners are client numbers as text, or "server" for a block that the server holds or
    that all clients have in common. A composition is local where both owners are the same
    or where one is the server; it is cross where two clients meet.

    Args:
        accuracy: by pair of owners.
        counts: of the guesses by class, by pair.
        of: how many compositions there are, where these are a sample of them; else None.
    """

    accuracy: dict[Pair, float]
    counts: dict[Pair, ClassCounts] = field(default_factory=dict, compare=False)
    of: int | None = None

    @property
    def mean(self) -> float:
        """Mean over all compositions that exist."""
        return float(np.mean(list(self.accuracy.values())))

    @property
    def local(self) -> float | None:
        """Mean over local compositions."""
        return _mean([a for pair, a in self.accuracy.items() if not _is_cross(*pair)])

    @property
    def cross(self) -> float | None:
        """Mean over cross compositions; None where there are none."""
        return _mean([a for pair, a in self.accuracy.items() if _is_cross(*pair)])

    @property
    def sd(self) -> float | None:
        """Mean over base blocks of the SD over modular blocks, in percentage points.

        The SD is that of a whole population (divisor n): all compositions are there, not
        a sample of them. None where a base block has only one modular block to go with.
        """
        rows: dict[str, list[float]] = {}
        for (base, _), accuracy in self.accuracy.items():
            rows.setdefault(base, []).append(100 * accuracy)
        return _mean([float(np.std(row)) for row in rows.values() if len(row) > 1])

    @property
    def standard_error(self) -> float | None:
        """Standard error of ``mean``, a fraction, where blocks are a sample of more.

        sqrt(var(rows) / b + var(columns) / m), of the means by base and by modular block: blocks
        are drawn, not compositions. None with fewer than two of either.
        """
        bases, modulars = ([*dict.fromkeys(owners)] for owners in zip(*self.accuracy, strict=True))
        if min(len(bases), len(modulars)) < 2:
            return None
        table = np.array([[self.accuracy[k, i] for i in modulars] for k in bases])
        parts = (table.mean(axis=axis).var(ddof=1) / table.shape[1 - axis] for axis in (0, 1))
        return float(np.sqrt(sum(parts)))


def _is_cross(base: str, modular: str) -> bool:
    return base != modular and "server" not in (base, modular)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


@dataclass(frozen=True)
class Evaluation:
    """The compositions that are tested: all, a sample, or every client's own.

    Args:
        bases, modulars: blocks that are drawn anew for every evaluation, the last one too, each
            kind from a stream of its own; every drawn base goes with every drawn modular block.
            None for all.
        local_only: only local compositions, N in place of N^2.

    Raises:
        ConfigError: a number is not a whole number from 1, or goes with ``local_only``.
    """

    bases: int | None = None
    modulars: int | None = None
    local_only: bool = False

    def __post_init__(self) -> None:
        check_flag("evaluate.local_only", self.local_only)
        for name in ("bases", "modulars"):
            if (value := getattr(self, name)) is not None:
                check_whole(f"evaluate.{name}", value, 1)
                if self.local_only:
                    raise ConfigError(
                        f"evaluate.{name}={value} samples the compositions that "
                        "evaluate.local_only=true leaves out; set one of them"
                    )

    def drawn(self, kind: str, blocks: Blocks, seed: int, number: int) -> Blocks:
        """Return the blocks of a kind, "bases" or "modulars", that a round's evaluation tests."""
        count = getattr(self, kind)
        if count is None or count >= len(blocks):
            return blocks
        places = numpy_rng(seed, "evaluate", kind, number).permutation(len(blocks))[:count]
        owners = [*blocks]
        return Lazy([owners[place] for place in sorted(places.tolist())], blocks.__getitem__)


def compose(
    bases: Blocks,
    modulars: Blocks,
    x: Tensor,
    y: Tensor,
    workers: Workers | None = None,
    local_only: bool = False,
) -> Compositions:
    """Test every modular block after every base block.

    Each base block runs once over the test set, every modular block on its outputs.

    Args:
        bases, modulars: blocks by owner.
        x: (n, ...) test samples as networks take them, on the blocks' device.
        y: (n,) int64 labels.
        workers: do the base blocks and the portions of the test set, several at a time.
        local_only: leave cross compositions out.
    """
    bases, modulars = dict(bases), dict(modulars)  # looked up once
    partners = partners_of(bases, modulars, local_only)

    def hits(piece: tuple[str, Tensor, Tensor]) -> Tensor:
        base, images, labels = piece
        with torch.inference_mode():
            z = bases[base](images)
            return torch.stack([tallied(modulars[i](z), labels) for i in partners[base]])

    with ExitStack() as stack:
        for block in (*bases.values(), *modulars.values()):
            stack.enter_context(frozen(block))
        pieces = [(k, *portion) for portion in batched(x, y, PORTION) for k in bases]
        counts = (workers or Workers()).map(hits, pieces)
    sums: dict[str, Tensor] = {}
    for (k, *_), found in zip(pieces, counts, strict=True):
        sums[k] = sums[k] + found if k in sums else found
    tallies: dict[Pair, Tensor] = {}
    for k, found in sums.items():
        tallies |= {(k, i): its for i, its in zip(partners[k], found.cpu(), strict=True)}
    return counted(tallies)


def counted(tallies: Mapping[Pair, Tensor]) -> Compositions:
    """Return accuracies from the counts of guesses (3, C) int64, as ``tallied``, of each pair."""
    counts = {pair: ClassCounts(*its.cpu().numpy()) for pair, its in tallies.items()}
    accuracy = {p: int(its.correct.sum()) / int(its.samples.sum()) for p, its in counts.items()}
    return Compositions(accuracy, counts)


def joined(parts: Iterable[Compositions]) -> Compositions:
    """Return what several evaluations of different compositions found, as one."""
    accuracy: dict[Pair, float] = {}
    counts: dict[Pair, ClassCounts] = {}
    for part in parts:
        accuracy |= part.accuracy
        counts |= part.counts
    return Compositions(accuracy, counts)


def partners_of(bases: Blocks, modulars: Blocks, local_only: bool) -> dict[str, list[str]]:
    """Return the owners of the modular blocks that each base block is tested with."""
    every = [*modulars]
    if not local_only:
        return dict.fromkeys(bases, every)
    places = {i: place for place, i in enumerate(every)}
    own = {k: [i for i in (k, "server") if i in places] for k in bases if k != "server"}
    return {k: sorted({*own[k]}, key=places.__getitem__) if k in own else every for k in bases}


def guesses(
    bases: Blocks, modulars: Blocks, x: Tensor, local_only: bool = False
) -> dict[Pair, Tensor]:
    """Return the guessed classes (n,) int64, on the CPU, of the compositions that are tested.

    Args:
        bases, modulars, x, local_only: as ``compose`` takes them.
    """
    found: dict[Pair, list[Tensor]] = {}
    bases, modulars = dict(bases), dict(modulars)
    with ExitStack() as stack, torch.inference_mode():
        for block in (*bases.values(), *modulars.values()):
            stack.enter_context(frozen(block))
        for k, base in bases.items():
            for portion, _ in batched(x, x, PORTION):
                z = base(portion)
                for i, modular in modulars.items():
                    if not (local_only and _is_cross(k, i)):
                        found.setdefault((k, i), []).append(modular(z).argmax(dim=1).cpu())
    return {pair: torch.cat(parts) for pair, parts in found.items()}


def summary(tested: Compositions, table: np.ndarray) -> dict[str, float | None]:
    """Return means over compositions of balanced accuracy and F1, and accuracy_own.

    accuracy_own is the mean over local compositions: what each client gets of its own blocks, or
    of those that all share, on its own class mix.

    Args:
        table: (clients, C) int64 training samples by class.
    """
    sampled = (
        {}
        if tested.of is None
        else {
            "compositions": len(tested.accuracy),
            "compositions_in_all": tested.of,
            "standard_error": tested.standard_error,
        }
    )
    values = metrics(tested.counts, table)
    own = [mine for pair, (*_, mine) in values.items() if not _is_cross(*pair)]
    return {
        "balanced_accuracy": _mean([balanced for balanced, _, _ in values.values()]),
        "macro_f1": _mean([f1 for _, f1, _ in values.values()]),
        "accuracy_own": _mean([mine for mine in own if mine is not None]),
        **sampled,
    }

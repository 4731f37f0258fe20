"""Evaluates the composition matrix: every modular block on every base block.

Source: Krouka & Bennis 2025, inference y_k,i = f_m,i(f_b,k(x)).
"""

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ifl.client.steps import PORTION, batched, frozen
from ifl.federation.workers import Workers
from ifl.methods.base import Blocks


@dataclass(frozen=True)
class Compositions:
    """Test accuracies, fractions in [0, 1], by (owner of base, owner of modular block).

    Owners are client numbers as text, or "server" for a block that the server holds or
    that all clients have in common. A composition is local where both owners are the same
    or where one is the server; it is cross where two clients meet.
    """

    accuracy: dict[tuple[str, str], float]

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


def _is_cross(base: str, modular: str) -> bool:
    return base != modular and "server" not in (base, modular)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def compose(
    bases: Blocks, modulars: Blocks, x: Tensor, y: Tensor, workers: Workers | None = None
) -> Compositions:
    """Test every modular block after every base block.

    Each base block runs once over the test set, every modular block on its outputs.

    Args:
        bases, modulars: blocks by owner.
        x: (n, ...) test samples as networks take them, on the blocks' device.
        y: (n,) int64 labels.
        workers: do the base blocks and the portions of the test set, several at a time.
    """

    def hits(piece: tuple[str, Tensor, Tensor]) -> Tensor:
        base, images, labels = piece
        with torch.inference_mode():
            z = bases[base](images)
            found = [(m(z).argmax(dim=1) == labels).sum() for m in modulars.values()]
            return torch.stack(found)

    with ExitStack() as stack:
        for block in (*bases.values(), *modulars.values()):
            stack.enter_context(frozen(block))
        pieces = [(k, *portion) for portion in batched(x, y, PORTION) for k in bases]
        counts = (workers or Workers()).map(hits, pieces)
    correct = dict.fromkeys(((k, i) for k in bases for i in modulars), 0)
    for (k, *_), found in zip(pieces, counts, strict=True):
        for i, count in zip(modulars, found.tolist(), strict=True):
            correct[k, i] += count
    return Compositions({pair: count / len(y) for pair, count in correct.items()})

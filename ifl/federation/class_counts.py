"""Counts a composition's guesses by class: balanced accuracy, F1, accuracy on a class mix."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

Pair = tuple[str, str]  # owner of the base block, owner of the modular block


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Guesses of one composition on a test set, by class.

    Args:
        samples: (C,) int64 test samples of each class.
        guessed: (C,) int64 times that a class was guessed.
        correct: (C,) int64 times that it was guessed rightly.
    """

    samples: np.ndarray
    guessed: np.ndarray
    correct: np.ndarray

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes of the test set of the fraction that is right (recall)."""
        there = self.samples > 0
        return float((self.correct[there] / self.samples[there]).mean())

    @property
    def macro_f1(self) -> float:
        """Mean of F1 = 2 correct / (samples + guessed) over classes that are there or guessed."""
        either = self.samples + self.guessed
        there = either > 0
        return float((2 * self.correct[there] / either[there]).mean())

    def accuracy_on(self, shares: np.ndarray) -> float | None:
        """Return the accuracy on a mix of the classes: sum_c share_c * correct_c / samples_c.

        Args:
            shares: (C,) of each class, not negative; scaled to sum 1 over the classes of the test
                set. None if it has none of them.
        """
        weights = np.where(self.samples > 0, shares, 0)
        if not weights.sum():
            return None
        recall = self.correct / np.maximum(self.samples, 1)
        return float((weights * recall).sum() / weights.sum())


def accuracy_own(pair: Pair, counts: ClassCounts, table: np.ndarray) -> float | None:
    """Return a composition's accuracy on the class mix of the client that it is for.

    That is the owner of the base block; where the server holds that, of the modular block; where
    it holds both, the mean over all clients.

    Args:
        table: (clients, C) int64 training samples.
    """
    owners = [int(owner) for owner in pair if owner != "server"][:1]
    mixes, which = np.unique(table[owners] if owners else table, axis=0, return_inverse=True)
    found = [counts.accuracy_on(mix) for mix in mixes]  # of many clients, some are alike
    known = [value for k in which.ravel().tolist() if (value := found[k]) is not None]
    return float(np.mean(known)) if known else None


def metrics(
    counts: Mapping[Pair, ClassCounts], table: np.ndarray
) -> dict[Pair, tuple[float, float, float | None]]:
    """Return balanced accuracy, macro F1 and accuracy_own of every composition."""
    return {
        pair: (its.balanced_accuracy, its.macro_f1, accuracy_own(pair, its, table))
        for pair, its in counts.items()
    }


def class_rows(counts: Mapping[Pair, ClassCounts]) -> Iterator[tuple[str, str, int, int, int, int]]:
    """Yield base, modular, class, samples, guessed, correct of every composition and class."""
    for (base, modular), its in counts.items():
        columns = (its.samples, its.guessed, its.correct)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for label, row in enumerate(rows):
            yield base, modular, label, *row

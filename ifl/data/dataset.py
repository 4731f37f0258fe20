"""Holds images and labels in memory: a shard, a data set, and how one is split.

Images stay uint8, as they were published; ``Shard.inputs`` scales a whole shard
once, so that no per-sample transform runs in the training loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ifl.checks import check_text, check_whole, check_wholes
from ifl.data.owners import checked_owners
from ifl.errors import ConfigError, DataError
from ifl.seeding import numpy_rng


@dataclass(frozen=True)
class Shard:
    """Images x (n, C, H, W) uint8 and labels y (n,) int64 in [0, classes)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def inputs(self) -> Tensor:
        """Return the images as the networks take them: (n, C, H, W) float32 in [-1, 1]."""
        return self.x.float().div_(127.5).sub_(1.0)


@dataclass(frozen=True)
class Dataset:
    """A named image set: disjoint train and test shards, shape C x H x W, class count.

    Args:
        owners: (n,) whose each training sample is, numbers or text, for ``partition=by``; None
            if that is not known.
        class_names: of class 0, 1, ...; empty if they have none.
        remarks: sentences that a user should read before training.

    Raises:
        DataError: images or labels are not what shape and classes promise.
    """

    name: str
    train: Shard
    test: Shard
    shape: tuple[int, ...]
    classes: int
    owners: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.owners is not None:
            whose = f"{self.name}: owners"
            object.__setattr__(self, "owners", checked_owners(self.owners, len(self.train), whose))
        for part, shard in (("train", self.train), ("test", self.test)):
            if tuple(shard.x.shape) != (len(shard.y), *self.shape) or len(shard) == 0:
                raise DataError(
                    f"{self.name}: {part} holds {tuple(shard.x.shape)} images and {len(shard)} "
                    f"labels, data.shape={list(self.shape)}; it needs one label per image"
                )
            low, high = int(shard.y.min()), int(shard.y.max())
            if low < 0 or high >= self.classes:
                raise DataError(
                    f"{self.name}: {part} labels run from {low} to {high}, data.classes="
                    f"{self.classes} allows 0 to {self.classes - 1}; correct data.classes"
                )


def check_promise(name: str, shape: Sequence[int], classes: int, root: str = "data") -> None:
    """Raise ConfigError unless a data set may be described and kept so."""
    check_text("data.name", name)
    check_text("data.root", root)
    check_wholes("data.shape", shape, 1)
    check_whole("data.classes", classes, 2)
    if len(shape) != 3:
        raise ConfigError(f"data.shape must be channels, height and width, got {list(shape)}")


def stratified_split(
    labels: np.ndarray, test_fraction: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices so that every class gives the same fraction, rounded, to the test part.

    Args:
        labels: (n,) integer class of each sample.

    Returns:
        Sorted train and test indices, disjoint and exhaustive.
    """
    shuffled = [generator.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    chosen = np.sort(np.concatenate([m[: round(test_fraction * len(m))] for m in shuffled]))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def hold_out(data: Dataset, fraction: float) -> Dataset:
    """Return the training data, split into training and test data; the test set is left out.

    The split is stratified and follows from the data's name, never from the seed of a run.

    Args:
        data: what is split.
        fraction: of each class, held out; 0 leaves the data as it is.

    Raises:
        ConfigError: the fraction is not in [0, 1), or leaves one of the parts empty.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise ConfigError(
            f"validation must be a fraction of the training data, >= 0 and < 1, got {fraction}; "
            "0 tests on the test set"
        )
    if fraction == 0:
        return data
    name, (x, y) = f"{data.name}, validation", (data.train.x, data.train.y)
    kept, held = stratified_split(y.numpy(), fraction, numpy_rng(0, "data", name))
    if not len(kept) or not len(held):
        raise ConfigError(
            f"validation={fraction} splits {len(y)} training samples into {len(kept)} and "
            f"{len(held)}; choose a fraction that leaves some of a class in both"
        )
    owners = None if data.owners is None else data.owners[kept]
    train, test = Shard(x[kept], y[kept]), Shard(x[held], y[held])
    return replace(data, name=name, train=train, test=test, owners=owners)

"""Holds samples and labels in memory: a shard, a data set, and how one is split.

Images stay uint8, as they were published; ``Shard.inputs`` scales a whole shard
once, so that no per-sample transform runs in the training loop. Floats and tokens are taken as
they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ifl.checks import check_text, check_whole, check_wholes
from ifl.data.contract import labels_of, samples_of
from ifl.data.owners import checked_owners
from ifl.errors import ConfigError, DataError
from ifl.seeding import numpy_rng


@dataclass(frozen=True)
class Shard:
    """Samples x (n, ...) and labels y (n,) int64 in [0, classes).

    What is given is converted where nothing is lost (``ifl.data.contract``), arrays too.

    Args:
        x: uint8 images, scaled by ``inputs``; float32, taken as they are; or tokens, of a signed
            integer type.

    Raises:
        DataError: x or y cannot be converted.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", samples_of(self.x))
        object.__setattr__(self, "y", labels_of(self.y))

    def __len__(self) -> int:
        return len(self.y)

    def first(self, count: int) -> "Shard":
        """Return the first samples, at most so many."""
        return Shard(self.x[:count], self.y[:count])

    @property
    def kind(self) -> str:
        """Its samples in a word: images, which ``inputs`` scales, floats or tokens."""
        if self.x.dtype == torch.uint8:
            return "images"
        return "floats" if self.x.is_floating_point() else "tokens"

    def inputs(self) -> Tensor:
        """Return the samples as the networks take them: (n, ...) float32, or int64 for tokens.

        uint8 images are scaled to [-1, 1].
        """
        if self.kind == "images":
            return self.x.float().div_(127.5).sub_(1.0)
        return self.x if self.kind == "floats" else self.x.long()


@dataclass(frozen=True)
class Dataset:
    """A named set of samples of one shape: disjoint train and test shards, class count.

    Args:
        shape: of a sample: channels, height and width of an image, (features,) of a table.
        classes: 2 or more.
        owners: (n,) whose each training sample is, numbers or text, for ``partition=by``; None
            if that is not known.
        class_names: of class 0, 1, ...; empty if they have none.
        remarks: sentences that a user should read before training.

    Raises:
        DataError: samples or labels are not what shape and classes promise, or the parts are of
            different kinds.
        ConfigError: shape, classes or name are none.
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
        sizes: Any = self.shape
        sizes = [*map(_plain, sizes)] if isinstance(sizes, Iterable) else sizes
        check_promise(self.name, sizes, _plain(self.classes))
        object.__setattr__(self, "shape", tuple(sizes))
        object.__setattr__(self, "classes", _plain(self.classes))
        for part, shard in (("train", self.train), ("test", self.test)):
            if not isinstance(shard, Shard):
                raise DataError(
                    f"{self.name}: {part} is a {type(shard).__name__}; make it a Shard(x, y)"
                )
            if tuple(shard.x.shape) != (len(shard.y), *self.shape) or len(shard) == 0:
                raise DataError(
                    f"{self.name}: {part} holds {tuple(shard.x.shape)} samples and {len(shard)} "
                    f"labels, data.shape={list(self.shape)}; it needs one label per sample of "
                    "that shape"
                )
            low, high = int(shard.y.min()), int(shard.y.max())
            if low < 0 or high >= self.classes:
                raise DataError(
                    f"{self.name}: {part} labels run from {low} to {high}, data.classes="
                    f"{self.classes} allows 0 to {self.classes - 1}; correct data.classes"
                    + (", or number the labels from 0" if low else "")
                )
        if self.owners is not None:
            whose = f"{self.name}: owners"
            object.__setattr__(self, "owners", checked_owners(self.owners, len(self.train), whose))
        kinds = [_told(shard) for shard in (self.train, self.test)]
        if kinds[0] != kinds[1]:
            raise DataError(
                f"{self.name}: train holds {kinds[0]}, test {kinds[1]}, which are not scaled "
                "alike; give both in one type"
            )

    def extremes(self) -> Tensor | None:
        """Return the samples (2, ...) int64 with the least and the largest token; None of others.

        What a network takes of both, it takes of all: an embedding has rows for all tokens.
        """
        if self.train.kind != "tokens":
            return None
        x = torch.cat([self.train.inputs(), self.test.inputs()])
        rows = x.flatten(1)
        return x[torch.stack([rows.amin(dim=1).argmin(), rows.amax(dim=1).argmax()])]


def _plain(number: object) -> int:
    """Return NumPy's whole numbers as Python's, and anything else as it is."""
    return int(number) if isinstance(number, np.integer) else number  # type: ignore[return-value]


def _told(shard: Shard) -> str:
    dtype = str(shard.x.dtype).removeprefix("torch.")
    return shard.kind if shard.kind == "floats" else f"{shard.kind} ({dtype})"


def check_dataset(data: object) -> Dataset:
    """Return what a data set's function has made; raise DataError if it is none."""
    if not isinstance(data, Dataset):
        raise DataError(
            f"data is a {type(data).__name__}; its _target_ has to return an ifl.Dataset"
        )
    return data


def check_promise(name: str, shape: Sequence[int], classes: int, root: str = "data") -> None:
    """Raise ConfigError unless a data set may be described and kept so."""
    check_text("data.name", name)
    check_text("data.root", root)
    check_wholes("data.shape", shape, 1)
    check_whole("data.classes", classes, 2)
    if not len(shape):
        raise ConfigError("data.shape must have a size or more, got []; [1] is a single number")


def check_images(name: str, shape: Sequence[int], classes: int, root: str = "data") -> None:
    """Raise ConfigError unless a set of images may be described and kept so."""
    check_promise(name, shape, classes, root)
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
        return check_dataset(data)
    check_dataset(data)
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

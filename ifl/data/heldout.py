"""Keeps what is tested on apart from what is trained on.

A set that comes in one part, or whose test samples are all training samples too, is split by rule:
a fifth of each class is tested on, chosen by the data's name and never by the seed of a run.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from ifl.data.dataset import Dataset, Shard, stratified_split
from ifl.errors import DataError
from ifl.seeding import numpy_rng

TEST_FRACTION = 0.2
SHARED = 0.01  # of the test samples, from which on a remark says so


def split(name: str, x: Tensor, y: Tensor, shape: Sequence[int], classes: int) -> Dataset:
    """Split 80/20, stratified, by a stream of the data's name and never of the run's seed."""
    train, test = stratified_split(y.numpy(), TEST_FRACTION, numpy_rng(0, "data", name))
    return Dataset(name, Shard(x[train], y[train]), Shard(x[test], y[test]), tuple(shape), classes)


def made(
    name: str,
    train: Shard,
    test: Shard | None,
    shape: Sequence[int],
    classes: int,
    owners: np.ndarray | None = None,
    **more: tuple[str, ...],
) -> Dataset:
    """Return a data set whose test samples are not trained on.

    Args:
        test: None where the set comes in one part.
        owners: (n,) of the training samples.
        more: class_names, and remarks, to which what was done here is added.

    Raises:
        DataError: the parts are not what shape and classes promise, or too few to be split.
    """
    remarks = [*more.get("remarks", ())]
    if test is not None:
        data = Dataset(name, train, test, tuple(shape), classes, owners, **more)
        both = shared(train, test)
        if both < len(test):
            if both >= SHARED * len(test):
                remarks.append(f"{name}: {both} of {len(test)} test samples are trained on too")
            return replace(data, remarks=tuple(remarks))
        why = "all test samples are training samples too"
    else:
        why = "it comes in one part"
    data = Dataset(name, train, train, tuple(shape), classes, owners, **more)  # checks both
    kept, held = stratified_split(data.train.y.numpy(), TEST_FRACTION, numpy_rng(0, "data", name))
    if not len(held):
        raise DataError(
            f"{name}: {why}, and of {len(train)} samples a fifth of each class is none; add "
            "samples, or a part to test on"
        )
    x, y = data.train.x, data.train.y
    remarks.append(
        f"{name}: {why}, so a fifth of each class, {len(held)} of {len(train)} samples, is held "
        "out and tested on"
    )
    return replace(
        data,
        train=Shard(x[kept], y[kept]),
        test=Shard(x[held], y[held]),
        owners=None if data.owners is None else data.owners[kept],
        remarks=tuple(remarks),
    )


def shared(train: Shard, test: Shard) -> int:
    """Return how many test samples are equal to some training sample."""
    if train.x.dtype != test.x.dtype or train.x.shape[1:] != test.x.shape[1:]:
        return 0
    known = set(_digests(train.x))
    return sum(digest in known for digest in _digests(test.x))


def _digests(x: Tensor) -> list[bytes]:
    rows = np.ascontiguousarray(x.numpy()).reshape(len(x), -1)
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]

"""A part of the training data in place of the test set, to choose settings by."""

from dataclasses import replace

from ifl.data import Dataset, Shard, stratified_split
from ifl.errors import ConfigError
from ifl.seeding import numpy_rng


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
    return replace(data, name=name, train=Shard(x[kept], y[kept]), test=Shard(x[held], y[held]))

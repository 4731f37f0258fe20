"""Every number of the configuration is taken exactly where it lies in its range."""

from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import CLASSES, DIM, MOMENTUM, SMALL, TINY
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.cli.config import check_cores
from ifl.client.privacy import ClippedNoise, Privacy
from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.data.augment import Distortion
from ifl.data.dataset import hold_out
from ifl.data.partition import Classes, Dirichlet, Iid
from ifl.engines.residence import Residence
from ifl.errors import ConfigError
from ifl.federation.build import build
from ifl.federation.participation import Participation
from ifl.federation.schedule import Schedule
from ifl.methods.base import Method
from ifl.methods.centralized import Centralized
from ifl.methods.fl import FL
from ifl.methods.fsl import FSL
from ifl.methods.ifl import IFL
from ifl.methods.local import Local

BOTH = Optimizers(MOMENTUM, MOMENTUM)
TRAINED = len(TINY.train)  # 240, four classes of about 60


class Range(NamedTuple):
    """A setting: who checks it, and the range that the documentation gives."""

    take: Callable[[Any], object]
    low: float
    high: float = float("inf")
    whole: bool = True
    with_low: bool = True
    with_high: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range, said in another way than the checks say it."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            return False
        if self.whole and not isinstance(value, int):
            return False
        edges = {self.low: self.with_low, self.high: self.with_high}
        return edges.get(value, self.low < value < self.high)


def federation(count: int = 2, dim: int = DIM, method: Method = Local(), batch: int = 8) -> object:  # noqa: B008
    training = Training(BOTH, batch_size=batch)
    return build(TINY, Iid(), [SMALL], count, method, training, Float32(), dim)


def distortion(setting: str) -> Callable[[Any], object]:
    return lambda value: Distortion(**{setting: value})


def sgd(**setting: Any) -> Optimizers:
    return Optimizers(partial(torch.optim.SGD, **{"lr": 0.1, **setting}), MOMENTUM)


def held_out(fraction: float) -> None:
    try:
        hold_out(TINY, fraction)
    except ConfigError as error:
        if "splits" not in str(error):  # in its range, but too small or large for 240 samples
            raise


def deal(partition: Iid | Dirichlet | Classes, clients: int = 2) -> object:
    return partition(TINY.train.y.numpy(), clients, np.random.default_rng(0))


RANGES: Mapping[str, Range] = {
    "rounds": Range(lambda v: Schedule(v), 1),
    "eval_every": Range(lambda v: Schedule(9, eval_every=v), 1),
    "checkpoint_every": Range(lambda v: Schedule(9, checkpoint_every=v), 1),
    "stop.uplink_mb": Range(lambda v: Schedule(9, uplink_mb=v), 0, whole=False, with_low=False),
    "stop.seconds": Range(lambda v: Schedule(9, seconds=v), 0, whole=False, with_low=False),
    "stop.patience": Range(lambda v: Schedule(9, patience=v), 1),
    "stop.accuracy": Range(
        lambda v: Schedule(9, accuracy=v), 0, 1, whole=False, with_low=False, with_high=True
    ),
    "participation.fraction": Range(
        Participation, 0, 1, whole=False, with_low=False, with_high=True
    ),
    "participation.dropout": Range(lambda v: Participation(1.0, v), 0, 1, whole=False),
    "privacy.label_epsilon": Range(Privacy, 0.001, 100, whole=False, with_high=True),
    "privacy.noise": Range(
        lambda v: ClippedNoise(1, v or -1), 0.001, 1000, whole=False, with_high=True
    ),
    "privacy.delta": Range(lambda v: Privacy(delta=v), 0, 1, whole=False, with_low=False),
    "validation": Range(held_out, 0, 1, whole=False),
    "seed": Range(lambda v: Training(BOTH, 8, v), 0),
    "batch_size": Range(lambda v: Training(BOTH, v), 1),
    "optimizer.decay_rounds": Range(lambda v: Optimizers(MOMENTUM, MOMENTUM, v), 1),
    "augment.degrees": Range(distortion("degrees"), 0, 180, whole=False, with_high=True),
    "augment.shift": Range(distortion("shift"), 0, 1, whole=False, with_high=True),
    "augment.scale": Range(distortion("scale"), 0, 1, whole=False),
    "augment.shear": Range(distortion("shear"), 0, 1, whole=False, with_high=True),
    "augment.bend": Range(distortion("bend"), 0, 1, whole=False, with_high=True),
    "augment.knots": Range(distortion("knots"), 2),
    "batch_size, by the shard": Range(lambda v: federation(batch=v), 1, 120, with_high=True),
    "clients.count": Range(lambda v: federation(v, batch=1), 1, TRAINED, with_high=True),
    "fusion.dim": Range(lambda v: federation(dim=v), DIM, DIM, with_high=True),
    "runtime.workers": Range(lambda v: check_cores(v, 1), 1),
    "runtime.threads": Range(lambda v: check_cores(1, v), 1),
    "runtime.resident": Range(Residence, 1),
    "optimizer.lr": Range(lambda v: sgd(lr=v), 0, whole=False, with_low=False),
    "optimizer.momentum": Range(lambda v: sgd(momentum=v), 0, 1, whole=False),
    "partition.alpha": Range(lambda v: Dirichlet(v, min_samples=0), 0, whole=False, with_low=False),
    "partition.min_samples": Range(lambda v: Dirichlet(1.0, v), 0),
    "partition.max_redraws": Range(lambda v: Dirichlet(1.0, 1, v), 1),
    "partition.per_client": Range(lambda v: Classes(v), 1),
    "partition.per_client, of 4 classes": Range(
        lambda v: deal(Classes(v)), 2, CLASSES, with_high=True
    ),
    "method.architecture": Range(lambda v: federation(method=Centralized(1, v)), 0, 2),
    **{
        f"local.tau of {method.__name__}": Range(method, 1)
        for method in (IFL, FL, FSL, Local, Centralized)
    },
}

NEAR = 1e-9


def near(edge: float) -> st.SearchStrategy[Any]:
    """Numbers at an edge and close to it, whole and not."""
    if not isfinite(edge):
        return st.integers(2, 10**6) | st.floats(2, 1e6)
    close = st.floats(-2, 2).map(lambda x: edge + x) | st.sampled_from([edge - NEAR, edge + NEAR])
    return st.integers(int(edge) - 3, int(edge) + 3) | close | st.just(edge) | st.just(float(edge))


def wrong() -> st.SearchStrategy[Any]:
    """What is no number at all, or no finite one."""
    return st.sampled_from([nan, float("inf"), -float("inf"), True, False, "1", "", [1], {}])


@pytest.mark.parametrize("field", RANGES)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_number_is_taken_exactly_where_it_lies_in_its_range(
    field: str, data: st.DataObject
) -> None:
    range_ = RANGES[field]
    value = data.draw(near(range_.low) | near(range_.high) | wrong())
    said = None
    try:
        range_.take(value)
    except ConfigError as error:
        said = str(error)
    assert (said is None) == range_.holds(value), f"{field}={value!r}"
    assert said is None or "\n" not in said

"""Networks may keep what use makes of them in parameters and buffers, and nowhere else."""

from collections.abc import Callable

import pytest
import torch
from conftest import DIM, SHAPE, SMALL, Build
from torch import Tensor, nn

from ifl.errors import ConfigError
from ifl.federation.member import Member
from ifl.methods.ifl import IFL
from ifl.models import mlp_base


class Own(nn.Module):
    """A base block whose z are scaled by what a kind of memory makes of earlier batches."""

    seen: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind, self.steps = mlp_base(SHAPE, [], DIM), kind, 0
        self.mean = torch.zeros(())
        self.register_buffer("seen", torch.zeros(()))
        self.cache: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.layer(x)
        if self.kind == "counter":
            self.steps += self.training
            return z / (1 + self.steps)
        if self.kind == "tensor":
            self.mean = self.mean + float(x.mean()) + 1
            return z + self.mean
        if self.kind == "in training":
            self.steps += 1
            return z / (1 + self.steps) if self.training else z
        if self.kind == "buffer":
            self.seen += 1
            return z / (1 + self.seen)
        return z * self.cache.setdefault(len(x), torch.full((DIM,), 2.0))


@pytest.mark.parametrize(
    ("kind", "place"),
    {"counter": " (base.steps)", "tensor": "", "in training": " (base.steps)"}.items(),
)
def test_what_checkpoints_would_not_keep_is_refused(kind: str, place: str, tiny: Build) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny(IFL(), Member("own", lambda: Own(kind), SMALL.modular))
    assert str(caught.value) == (
        "client 0 (own): its network is changed by a batch in what is no parameter and no buffer"
        f"{place}, which checkpoints do not keep; hold it in a tensor of self.register_buffer(...)"
    )


def normed() -> nn.Module:
    return nn.Sequential(mlp_base(SHAPE, [], DIM), nn.BatchNorm1d(DIM), nn.Dropout(0.5))


def spectral() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(36, DIM)))


@pytest.mark.parametrize(
    "base",
    [lambda: Own("buffer"), lambda: Own("cache"), normed, spectral],
    ids=["buffer", "cache", "norm", "spectral"],
)
def test_buffers_caches_and_norms_are_taken(base: Callable[[], nn.Module], tiny: Build) -> None:
    tiny(IFL(tau=1), Member("own", base, SMALL.modular)).engine.round(1)

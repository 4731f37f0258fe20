import pytest
import torch
from conftest import MOMENTUM, SMALL, Build, clients, images
from torch import nn

from ifl.client.client import Client
from ifl.client.settings import Optimizers, Training
from ifl.client.steps import frozen
from ifl.errors import ConfigError
from ifl.methods.local import Local
from ifl.models import SplitModel


def client(count: int, batch_size: int) -> Client:
    training = Training(Optimizers(MOMENTUM, MOMENTUM), batch_size, seed=5)
    return Client("c", 0, SplitModel(SMALL.base(), SMALL.modular()), images(count, 3), training)


def test_an_epoch_has_every_sample_once_in_batches_of_one_size() -> None:
    me = client(count=20, batch_size=5)
    seen = torch.cat([x for x, _ in me.batches(4)]).flatten(1)
    assert sorted(seen.tolist()) == sorted(me.shard.inputs().flatten(1).tolist())
    odd = client(count=7, batch_size=3)
    assert [len(y) for _, y in odd.batches(9)] == [3] * 9


def test_batches_follow_from_seed_and_client_alone(tiny: Build) -> None:
    first, second = clients(tiny(Local(), count=2)), clients(tiny(Local(), count=2))
    second[1].batch()  # what another client draws does not matter
    assert torch.equal(first[0].batch().x, second[0].batch().x)


def test_a_frozen_block_comes_back_as_it_was() -> None:
    block = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    block[0].bias.requires_grad_(False)
    with frozen(block):
        assert not block.training
        assert not any(p.requires_grad for p in block.parameters())
    assert block.training
    assert [p.requires_grad for p in block.parameters()] == [True, False, True, True]


def test_settings_out_of_range_are_sentences() -> None:
    with pytest.raises(ConfigError, match="batch_size must not exceed the smallest shard, got 9"):
        client(count=8, batch_size=9)
    with pytest.raises(ConfigError, match="optimizer.base refuses its settings"):
        Optimizers(lambda p: torch.optim.SGD(p, lr=-1), MOMENTUM)
    with pytest.raises(ConfigError, match="seed must be a whole number >= 0, got x"):
        Training(Optimizers(MOMENTUM, MOMENTUM), 1, seed="x")  # type: ignore[arg-type]

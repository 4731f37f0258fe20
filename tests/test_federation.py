import pytest
import torch
from conftest import SMALL, TINY, WIDE, Build, clients
from torch import nn

from ifl.client import Client
from ifl.errors import ConfigError, DivergenceError
from ifl.federation import Member
from ifl.methods.ifl import IFL
from ifl.methods.local import Local


def _first(client: Client) -> torch.Tensor:
    return next(client.model.parameters())


def test_clients_cycle_through_the_members(tiny: Build) -> None:
    names = [me.name for me in clients(tiny(IFL(), SMALL, WIDE, count=5))]
    assert names == [
        "client 0 (small)",
        "client 1 (wide)",
        "client 2 (small)",
        "client 3 (wide)",
        "client 4 (small)",
    ]


def test_shards_are_disjoint_and_exhaustive(tiny: Build) -> None:
    federation = tiny(IFL(), count=3)
    dealt = torch.cat([me.shard.x.flatten(1) for me in clients(federation)])
    assert sorted(dealt.tolist()) == sorted(TINY.train.x.flatten(1).tolist())
    assert federation.class_table().sum(axis=0).tolist() == TINY.train.y.bincount().tolist()


def test_another_seed_deals_and_starts_differently(tiny: Build) -> None:
    first, second = (clients(tiny(IFL(), seed=seed))[0] for seed in (0, 1))
    assert not torch.equal(first.shard.x, second.shard.x)
    assert not torch.equal(_first(first), _first(second))


def test_a_broken_member_is_refused_before_training(tiny: Build) -> None:
    wrong = Member("wrong", SMALL.base, lambda: nn.Linear(3, 4))
    with pytest.raises(ConfigError, match=r"client 1 \(wrong\): its modular block does not take"):
        tiny(IFL(), SMALL, wrong)
    with pytest.raises(ConfigError, match="clients.count must be a whole number >= 1, got 0"):
        tiny(IFL(), count=0)


def test_dropout_follows_the_clients_own_stream(tiny: Build) -> None:
    noisy = Member("noisy", lambda: nn.Sequential(SMALL.base(), nn.Dropout(0.5)), SMALL.modular)
    alone = tiny(Local(), noisy, count=2)
    disturbed = tiny(Local(), noisy, count=2)
    alone.engine.round(1)
    torch.rand(100)  # somebody else uses torch's global generator
    disturbed.engine.round(1)
    for a, b in zip(clients(alone), clients(disturbed), strict=True):
        assert torch.equal(_first(a), _first(b))


def test_divergence_names_party_round_and_step(tiny: Build) -> None:
    federation = tiny(Local(tau=4), SMALL, WIDE)
    federation.engine.round(1)
    with torch.no_grad():
        next(iter(clients(federation)[1].model.parameters())).fill_(float("nan"))
    with pytest.raises(
        DivergenceError, match=r"client 1 \(wide\) is nan in round 2, step 1; lower"
    ):
        federation.engine.round(2)

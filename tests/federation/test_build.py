import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from conftest import DIM, MOMENTUM, PLAIN, SMALL, TINY, WIDE, Build, clients
from torch import nn

from ifl.client.client import Client
from ifl.client.privacy import Privacy
from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.data.partition import Iid
from ifl.errors import ConfigError, DivergenceError
from ifl.federation.build import build
from ifl.federation.member import Member
from ifl.methods.base import Method, Server
from ifl.methods.centralized import Centralized
from ifl.methods.cse_fsl import CSEFSL
from ifl.methods.fedgh import FedGH
from ifl.methods.fedlite import FedLite
from ifl.methods.fedtgp import FedTGP
from ifl.methods.fl import FL
from ifl.methods.fsl import FSL, FSLServer
from ifl.methods.fsl_sage import FSLSAGE
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


@dataclass(frozen=True)
class Noting(IFL):
    """IFL that notes by what training it is opened."""

    told: list[Training] = field(default_factory=list)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        self.told.append(training)
        return super().open(clients, training)


def test_all_parties_have_the_training_that_was_given_and_hide_what_was_asked() -> None:
    training, method = Training(Optimizers(PLAIN, PLAIN), batch_size=8, seed=3), Noting()
    hidden = Privacy(clip=2)
    made = build(TINY, Iid(), [SMALL], 2, method, training, Float32(), DIM, privacy=hidden)
    assert made.engine.training is training
    assert [id(told) for told in method.told] == [id(training)]
    assert made.disclosure.z
    assert made.disclosure.z.clip == 2
    for me in clients(made):
        assert me.training is training
        assert me.disclosure is made.disclosure


@pytest.mark.parametrize(
    "method",
    [FSL(), FSL(server="per_client"), CSEFSL(), FedGH(), FedLite(), FSLSAGE(), FedTGP()],
)
def test_what_a_server_trains_it_trains_as_was_agreed(method: Method, tiny: Build) -> None:
    parties = clients(tiny(method, optimizer=MOMENTUM))
    other = Optimizers(MOMENTUM, partial(torch.optim.SGD, lr=0.25))
    server = method.open(parties, Training(other, batch_size=8))
    rates = [group["lr"] for own in server.optimizers() for group in own.param_groups]
    assert set(rates) == {0.25}


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


class Pooled(nn.Module):
    """Diverges on more rows than a client's own batch has: in stage 2."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.block(z)
        return logits * float("inf") if len(z) == 16 and self.training else logits


@pytest.mark.parametrize("method", [IFL(), Local(), FL(), FSL(), FSL(server="per_client")])
def test_divergence_names_method_round_party_step_and_the_last_finite_loss(
    method: Method, tiny: Build
) -> None:
    federation = tiny(method, SMALL)
    federation.engine.round(1)
    learner: nn.Module = clients(federation)[1].model
    name = r"client 1 \(small\)"
    if isinstance(federation.engine.server, FSLServer):
        (owner, learner) = list(federation.engine.server.modulars.items())[-1]
        name = f"client {owner}"
    with torch.no_grad():
        next(learner.parameters()).fill_(float("nan"))
    with pytest.raises(DivergenceError) as error:
        federation.engine.round(2)
    assert re.fullmatch(
        rf"{type(method).__name__} in round 2: the training loss of {name} is nan in step 1, "
        r"the last finite loss was \d\.\d+; "
        "lower optimizer.lr, or choose another optimizer",
        str(error.value),
    )


def test_centralized_divergence_is_the_servers(tiny: Build) -> None:
    federation = tiny(Centralized(), optimizer=partial(torch.optim.SGD, lr=1e30))
    with pytest.raises(
        DivergenceError,
        match=r"Centralized in round 1: the training loss of the server is (nan|inf) in step \d+, "
        r"the last finite loss was",
    ):
        federation.engine.round(1)


def test_stage_2_of_ifl_is_watched_too(tiny: Build) -> None:
    pooled = Member("pooled", SMALL.base, lambda: Pooled(SMALL.modular()))
    with pytest.raises(DivergenceError, match="in round 1: .* client 0 .* is nan in step 4, the"):
        tiny(IFL(tau=3), pooled).engine.round(1)


def test_a_first_loss_that_is_not_finite_has_none_before_it(tiny: Build) -> None:
    broken = Member("broken", SMALL.base, lambda: nn.Sequential(SMALL.modular(), nn.LogSigmoid()))
    federation = tiny(Local(), broken)
    with torch.no_grad():
        _first(clients(federation)[0]).fill_(float("nan"))
    with pytest.raises(DivergenceError, match="is nan in step 1, its first since"):
        federation.engine.round(1)

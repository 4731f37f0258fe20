from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from closed_forms import header, packed, totals
from conftest import (
    CLASSES,
    DIM,
    PLAIN,
    SMALL,
    TINY,
    WIDE,
    Build,
    clients,
    equal,
    member,
    parameters,
    play,
)
from torch import nn
from torch.nn.functional import cross_entropy

from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.comm.message import Message
from ifl.data.partition import Classes
from ifl.errors import ConfigError, DivergenceError, MessageError
from ifl.federation.build import Federation, build
from ifl.methods.fedgh import FedGH, FedGHServer
from ifl.seeding import derive

WIDE_BASE = member("wide base", [12], [])  # SMALL's modular block behind another base block


def two_classes_each(method: FedGH = FedGH(tau=2), batch_size: int = 8) -> Federation:  # noqa: B008
    training = Training(Optimizers(PLAIN, PLAIN), batch_size=batch_size)
    return build(TINY, Classes(2), [SMALL, WIDE_BASE], 3, method, training, Float32(), DIM)


def descend(loss: torch.Tensor, module: nn.Module) -> None:
    weights = list(module.parameters())
    grads = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        for weight, grad in zip(weights, grads, strict=True):
            weight.sub_(0.05 * grad)


@pytest.mark.parametrize("settings", [{}, {"epochs": 3}, {"epochs": 2, "batch_size": 4}])
def test_it_is_the_papers_algorithm_written_out(settings: dict[str, Any]) -> None:
    federation = two_classes_each(FedGH(tau=2, **settings))
    twins = clients(two_classes_each())
    common, size = deepcopy(twins[0].model.modular), settings.get("batch_size")
    for number in range(1, 4):
        means = []
        for me in twins:
            for _ in range(2):
                x, y = me.batch()
                descend(cross_entropy(me.model(x), y), me.model)
            with torch.no_grad():
                for c in range(CLASSES):
                    mine = me.model.base(me.shard.inputs()[me.shard.y == c])
                    if len(mine):
                        means.append((mine.mean(dim=0), torch.tensor(c)))
        assert len(means) == 6
        draws = torch.Generator().manual_seed(derive(0, "server", "modules", number, 0))
        for _ in range(settings.get("epochs", 1)):
            if size is None:
                for z, label in means:
                    descend(cross_entropy(common(z), label), common)
                continue
            order = torch.randperm(6, generator=draws).tolist()
            for part in (order[:size], order[size:]):
                z, y = (torch.stack(rows) for rows in zip(*(means[i] for i in part), strict=True))
                descend(cross_entropy(common(z), y), common)
        for me in twins:
            me.model.modular.load_state_dict(common.state_dict())
    play(federation, 3)
    server = federation.engine.server
    assert isinstance(server, FedGHServer)
    pairs = [(server.newest.module, common)]
    pairs += [(a.model, b.model) for a, b in zip(clients(federation), twins, strict=True)]
    for ours, theirs in pairs:
        for p, q in zip(parameters(ours), parameters(theirs), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_clients_end_a_round_with_the_servers_block_and_base_blocks_of_their_own(
    tiny: Build,
) -> None:
    federation = tiny(FedGH(), SMALL, count=3)
    start = parameters(clients(federation)[0].model.modular)
    play(federation, 2)
    bases, modulars = federation.engine.method.blocks(clients(federation), federation.engine.server)
    common = parameters(modulars["server"])
    assert not equal(common, start)
    assert list(bases) == ["0", "1", "2"]
    for me in clients(federation):
        assert equal(parameters(me.model.modular), common)
    first, second, _ = clients(federation)
    assert not equal(parameters(first.model.base), parameters(second.model.base))


def test_bytes_are_the_closed_form_and_know_no_batch_size() -> None:
    federation = two_classes_each()
    modular, n = clients(federation)[0].model.modular, 3
    size = 4 * sum(p.numel() for p in modular.parameters())
    up = n * (2 * (4 * DIM + 1) + header(z=("F32", [2, DIM], 4), y=("U8", [2], 1)))
    expected = [(up, n * (size + header(**packed(modular))))] * 2
    assert totals(federation, 2) == expected
    assert totals(two_classes_each(batch_size=32), 2) == expected
    assert totals(two_classes_each(FedGH(tau=2, epochs=3)), 2) == expected


def test_who_was_away_gets_the_newest_block_before_its_first_step(tiny: Build) -> None:
    federation = tiny(FedGH(tau=1), count=2)
    engine, everyone = federation.engine, clients(federation)
    engine.clients = everyone[1:]
    play(federation, 2)
    lacking = engine.server.welcome([0, 1])
    assert list(lacking) == [0]
    engine.server.load_state(engine.server.state(), everyone)
    talk = engine.method.client_round(everyone[0], 3, lacking[0])
    twin = clients(tiny(FedGH(tau=1), count=2))[0]
    twin.model.modular.load_state_dict(everyone[1].model.modular.state_dict())
    x, y = twin.batch()
    twin.step(x, y)
    next(talk)
    assert equal(parameters(everyone[0].model), parameters(twin.model))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"z": torch.zeros(2, DIM), "y": torch.arange(2)}, r"shape \(2, 8\), expected \(4, 8\)"),
        ({"y": torch.arange(3)}, r"y has the shape \(3,\), expected \(4,\)"),
        ({"z": torch.full((4, DIM), float("inf"))}, "z is not finite"),
    ],
)
def test_wrong_means_are_refused(change: dict[str, torch.Tensor], reason: str, tiny: Build) -> None:
    engine = tiny(FedGH()).engine
    upload = {"z": torch.zeros(4, DIM), "y": torch.arange(4), **change}
    _, refused = engine.channel.up({0: Message(**upload)}, {0: engine.server.expects(0)[0]})
    with pytest.raises(MessageError, match=reason):
        raise refused[0]


def test_different_modular_blocks_are_refused_with_a_way_out(tiny: Build) -> None:
    with pytest.raises(ConfigError, match="fedgh shares the modular block .* clients=paper_one"):
        tiny(FedGH(), SMALL, WIDE)


@pytest.mark.parametrize("size", [None, 3])
def test_a_server_that_diverges_is_told(size: int | None, tiny: Build) -> None:
    method = FedGH(epochs=2, batch_size=size)
    engine = tiny(method, optimizer=partial(torch.optim.SGD, lr=1e-3)).engine
    (optimizer,) = engine.server.optimizers()
    optimizer.param_groups[0]["lr"] = float("inf")
    told = f"the training loss of {'the server' if size else 'client 0'} is nan in step 2"
    with pytest.raises(DivergenceError, match=told):
        engine.round(1)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"epochs": True}, {"batch_size": 0}])
def test_epochs_and_batches_are_whole_numbers(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"method.{name} must be a whole number >= 1, got"):
        FedGH(**wrong)

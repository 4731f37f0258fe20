import pytest
import torch
from closed_forms import header, packed, totals
from conftest import PLAIN, SMALL, WIDE, Build, clients, equal, member, parameters, play
from torch.nn.functional import cross_entropy

from ifl.data.dataset import Shard
from ifl.errors import ConfigError
from ifl.federation.evaluation import Compositions
from ifl.methods.fl import FL
from ifl.methods.lg_fedavg import LGFedAvg
from ifl.methods.local import Local

WIDE_BASE = member("wide base", [12], [])  # SMALL's modular block behind another base block


def test_it_is_the_papers_loop_written_out(tiny: Build) -> None:
    federation = tiny(LGFedAvg(tau=2), SMALL, WIDE_BASE, optimizer=PLAIN)
    twins = clients(tiny(LGFedAvg(), SMALL, WIDE_BASE))
    for everyone in (clients(federation), twins):
        everyone[1].shard = Shard(everyone[1].shard.x[:40], everyone[1].shard.y[:40])
    for _ in range(3):
        for me in twins:
            for x, y in me.batches(2):
                weights = list(me.model.parameters())
                grads = torch.autograd.grad(cross_entropy(me.model(x), y), weights)
                with torch.no_grad():
                    for weight, grad in zip(weights, grads, strict=True):
                        weight.sub_(0.05 * grad)
        with torch.no_grad():
            for pair in zip(*(me.model.modular.parameters() for me in twins), strict=True):
                mean = 0.75 * pair[0] + 0.25 * pair[1]  # 120 and 40 samples
                for weight in pair:
                    weight.copy_(mean)
    play(federation, 3)
    for ours, theirs in zip(clients(federation), twins, strict=True):
        for p, q in zip(parameters(ours.model), parameters(theirs.model), strict=True):
            assert torch.allclose(p, q, atol=1e-6)


def test_base_blocks_are_never_averaged_and_modular_blocks_always(tiny: Build) -> None:
    federation = tiny(LGFedAvg(tau=3), SMALL, count=3)
    play(federation, 2)
    first, *others = clients(federation)
    for me in others:
        assert equal(parameters(me.model.modular), parameters(first.model.modular))
        assert not equal(parameters(me.model.base), parameters(first.model.base))
    bases, modulars = federation.engine.method.blocks(clients(federation), federation.engine.server)
    assert list(bases) == ["0", "1", "2"]
    assert list(modulars) == ["server"]
    assert equal(parameters(modulars["server"]), parameters(first.model.modular))


def test_one_client_alone_learns_as_without_a_federation(tiny: Build) -> None:
    federation, alone = tiny(LGFedAvg(), WIDE, count=1), tiny(Local(), WIDE, count=1)
    play(federation, 3)
    play(alone, 3)
    assert equal(*(parameters(clients(f)[0].model) for f in (federation, alone)))


def test_bytes_are_the_closed_form_and_those_of_fl_without_the_base_blocks(tiny: Build) -> None:
    n, federation = 3, tiny(LGFedAvg(), WIDE, count=3)
    modular = clients(federation)[0].model.modular
    size = 4 * sum(p.numel() for p in modular.parameters())
    up = n * (size + 8 + header(samples=("I64", [], 8), **packed(modular)))
    assert totals(federation, 2) == [(up, n * (size + header(**packed(modular))))] * 2
    whole = tiny(FL(), WIDE, count=3)
    base = 4 * sum(p.numel() for p in clients(whole)[0].model.base.parameters())
    params = [
        sum(row[3] for rows in play(f, 1) for row in rows if row[2] == "params")
        for f in (federation, whole)
    ]
    assert params[1] - params[0] == 2 * n * base


def test_different_modular_blocks_are_refused_with_a_way_out(tiny: Build) -> None:
    way_out = r"client 1 \(wide\) differs from client 0 \(small\); use clients=paper_one_head, "
    with pytest.raises(ConfigError, match=f"lg_fedavg shares the modular block .*{way_out}"):
        tiny(LGFedAvg(), SMALL, WIDE)


def test_a_shared_modular_block_makes_every_composition_local(tiny: Build) -> None:
    federation = tiny(LGFedAvg(), SMALL, WIDE_BASE, count=2)
    play(federation, 1)
    me = clients(federation)[0]
    found = federation.engine.evaluate(me.shard.inputs(), me.shard.y)
    assert isinstance(found, Compositions)
    assert set(found.accuracy) == {("0", "server"), ("1", "server")}
    assert found.cross is None
    assert found.sd is None

import pytest
import torch
from conftest import CLASSES, DIM, SMALL, TINY, WIDE, Build, clients, play
from torch import nn

from ifl.federation.evaluation import Compositions, compose
from ifl.methods.ifl import IFL


def test_the_matrix_equals_running_every_composition_on_its_own(tiny: Build) -> None:
    federation = tiny(IFL(), SMALL, WIDE, count=3)
    play(federation, 3)
    x, y = TINY.test.inputs(), TINY.test.y
    found = compose(
        *federation.engine.method.blocks(clients(federation), federation.engine.server), x, y
    )
    assert len(found.accuracy) == 9
    for base in clients(federation):
        for modular in clients(federation):
            logits = modular.model.modular(base.model.base(x))
            expected = (logits.argmax(dim=1) == y).float().mean().item()
            pair = (str(base.number), str(modular.number))
            assert found.accuracy[pair] == pytest.approx(expected, abs=1e-6)


def test_local_cross_mean_and_sd_by_hand() -> None:
    matrix = Compositions({("0", "0"): 0.9, ("0", "1"): 0.7, ("1", "0"): 0.5, ("1", "1"): 0.8})
    assert matrix.mean == pytest.approx(0.725)
    assert matrix.local == pytest.approx(0.85)
    assert matrix.cross == pytest.approx(0.6)
    assert matrix.sd == pytest.approx((10 + 15) / 2)  # |0.9 - 0.7| / 2 and |0.5 - 0.8| / 2 points


def test_what_does_not_exist_is_none() -> None:
    alone = Compositions({("server", "server"): 0.5})
    assert (alone.mean, alone.local, alone.cross, alone.sd) == (0.5, 0.5, None, None)
    split = Compositions({("0", "server"): 0.5, ("1", "server"): 0.7})
    assert split.local == pytest.approx(0.6)
    assert (split.cross, split.sd) == (None, None)


def test_evaluation_runs_each_base_block_once_and_changes_nothing() -> None:
    calls = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(36)
            self.fit = nn.Linear(36, DIM)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return self.fit(self.norm(x.flatten(1)))  # type: ignore[no-any-return]

    base = Counting()
    before = base.norm.running_mean.clone()  # type: ignore[union-attr]
    modulars = {str(i): nn.Linear(DIM, CLASSES) for i in range(4)}
    compose({"0": base}, modulars, TINY.test.inputs(), TINY.test.y)
    assert calls == [80]
    assert base.training
    assert torch.equal(base.norm.running_mean, before)  # type: ignore[arg-type]

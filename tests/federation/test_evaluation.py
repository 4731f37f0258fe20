from pathlib import Path

import pytest
import torch
from conftest import CLASSES, DIM, SMALL, TINY, WIDE, Build, clients, composed, play
from torch import nn

from ifl.cli.config import plain
from ifl.cli.console import summary
from ifl.federation.build import Federation
from ifl.federation.evaluation import Compositions, Evaluation, compose
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.ifl import IFL
from ifl.runs.folder import RunFolder, read_rounds


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


def accuracies(federation: Federation, number: int = 1) -> Compositions:
    return federation.engine.evaluate(TINY.test.inputs(), TINY.test.y, number)


def test_a_sample_of_blocks_is_drawn_by_seed_and_round(tiny: Build) -> None:
    whole = accuracies(tiny(IFL(), SMALL, WIDE, count=6))
    assert whole.of is None
    some = Evaluation(bases=3, modulars=2)
    first, again = (tiny(IFL(), SMALL, WIDE, count=6, evaluation=some) for _ in range(2))
    drawn = [accuracies(first, number) for number in range(1, 6)]
    assert [*map(accuracies, [again] * 5, range(1, 6))] == drawn
    assert {len(sample.accuracy) for sample in drawn} == {6}
    assert {sample.of for sample in drawn} == {36}
    assert len({tuple(sample.accuracy) for sample in drawn}) > 1
    for sample in drawn:
        assert all(whole.accuracy[pair] == value for pair, value in sample.accuracy.items())
    other = tiny(IFL(), SMALL, WIDE, count=6, evaluation=some, seed=1)
    assert [[*accuracies(other, n).accuracy] for n in range(1, 6)] != [[*s.accuracy] for s in drawn]


def test_only_local_compositions(tiny: Build) -> None:
    whole = accuracies(tiny(IFL(), count=3))
    local = accuracies(tiny(IFL(), count=3, evaluation=Evaluation(local_only=True)))
    assert [*local.accuracy] == [("0", "0"), ("1", "1"), ("2", "2")]
    assert (local.mean, local.cross, local.sd) == (whole.local, None, None)


def test_the_standard_error_covers_the_mean_of_all(tiny: Build) -> None:
    draws = torch.Generator().manual_seed(0)
    rows, columns = (torch.randn(40, generator=draws) / 20 for _ in range(2))
    table = 0.8 + rows[:, None] + columns
    mean, covered = float(table.mean()), 0
    for _ in range(200):
        k, i = (torch.randperm(40, generator=draws)[:6].tolist() for _ in range(2))
        sample = Compositions({(str(a), str(b)): float(table[a, b]) for a in k for b in i})
        assert sample.standard_error is not None
        covered += abs(sample.mean - mean) < 2 * sample.standard_error
    assert 180 <= covered <= 198  # 6 of 40 each: nearly independent
    assert Compositions({("0", "0"): 0.5, ("0", "1"): 0.6}).standard_error is None


def test_no_evaluation_but_the_last_is_made_where_that_is_asked_for(
    tiny: Build, tmp_path: Path
) -> None:
    some = Evaluation(bases=2, modulars=2)
    with RunFolder(tmp_path) as folder:
        about = run(tiny(IFL(), count=3, evaluation=some), folder, {}, Schedule(4, eval_every=None))
    assert [row.accuracy_mean is None for row in read_rounds(tmp_path)] == [True] * 3 + [False]
    assert about["result"]["compositions"] == 4
    assert about["result"]["compositions_in_all"] == 9
    assert 0 <= about["result"]["standard_error"] < 1
    outcome = {**about, "folder": "f", "data": "tiny", "seed": 0, "choices": {"method": "ifl"}}
    outcome["config"] = plain(composed())
    assert "Sampled: 4 of 9 compositions, mean " in summary([outcome])

"""What a method gains over clients that train alone on the same images for as many steps."""

import json
from pathlib import Path

import pandas as pd
import pytest
from written_runs import T2, command, write_run

from ifl.analysis.alone import CROSS, GAIN_MEAN, GAIN_OWN, gain
from ifl.analysis.collect import Group, group_runs, load_runs
from ifl.analysis.studies.base import outcome
from ifl.analysis.studies.general import summarise

OWN = 0.75  # own-block accuracy of every run that write_run writes


def grouped(root: Path) -> list[Group]:
    return group_runs(load_runs(root)[0])


def gained(root: Path, *overrides: str) -> str | None:
    """Return what IFL of 10 rounds with tau = 10 gains over what these make of a run alone."""
    write_run(root / "ifl", "method=ifl", accuracy={10: 0.8})
    write_run(root / "local", "method=local", *overrides, accuracy={10: 0.3})
    groups = grouped(root)
    (ifl,) = [group for group in groups if group.method.choice == "ifl"]
    found = gain(ifl, groups)
    return None if found is None else f"{found.mean}; {found.own}; {found.other}"


def test_a_gain_is_over_own_blocks_alone_seed_by_seed(tmp_path: Path) -> None:
    for seed, end in enumerate((0.80, 0.81, 0.85)):
        write_run(tmp_path / f"ifl{seed}", f"seed={seed}", accuracy={10: end})
        write_run(tmp_path / f"local{seed}", "method=local", f"seed={seed}", accuracy={10: 0.3})
    groups = grouped(tmp_path)
    found = gain(groups[0], groups)
    assert found is not None
    half = T2 * pd.Series([5, 6, 10]).sem()
    assert found.mean.mean == pytest.approx(100 * (0.82 - OWN))
    assert found.mean.half == pytest.approx(half)
    assert (found.own.mean, found.own.half, found.other) == (0, 0, "")
    assert gain(groups[1], groups) is None  # alone, over itself


@pytest.mark.parametrize(
    "other",
    [
        "augment=elastic",
        "clients=mlp_homogeneous",
        "partition=dirichlet",
        "batch_size=16",
        "local.tau=20",
        "optimizer.decay_rounds=10",
        "seed=1",
        "validation=0.2",
        "anchors=held_out",
    ],
)
def test_another_recipe_is_no_comparison(tmp_path: Path, other: str) -> None:
    assert gained(tmp_path, other) is None


def test_rounds_and_tau_may_differ_where_steps_and_falling_rates_are_equal(tmp_path: Path) -> None:
    write_run(
        tmp_path / "ifl", "local.tau=20", "optimizer.decay_rounds=5", accuracy={5: 0.8}
    )  # 100 steps, all of falling rates
    write_run(tmp_path / "a", "method=local", "optimizer.decay_rounds=10", accuracy={10: 0.3})
    write_run(tmp_path / "b", "method=local", "optimizer.decay_rounds=5", accuracy={10: 0.3})
    groups = grouped(tmp_path)
    found = gain(next(group for group in groups if group.method.choice == "ifl"), groups)
    assert found is not None
    assert (str(found.mean), found.other) == ("5.0", "")
    assert gain(groups[0], [group for group in groups if group.name.endswith("=5")]) is None


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("optimizer.lr=0.5", "momentum 0.5, d = 432"),
        ("fusion.dim=108", "momentum 0.01, d = 108"),
        ("eval_every=5", ""),
        ("codec=int8", ""),
    ],
)
def test_another_optimiser_or_d_is_named(tmp_path: Path, other: str, told: str) -> None:
    mark = " ‡" if told else ""
    assert gained(tmp_path, other) == f"5.0{mark}; 0.0{mark}; {told}"


def test_an_optimiser_without_a_rate_is_named_too(tmp_path: Path) -> None:
    write_run(tmp_path / "ifl", accuracy={10: 0.8})
    path = write_run(tmp_path / "local", "method=local", accuracy={10: 0.3})
    about = json.loads((path / "run.json").read_text())
    about["choices"]["optimizer"] = "mine"
    about["config"]["optimizer"] = {
        "base": {"_target_": "mine.O"},
        "modular": {"_target_": "mine.O"},
    }
    (path / "run.json").write_text(json.dumps(about))
    notes = summarise(grouped(tmp_path)).notes
    assert "the best there is: mine, d = 432" in notes


def test_of_others_the_best_is_taken_unless_one_has_the_same_optimiser(tmp_path: Path) -> None:
    write_run(tmp_path / "best", "method=local", "optimizer.lr=0.5", accuracy={10: 0.3})
    rounds = tmp_path / "best" / "rounds.csv"
    rounds.write_text(rounds.read_text().replace("0.75", "0.78"))
    assert gained(tmp_path, "optimizer.lr=0.2") == "2.0 ‡; -3.0 ‡; momentum 0.5, d = 432"
    write_run(tmp_path / "same", "method=local", accuracy={10: 0.3})
    groups = grouped(tmp_path)
    found = gain(next(group for group in groups if group.method.choice == "ifl"), groups)
    assert found is not None
    assert (str(found.mean), found.other) == ("5.0", "")


def test_tables_have_the_columns_where_there_is_something_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "ifl", accuracy={10: 0.8})
    write_run(tmp_path / "fsl", "method=fsl", "batch_size=16", accuracy={10: 0.7})
    alone = {GAIN_MEAN, GAIN_OWN, CROSS}
    for table in (outcome(grouped(tmp_path)), summarise(grouped(tmp_path))):
        assert not alone & {*table.head}
    write_run(tmp_path / "local", "method=local", "optimizer.lr=0.5", accuracy={10: 0.3})
    for table in (outcome(grouped(tmp_path)), summarise(grouped(tmp_path))):
        at = table.head.index(GAIN_MEAN)
        assert [str(row[at]) for row in table.rows] == ["-", "5.0 ‡", "-"]
        assert "‡ Alone with another optimiser or d, the best there is: momentum 0.5" in table.notes
        assert CROSS not in table.head
    assert command(monkeypatch, tmp_path) == 0
    assert GAIN_OWN in capsys.readouterr().out
    written = pd.read_csv(tmp_path / "plots" / "results.csv").set_index("label")
    assert written["gain_mean"].dropna().round(6).tolist() == [0.05]


def test_cross_less_local_is_a_column_where_blocks_of_several_clients_meet(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    text = (tmp_path / "run" / "rounds.csv").read_text()
    (tmp_path / "run" / "rounds.csv").write_text(text.replace(",0.75,,", ",0.75,0.71,"))
    table = outcome(grouped(tmp_path))
    assert str(table.rows[0][table.head.index(CROSS)]) == "-4.0"

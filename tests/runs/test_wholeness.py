"""Tables that were cut or edited after a run ended are recognised, whatever was done to them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Build
from written_runs import write_run

from ifl.analysis.collect import group_runs, load_runs
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.ifl import IFL
from ifl.runs.folder import TABLES, RunFolder, read_about
from ifl.runs.wholeness import spoilt

UP = "uplink_bytes"


@pytest.fixture
def finished(tiny: Build, tmp_path: Path) -> Path:
    with RunFolder(tmp_path / "run") as folder:
        run(tiny(IFL()), folder, {}, Schedule(4, eval_every=2))
    return tmp_path / "run"


def why(path: Path, before_digests: bool = False) -> str | None:
    about = read_about(path)
    assert about is not None
    assert {*about["tables"]} == {*TABLES, "partition", "classes"}
    if before_digests:
        del about["tables"]
    return spoilt(path, about)


def without_last(text: str) -> str:
    return "\n".join(text.splitlines()[:-1]) + "\n"


def swapped(text: str) -> str:
    head, first, second, *rest = text.splitlines()
    return "\n".join([head, second, first, *rest]) + "\n"


def edited(text: str) -> str:
    head, *rows, last = text.splitlines()
    cells = last.split(",")
    cells[head.split(",").index("accuracy_mean")] = "0.99"
    return "\n".join([head, *rows, ",".join(cells)]) + "\n"


Edit = Callable[[str], str]
EDITS: list[tuple[str, Edit, str, str]] = [
    ("rounds", without_last, "rounds.csv ends with round 3, run.json says 4", "ends with round 3"),
    ("rounds", lambda t: t + t.splitlines()[-1] + "\n", "1 to 4, each once", "1 to 4, each once"),
    ("rounds", swapped, "each once and in order", "each once and in order"),
    ("rounds", edited, "rounds.csv is not as the run wrote it", "accuracy_mean 0.99, run.json"),
    ("rounds", lambda t: "", "rounds.csv ends with round 0", "rounds.csv ends with round 0"),
    ("rounds", lambda t: t.replace("round,", "lap,"), "a table is missing or", "damaged ('round')"),
    ("compositions", without_last, "compositions.csv is not as", "compositions have"),
    ("compositions", lambda t: t.splitlines()[0] + "\n", "is not as", "compositions are not there"),
    ("traffic", without_last, "traffic.csv is not as the run wrote it", "in round 4, traffic.csv"),
]


@pytest.mark.parametrize("before_digests", [False, True])
@pytest.mark.parametrize(("name", "edit", "told", "told_before"), EDITS)
def test_what_was_done_to_a_table_is_said(
    finished: Path, name: str, edit: Edit, told: str, told_before: str, before_digests: bool
) -> None:
    assert why(finished, before_digests) is None
    path = finished / f"{name}.csv"
    path.write_text(edit(path.read_text()))
    assert (told_before if before_digests else told) in str(why(finished, before_digests))


@pytest.mark.parametrize("before_digests", [False, True])
@pytest.mark.parametrize(
    ("part", "key"), [("result", "accuracy_mean"), ("result", "accuracy_cross"), ("totals", UP)]
)
def test_a_result_that_was_edited_in_run_json_is_said(
    finished: Path, part: str, key: str, before_digests: bool
) -> None:
    path = finished / "run.json"
    about = json.loads(path.read_text())
    about[part][key] = 2
    path.write_text(json.dumps(about))
    said = why(finished, before_digests)
    assert said is not None
    assert said.startswith(f"rounds.csv ends with {key} ")
    assert said.endswith(", run.json says 2")


def test_a_table_that_is_gone_or_another_runs_is_said(finished: Path) -> None:
    (finished / "partition.csv").unlink()
    assert why(finished) == "partition.csv is missing"


def test_the_ends_of_lines_a_mark_and_the_seconds_do_not_count(finished: Path) -> None:
    path = finished / "rounds.csv"
    head, *rows = path.read_text().splitlines()
    slower = "\r\n".join([head, *(f"{row.rpartition(',')[0]},9.9" for row in rows)]) + "\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + slower.encode())
    assert why(finished) is None
    assert why(finished, before_digests=True) is None


def test_a_cut_run_is_left_out_of_figures_with_a_note(tmp_path: Path) -> None:
    totals = {"rounds": 10, "uplink_bytes": 10_000_000, "downlink_bytes": 40_000_000}
    for seed in (0, 1):
        traffic = {("up", "z"): 1_000_000, ("down", "z"): 4_000_000}
        write_run(tmp_path / str(seed), f"seed={seed}", traffic=traffic, totals=totals)
    assert len(load_runs(tmp_path)[0]) == 2
    path = tmp_path / "1" / "rounds.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:6]) + "\n")
    runs, notes = load_runs(tmp_path)
    assert [run.seed for run in runs] == [0]
    assert notes == [f"{tmp_path / '1'} left out: rounds.csv ends with round 5, run.json says 10"]


def test_other_data_under_one_name_is_never_averaged(tmp_path: Path) -> None:
    for number, (seed, digest) in enumerate([(0, "aaaaaaaa"), (1, "aaaaaaaa"), (1, "bbbbbbbb")]):
        write_run(tmp_path / str(number), f"seed={seed}", data_digest=digest)
    write_run(tmp_path / "of before", "seed=2")
    write_run(tmp_path / "other method", "method=fsl", data_digest="bbbbbbbb")
    runs, notes = load_runs(tmp_path)
    (note,) = notes
    assert note.startswith("Digits is several data sets, told apart by their digests and never")
    assert note.endswith(": aaaaaa, bbbbbb")
    groups = [(run.data, run.method.choice, run.seed) for run in runs]
    assert sorted(groups) == [
        ("Digits", "ifl", 2),
        ("Digits (aaaaaa)", "ifl", 0),
        ("Digits (aaaaaa)", "ifl", 1),
        ("Digits (bbbbbb)", "fsl", 0),
        ("Digits (bbbbbb)", "ifl", 1),
    ]
    sizes = sorted(len(group.runs) for group in group_runs(runs))
    assert sizes == [1, 1, 1, 2]


def test_samples_that_are_taken_away_by_the_seed_make_no_other_data(tmp_path: Path) -> None:
    held = "anchors=held_out"
    for seed, digest in ((0, "aaaaaaaa"), (1, "bbbbbbbb")):
        write_run(tmp_path / str(seed), f"seed={seed}", held, data_digest=digest)
    write_run(tmp_path / "fewer", "seed=0", held, "anchors.count=9", data_digest="cccccccc")
    write_run(tmp_path / "none", "seed=0", data_digest="dddddddd")
    runs, notes = load_runs(tmp_path)
    assert {run.data for run in runs} == {"Digits"}
    assert notes == []
    write_run(tmp_path / "other", "seed=1", held, "method=fsl", data_digest="eeeeeeee")
    assert len({run.data for run in load_runs(tmp_path)[0]}) == 3


def test_one_data_set_keeps_its_name(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / str(seed), f"seed={seed}", data_digest="aaaaaaaa")
    runs, notes = load_runs(tmp_path)
    assert [run.data for run in runs] == ["Digits", "Digits"]
    assert notes == []
    about = json.loads((tmp_path / "0" / "run.json").read_text())
    (tmp_path / "0" / "run.json").write_text(json.dumps({**about, "data_digest": None}))
    assert {run.data for run in load_runs(tmp_path)[0]} == {"Digits"}

"""A longer run goes on from a finished shorter one and ends as if it had been run at once."""

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest
from conftest import TINY, Build, composed
from interrupted import assert_equal_files, here

from ifl.cli.build import assemble
from ifl.cli.console import Progress
from ifl.data.dataset import Dataset, Shard
from ifl.engines.outcome import Conducted
from ifl.errors import ConfigError
from ifl.federation import build
from ifl.federation.build import Federation
from ifl.federation.engine import Engine
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.ifl import IFL
from ifl.runs.folder import RunFolder, read_about

TINY_RUN = ["clients=mlp_homogeneous", "clients.count=2", "clients.members.0.base.widths=[16]"]
TINY_RUN += ["fusion.dim=16", "local.tau=1", "batch_size=4", "runtime.workers=1"]


class Cells:
    """Runs the command line in one place, and compares with the same run on its own elsewhere.

    Args:
        shelf: holds runs that tests have made on their own, for others that need the same.
    """

    def __init__(
        self,
        place: Path,
        shelf: Path,
        patch: pytest.MonkeyPatch,
        capture: pytest.CaptureFixture[str],
    ) -> None:
        self.place, self.shelf, self.patch, self.capture = place, shelf, patch, capture

    def run(self, typed: str, outputs: Path | None = None) -> tuple[Path, str]:
        """Return the folder of the run and what was said."""
        outputs = outputs or self.place / "outputs"
        before = set(outputs.glob("runs/*"))
        code = here(self.patch, *TINY_RUN, *typed.split(), f"outputs={outputs}")
        said, complained = self.capture.readouterr()
        assert code == 0, complained
        (folder,) = set(outputs.glob("runs/*")) - before
        return folder, said

    def on_its_own(self, typed: str) -> Path:
        """Return the folder of the run in a place where there is no other; it is made once."""
        outputs = self.shelf / re.sub(r"\W+", "_", typed)
        if not outputs.exists():
            _, said = self.run(typed, outputs)
            assert "Continuing" not in said
        (folder,) = outputs.glob("runs/*")
        return folder

    def first(self, typed: str) -> Path:
        """Return the folder of a run that is there before any other."""
        alone = self.on_its_own(typed)
        folder = self.place / "outputs" / "runs" / alone.name
        shutil.copytree(alone, folder)
        return folder

    def assert_as_on_its_own(self, folder: Path, typed: str) -> None:
        alone = self.on_its_own(typed)
        assert_equal_files(alone, folder)
        abouts = [read_about(path) or {} for path in (alone, folder)]
        first, second = (
            {
                **about["totals"],
                "seconds": 0,
                "result": about["result"],
                "why": about["stop_reason"],
            }
            for about in abouts
        )
        assert first == second
        checkpoints = [[path.name for path in f.glob("checkpoint/*")] for f in (alone, folder)]
        assert checkpoints[0] == checkpoints[1]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def cells(
    tmp_path: Path,
    shelf: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cells:
    return Cells(tmp_path, shelf, monkeypatch, capsys)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("rounds=3 eval_every=1", "rounds=6 eval_every=1"),
        ("rounds=3 eval_every=2", "rounds=6 eval_every=2"),  # round 3 is tested in the first alone
        ("rounds=3 eval_every=1", "rounds=6 eval_every=2"),
        ("rounds=4 eval_every=2", "rounds=6 eval_every=4 checkpoint_every=1"),
        ("rounds=3 optimizer.decay_rounds=5", "rounds=6 optimizer.decay_rounds=5"),
        (
            "rounds=3 method=ifl_aligned optimizer=adam",
            "rounds=6 method=ifl_aligned optimizer=adam",
        ),
        ("rounds=3 method=centralized", "rounds=6 method=centralized"),
        ("rounds=3 method=fsl codec=int8", "rounds=6 method=fsl codec=int8"),
        ("rounds=3", "rounds=null stop.uplink_mb=0.003"),
        ("rounds=null stop.uplink_mb=0.002 eval_every=1", "rounds=9 eval_every=1"),
        ("rounds=2 eval_every=1", "rounds=6 eval_every=1 stop.accuracy=0.99"),
        ("rounds=2 eval_every=1", "rounds=9 eval_every=1 stop.patience=2"),
        ("rounds=2 runtime.threads=1", "rounds=6 runtime.threads=2 checkpoint_every=null"),
    ],
)
def test_a_longer_run_trains_what_is_missing(cells: Cells, short: str, long: str) -> None:
    first = cells.first(short)
    before = contents(first)
    number = (read_about(first) or {})["totals"]["rounds"]
    rounds: list[int] = []
    real = Engine.advance

    def noted(engine: Engine, number: int) -> Conducted:
        rounds.append(number)
        return real(engine, number)

    cells.patch.setattr(Engine, "advance", noted)
    second, said = cells.run(long)
    assert f"\nContinuing from round {number} of {first}: {second}\n" in said
    assert rounds[0] == number + 1
    assert contents(first) == before
    assert (read_about(second) or {})["continues"] == {"folder": str(first), "round": number}
    cells.assert_as_on_its_own(second, long)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("rounds=6 eval_every=1", "rounds=6 eval_every=3"),
        ("rounds=6 eval_every=1", "rounds=6 eval_every=4"),  # the last round is tested in both
        ("rounds=6 eval_every=3", "rounds=null stop.uplink_mb=0.003 eval_every=3"),
    ],
)
def test_fewer_tests_of_the_same_rounds_need_no_training(
    cells: Cells, first: str, second: str
) -> None:
    there = cells.first(first)
    with cells.patch.context() as patch:
        if "uplink" not in second:
            patch.setattr(Engine, "advance", Mock(side_effect=AssertionError))
        folder, said = cells.run(second)
    if "uplink" not in second:
        assert f"\nTaken from round 6 of {there}: {folder}\n" in said
    cells.assert_as_on_its_own(folder, second)


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("rounds=6 eval_every=3", "rounds=6 eval_every=1", "round 1 was not tested there"),
        ("rounds=3 eval_every=2", "rounds=6 eval_every=1", "round 1 was not tested there"),
        ("rounds=6", "rounds=3", "round 3 was not tested there"),
        (
            "rounds=6 eval_every=3",
            "rounds=3 eval_every=3",
            "round 3 is the last one here",
        ),
        ("rounds=3", "rounds=6 optimizer.decay_rounds=6", ""),
        ("rounds=3", "rounds=6 optimizer.lr=0.02", ""),
        ("rounds=3", "rounds=6 seed=1", ""),
        ("rounds=3", "rounds=6 fresh=true", ""),
        ("rounds=3 checkpoint_every=null", "rounds=6", ""),
    ],
)
def test_what_cannot_be_had_from_it_is_trained_from_the_start_and_said(
    cells: Cells, first: str, second: str, why: str
) -> None:
    there = cells.first(first)
    before = contents(there)
    folder, said = cells.run(second)
    assert (f"Not continued from {there}: {why}" in said) == bool(why)
    assert "Continuing" not in said
    assert "continues" not in (read_about(folder) or {})
    assert contents(there) == before
    if "fresh" not in second:
        cells.assert_as_on_its_own(folder, second)


def test_of_several_the_longest_that_fits_is_taken(cells: Cells) -> None:
    for rounds in (2, 5, 4):
        cells.run(f"rounds={rounds} eval_every=1")
    folder, said = cells.run("rounds=6 eval_every=2")
    assert "Continuing from round 5 of " in said
    cells.assert_as_on_its_own(folder, "rounds=6 eval_every=2")
    folder, said = cells.run("rounds=3 eval_every=1")
    assert "Continuing from round 2 of " in said


def test_a_continued_run_that_is_killed_at_once_is_continued_again(cells: Cells) -> None:
    first = cells.first("rounds=3")
    with cells.patch.context() as patch:
        patch.setattr(Progress, "__call__", Mock(side_effect=KeyboardInterrupt))
        typed = [*TINY_RUN, "rounds=6", f"outputs={cells.place / 'outputs'}"]
        assert here(patch, *typed) == 130
    (second,) = set(cells.place.glob("outputs/runs/*")) - {first}
    assert here(cells.patch, *typed) == 0
    assert f"Continuing from round 3 of {first}: {second}" in cells.capture.readouterr().out
    cells.assert_as_on_its_own(second, "rounds=6")


def test_a_named_folder_continues_its_neighbour(cells: Cells, tmp_path: Path) -> None:
    for name, rounds in (("X", 3), ("Y", 6)):
        typed = [*TINY_RUN, f"rounds={rounds}", f"hydra.run.dir={tmp_path / name}"]
        assert here(cells.patch, *typed) == 0
    assert f"Continuing from round 3 of {tmp_path / 'X'}: " in cells.capture.readouterr().out
    cells.assert_as_on_its_own(tmp_path / "Y", "rounds=6")


def test_odd_neighbours_are_passed_by(cells: Cells) -> None:
    first = cells.first("rounds=3")
    for name, content in (("a", "[]"), ("b", '{"finished": true}'), ("c", '{"cut')):
        odd = first.with_name(f"{first.name.rpartition('-')[0]}-{name}")
        odd.mkdir()
        (odd / "run.json").write_text(content)
    (first / "checkpoint" / "round-3" / "state.json").write_text("{}")
    folder, said = cells.run("rounds=6")
    assert "Continuing" not in said
    cells.assert_as_on_its_own(folder, "rounds=6")


# --- the library

Sentences = list[str]
Three, Six = Schedule(3, 2, checkpoint_every=50), Schedule(6, 2, checkpoint_every=50)


def played(
    federation: Federation, path: Path, schedule: Schedule, *after: Path, die_at: int = 0
) -> str:
    said: Sentences = []

    def watch(row: object) -> None:
        if getattr(row, "round", None) == die_at:
            raise KeyboardInterrupt

    with RunFolder(path) as folder, suppress(KeyboardInterrupt):
        run(federation, folder, {}, schedule, watch, say=said.append, after=after)
    return "".join(said)


def test_a_program_goes_on_in_the_same_folder(tiny: Build, tmp_path: Path) -> None:
    played(tiny(IFL()), tmp_path / "whole", Six)
    mine = tmp_path / "mine"
    played(tiny(IFL()), mine, Three)
    said = played(tiny(IFL()), mine, Six)
    assert said == f"Continuing from round 3 of {mine}: {mine}"
    assert_equal_files(tmp_path / "whole", mine)
    about = read_about(mine) or {}
    assert about["stop_reason"] == "rounds=6 done"
    assert len(about["resumed"]) == 1
    assert played(tiny(IFL()), mine, Six) == f"Resuming from round 6: {mine}"
    with pytest.raises(ConfigError, match="is of another run: rounds is 6 there and 3 here"):
        played(tiny(IFL()), mine, Three)
    assert_equal_files(tmp_path / "whole", mine)


def test_a_program_goes_on_in_another_folder(tiny: Build, tmp_path: Path) -> None:
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    played(tiny(IFL()), whole, Six)
    played(tiny(IFL()), first, Three)
    before = contents(first)
    said = played(tiny(IFL()), second, Six, tmp_path / "nowhere", whole, first)
    assert said.endswith(f"Continuing from round 3 of {first}: {second}")
    assert contents(first) == before
    assert_equal_files(whole, second)


def test_other_data_of_the_same_name_are_no_beginning(tiny: Build, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    played(tiny(IFL()), first, Three)
    federation = tiny(IFL())
    fewer = Shard(TINY.test.x[1:], TINY.test.y[1:])
    other = build.Federation(
        Dataset(TINY.name, TINY.train, fewer, TINY.shape, TINY.classes),
        federation.engine,
        federation.disclosure,
        federation.parts,
    )
    assert played(other, second, Six, first) == ""
    assert "continues" not in (read_about(second) or {})


def test_a_run_of_before_is_no_beginning(tiny: Build, tmp_path: Path) -> None:
    """It does not say on what data it was trained."""
    from test_mixed import age

    played(tiny(IFL()), tmp_path / "first", Three)
    age(tmp_path / "first")
    assert played(tiny(IFL()), tmp_path / "second", Six, tmp_path / "first") == ""


def test_one_that_was_interrupted_goes_on_to_another_end(tiny: Build, tmp_path: Path) -> None:
    often = Schedule(6, 2, checkpoint_every=2)
    longer = Schedule(9, 2, checkpoint_every=2)
    played(tiny(IFL()), tmp_path / "whole", longer)
    played(tiny(IFL()), tmp_path / "mine", often, die_at=5)
    said = played(tiny(IFL()), tmp_path / "mine", longer)
    assert said == f"Continuing from round 4 of {tmp_path / 'mine'}: {tmp_path / 'mine'}"
    assert_equal_files(tmp_path / "whole", tmp_path / "mine")


@pytest.mark.parametrize(
    "method",
    [
        *("ifl", "fedproto", "feddistill", "lg_fedavg", "cse_fsl"),
        *("relative", "fedlite", "fsl_sage", "fedtgp", "fml"),
    ],
)
def test_other_methods_too(method: str, tmp_path: Path) -> None:
    def made() -> Federation:
        return assemble(composed(*TINY_RUN, f"method={method}", "participation.dropout=0.3"))

    played(made(), tmp_path / "whole", Six)
    played(made(), tmp_path / "mine", Three)
    assert played(made(), tmp_path / "mine", Six).startswith("Continuing from round 3 of ")
    assert_equal_files(tmp_path / "whole", tmp_path / "mine")


def test_run_json_keeps_what_a_run_continues(tiny: Build, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    played(tiny(IFL()), first, Three)
    often = Schedule(6, 2, checkpoint_every=1)
    played(tiny(IFL()), second, often, first, die_at=5)
    assert played(tiny(IFL()), second, often, first) == f"Resuming from round 4: {second}"
    about = json.loads((second / "run.json").read_text())
    assert about["continues"] == {"folder": str(first), "round": 3}

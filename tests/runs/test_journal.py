from pathlib import Path

from ifl.runs.journal import Journal


def test_a_reader_sees_who_runs_and_outcomes_in_the_order_in_which_they_came(
    tmp_path: Path,
) -> None:
    reader, writer = Journal(tmp_path), Journal(tmp_path)
    for run in (0, 1, 10):
        writer.note(run, None)
    assert reader.read() == ([], 3)
    writer.note(10, {"n": 10})
    assert reader.read() == ([{"n": 10}], 2)
    writer.note(0, {"n": 0})
    assert reader.read() == ([{"n": 10}, {"n": 0}], 1)
    writer.note(1, {"n": 1})
    assert reader.remove() == [{"n": 0}, {"n": 1}, {"n": 10}]
    assert not tmp_path.exists()


def test_a_run_that_outlives_its_sweep_is_not_harmed(tmp_path: Path) -> None:
    Journal(tmp_path / "removed").note(0, {"n": 0})
    assert not (tmp_path / "removed").exists()


def test_a_new_journal_removes_those_of_killed_sweeps_alone(tmp_path: Path) -> None:
    alive = Journal.begin(tmp_path)
    dead = tmp_path / ".journal-dead"
    dead.mkdir()
    Journal(dead).note(1, {"finished": True})
    (dead / "lock").touch()
    new = Journal.begin(tmp_path)
    assert set(tmp_path.iterdir()) == {alive.folder, new.folder}
    new.note(0, {"finished": True})
    assert new.read() == ([{"finished": True}], 0)
    assert new.remove() == [{"finished": True}]
    assert alive.remove() == []
    assert not list(tmp_path.iterdir())

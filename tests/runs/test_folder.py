import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ifl.errors import BusyError, OutputError
from ifl.runs.folder import Round, RunFolder, attempts, read_about
from ifl.runs.identity import fingerprint, finished, flatten, recipe

ROW = Round(1, 10, 20, 0.5, 0.5, None, None, 1.25, 4, 0, 0.1)


def test_rows_are_on_disk_as_soon_as_they_are_written(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.rewind()
        folder.write_round(ROW, {("0", "server"): 0.5}, [("up", 0, "z", 10)])
        rounds = pd.read_csv(tmp_path / "run" / "rounds.csv")  # the folder is still open
        assert rounds.loc[0, "uplink_bytes"] == 10
        assert rounds.accuracy_cross.isna().all()
        traffic = (tmp_path / "run" / "traffic.csv").read_text()
        assert traffic == "round,direction,client,kind,bytes\n1,up,0,z,10\n"
        compositions = (tmp_path / "run" / "compositions.csv").read_text()
        assert compositions == "round,base,modular,accuracy\n1,0,server,0.5\n"
        folder.write_partition(np.array([[3, 0], [1, 2]]))
        assert (tmp_path / "run" / "partition.csv").read_text() == "client,0,1\n0,3,0\n1,1,2\n"


def test_tables_are_cut_back_to_what_they_were(tmp_path: Path) -> None:
    def read() -> dict[str, str]:
        return {path.name: path.read_text() for path in tmp_path.glob("*.csv")}

    with RunFolder(tmp_path) as folder:
        folder.rewind()
        folder.write_round(ROW, {("0", "0"): 0.5}, [("up", 0, "z", 10)])
        kept, lengths = read(), folder.sync()
        folder.write_round(ROW, {("0", "0"): 0.5}, [("up", 0, "z", 10)])
    with open(tmp_path / "traffic.csv", "a") as torn:
        torn.write("3,up,0,")
    with RunFolder(tmp_path) as folder:
        assert folder.holds(lengths)
        folder.rewind(lengths)
        assert read() == kept
        folder.write_round(ROW, {("0", "0"): 0.5}, [("up", 0, "z", 10)])
        assert len(read()["traffic.csv"].splitlines()) == 3
    with RunFolder(tmp_path) as folder:
        folder.rewind()
        assert read()["rounds.csv"].count("\n") == 1
        assert not folder.holds(lengths)


def test_a_folder_belongs_to_one_process_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with RunFolder(path) as folder:
        folder.describe({"seed": 1})
        before = (path / "run.json").read_bytes()
        with pytest.raises(
            BusyError, match=rf"run is already being executed by process {os.getpid()} on \w"
        ):
            RunFolder(path)
        assert (path / "run.json").read_bytes() == before
    with RunFolder(path):
        pass
    assert attempts(path) == [path, tmp_path / "run-2"]


def test_run_json_is_replaced_whole(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        assert read_about(tmp_path) is None
        folder.describe({"seed": 1, "finished": False})
        assert read_about(tmp_path) == {"schema_version": 2, "seed": 1, "finished": False}
        folder.describe({"seed": 1, "finished": True})
    assert json.loads((tmp_path / "run.json").read_text())["finished"] is True
    assert not (tmp_path / "run.json.new").exists()
    (tmp_path / "run.json").write_text('{"half')
    assert read_about(tmp_path) is None


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OutputError, match="cannot be written .* choose another folder with outputs="
    ):
        RunFolder(tmp_path / "file" / "run")


def test_the_fingerprint_sees_results_and_not_places() -> None:
    config = {"seed": 0, "data": {"root": "a", "name": "D"}, "runtime": {"threads": 1}, "lr": 1.0}
    same = {"lr": 1, "runtime": {"threads": 2}, "data": {"name": "D", "root": "b"}, "seed": 0}
    assert fingerprint(config) == fingerprint(same)
    assert fingerprint(config) != fingerprint({**config, "seed": 1})
    assert fingerprint(config, "seed") == fingerprint({**config, "seed": 1}, "seed")
    assert fingerprint(config) != fingerprint({**config, "lr": 0.1})
    assert fingerprint(config) == fingerprint({**config, "checkpoint_every": 3})


def test_flatten_names_leaves_by_dotted_keys() -> None:
    assert flatten({"a": {"b": [1, 2.5]}, "c": 3.0, "d": None}) == {
        "a.b.0": 1,
        "a.b.1": 2.5,
        "c": 3,
        "d": None,
    }


def test_a_recipe_changes_with_every_override_and_file_but_not_with_the_launcher(
    tmp_path: Path,
) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "ifl.yaml").write_text("tau: 1")

    def made(*overrides: str, name: str = "config") -> str:
        return recipe(overrides, name, [str(tmp_path)])

    plain = made("seed=1", "rounds=2")
    assert made("launcher=local", "seed=1", "runtime.threads=1", "rounds=2") == plain
    others = [made("seed=1"), made("rounds=2", "seed=1"), made("seed=1", "rounds=2", name="other")]
    (tmp_path / "method" / "ifl.yaml").write_text("tau: 2")
    others.append(made("seed=1", "rounds=2"))
    (tmp_path / "method" / "ifl.yaml").rename(tmp_path / "method" / "fl.yaml")
    others.append(made("seed=1", "rounds=2"))
    assert len({plain, *others}) == 6


def test_finished_runs_are_found_by_recipe_where_folder_and_configuration_agree(
    tmp_path: Path,
) -> None:
    config = {"seed": 1}
    mark = fingerprint(config)
    for folder, recipe_, ended in [
        (f"digits-{mark}", "a", True),
        (f"digits-{mark}-2", "a", True),
        (f"digits-{mark}-3", "b", False),
        ("digits-00000000", "c", True),
    ]:
        (tmp_path / folder).mkdir()
        about = {"finished": ended, "config": config, "recipe": recipe_}
        (tmp_path / folder / "run.json").write_text(json.dumps(about))
    found = finished(tmp_path)
    assert {r: about["folder"] for r, about in found.items()} == {
        "a": str(tmp_path / f"digits-{mark}")
    }

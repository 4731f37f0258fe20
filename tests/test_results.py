import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ifl.errors import ConfigError
from ifl.results import Round, RunFolder, attempts, fingerprint, flatten, read_about

ROW = Round(1, 10, 20, 0.5, 0.5, None, None, 1.25, 0.1)


def test_rows_are_on_disk_as_soon_as_they_are_written(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path / "run", {"seed": 3})
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
    folder.close()


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    RunFolder.claim(path, {"seed": 1}).close()
    before = (path / "run.json").read_bytes()
    with pytest.raises(FileExistsError):
        RunFolder.claim(path, {"seed": 2})
    assert (path / "run.json").read_bytes() == before
    assert attempts(path) == [path, tmp_path / "run-2"]


def test_run_json_is_replaced_whole(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path, {"seed": 1})
    assert read_about(tmp_path) == {"schema_version": 1, "seed": 1, "finished": False}
    folder.describe({"seed": 1, "finished": True})
    folder.close()
    assert json.loads((tmp_path / "run.json").read_text())["finished"] is True
    assert not (tmp_path / "run.json.new").exists()
    (tmp_path / "run.json").write_text('{"half')
    assert read_about(tmp_path) is None


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ConfigError, match="cannot be written .* choose another folder with outputs="
    ):
        RunFolder.claim(tmp_path / "file" / "run", {})


def test_the_fingerprint_sees_results_and_not_places() -> None:
    config = {"seed": 0, "data": {"root": "a", "name": "D"}, "runtime": {"threads": 1}, "lr": 1.0}
    same = {"lr": 1, "runtime": {"threads": 2}, "data": {"name": "D", "root": "b"}, "seed": 0}
    assert fingerprint(config) == fingerprint(same)
    assert fingerprint(config) != fingerprint({**config, "seed": 1})
    assert fingerprint(config, "seed") == fingerprint({**config, "seed": 1}, "seed")
    assert fingerprint(config) != fingerprint({**config, "lr": 0.1})


def test_flatten_names_leaves_by_dotted_keys() -> None:
    assert flatten({"a": {"b": [1, 2.5]}, "c": 3.0, "d": None}) == {
        "a.b.0": 1,
        "a.b.1": 2.5,
        "c": 3,
        "d": None,
    }

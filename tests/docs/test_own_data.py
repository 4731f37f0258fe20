"""Every command of docs/own-data.md runs as it is typed, and other files make other runs."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from interrupted import here
from own_files import arrays, picture, pictures

FAST = ["clients=mlp_homogeneous", "rounds=1", "local.tau=1", "runtime.workers=1", "fusion.dim=8"]
FAST += ["clients.members.0.base.widths=[]", "clients.members.0.modular.widths=[]"]
PAGE = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the page's commands read, where they are typed."""
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pictures", each=12)
    np.savez(tmp_path / "arrays.npz", **arrays(60))  # type: ignore[arg-type]
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine" / "data" / "fake.yaml").write_text(yaml)
    return tmp_path


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    flags = [*words[: {"--config-dir": 2, "-m": 1}.get(words[0], 0)]]  # before all overrides
    rest = [*words[len(flags) :]]
    small = [] if any(word.startswith("batch_size") for word in rest) else ["batch_size=4"]
    return here(monkeypatch, *flags, *FAST, *small, *rest)


def runs(place: Path) -> list[dict[str, Any]]:
    found = (place / "outputs" / "runs").glob("*/run.json")
    return [json.loads(path.read_text()) for path in sorted(found, key=lambda p: p.stat().st_mtime)]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_pages_commands_run(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(line.removeprefix("python scripts/run.py").removeprefix("ifl"))
    assert typed(monkeypatch, *words) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "so a fifth of each class" in said
    (about,) = runs(place)
    if "partition=by" in line and "pictures" in line:
        assert about["owners"] == [["a"], ["b"], ["c"]]
    if "arrays.npz" in line and "partition=by" in line:
        assert sorted(len(own) for own in about["owners"]) == [1, 2]


def test_other_pictures_are_another_run_and_the_same_elsewhere_are_not(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        assert typed(monkeypatch, *words) == 0
        return capsys.readouterr().out

    mine = ["data=folder", "clients.count=2", "seed=0"]
    assert "Finished" in said("-m", *mine, "data.root=pictures")
    shutil.copytree(place / "pictures", place / "copies" / "pictures")
    monkeypatch.setenv("HOME", str(place))
    assert "Already finished" in said(*mine, "data.root='~/copies/pictures'")
    # a sweep recognises what is finished before anything is composed
    assert "Already finished: 1 of 1" in said("-m", *mine, "data.root=pictures")
    picture(place / "pictures" / "cat" / "a_0.png", seed=999)
    assert "Already finished" not in said("-m", *mine, "data.root=pictures")
    assert len(runs(place)) == 2
    assert len({about["data_digest"] for about in runs(place)}) == 2


OWN = """
import torch
from ifl import Dataset, Shard
def load(root, name, shape, classes):
    x = torch.load(f"{root}/x.pt")
    y = torch.arange(len(x)) % 2
    return Dataset(name, Shard(x, y), Shard(x, y), tuple(shape), classes)
"""


def test_another_root_of_an_own_function_is_not_answered_by_the_first(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    for number, name in enumerate(("A", "B")):
        (place / name).mkdir()
        torch.save(torch.full((40, 1, 4, 4), number, dtype=torch.uint8), place / name / "x.pt")
    (place / "own_set.py").write_text(OWN)
    (place / "mine" / "data" / "own.yaml").write_text(
        "_target_: own_set.load\nname: Own\nroot: A\nshape: [1, 4, 4]\nclasses: 2\n"
    )
    monkeypatch.syspath_prepend(str(place))
    mine = ["--config-dir", "mine", "data=own", "clients.count=2"]
    assert typed(monkeypatch, *mine) == 0
    assert typed(monkeypatch, *mine, f"data.root={place / 'A'}") == 0
    assert "Already finished" in capsys.readouterr().out
    assert typed(monkeypatch, *mine, "data.root=B") == 1
    complained = capsys.readouterr().err
    assert "holds another run: data.root is A there and B here" in complained
    assert "another data.name each" in complained
    assert typed(monkeypatch, *mine, "data.root=B", "data.name=Other") == 0


def test_a_folder_that_hydra_changes_to_does_not_move_the_data(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = ["data=folder", "data.root=pictures", "clients.count=2"]
    assert typed(monkeypatch, *mine, "hydra.job.chdir=true") == 0, capsys.readouterr().err
    monkeypatch.chdir(place)


def test_blocks_may_refer_to_what_the_pictures_tell(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refer = "+clients.members.0.modular.classes=${data.classes}"
    mine = ["data=folder", "data.root=pictures", "clients.count=2", refer]
    assert typed(monkeypatch, *mine) == 0, capsys.readouterr().err

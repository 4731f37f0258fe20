"""A stranger types docs/walk.md from its first line to its last, and gets what it says."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ifl.__main__ import main

PAGE = (ROOT / "docs" / "walk.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)(?: title=\"(.+?)\")?\n(.*?)```", PAGE, re.DOTALL)
WRITERS = Path("outputs/writers")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to an empty folder; a process of its own has it on its path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "networks", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    for _, title, text in BLOCKS:
        if title:
            Path(title).parent.mkdir(parents=True, exist_ok=True)
            Path(title).write_text(text, encoding="utf-8")
    return tmp_path


def typed(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    words = shlex.split(line.removeprefix("python ").removeprefix("-m "))
    monkeypatch.setattr(sys, "argv", words)
    if words[0] == "ifl":
        return main()
    runpy.run_path(words[0], run_name="__main__")
    return 0


def test_the_walk_goes_through_as_it_is_typed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: dict[str, str] = {}
    for line in (line for kind, _, text in BLOCKS if kind == "bash" for line in text.splitlines()):
        if line.startswith("tensorboard"):
            assert Path(line.split()[-1]).is_dir()
            continue
        assert typed(line, monkeypatch) == 0, (line, capsys.readouterr().err)
        said[line] = capsys.readouterr().out
    first, sweep = (text for line, text in said.items() if "experiment=writers" in line)
    assert "a fifth of each class" in first
    assert "Finished (rounds=60 reached)" in first
    assert sweep.count("Already finished: ") == 1
    folders = [path.parent for path in WRITERS.glob("*/run.json")]
    assert len(folders) == 4
    for folder in folders:
        about = json.loads((folder / "run.json").read_text())
        assert about["owners"] == [["ann"], ["ben"], ["cleo"]]
        log = EventAccumulator(str(folder / "tensorboard"))
        log.Reload()
        assert [event.step for event in log.Scalars("accuracy_mean")] == [*range(10, 61, 10)]
        alone = about["choices"]["method"] == "local"
        assert (about["result"]["accuracy_cross"] > 0.4) is not alone
        sizes = {name: 4 * 64 * rows for name, rows in (("0", 16), ("1", 32), ("2", 32))}
        traffic = (folder / "traffic.csv").read_text().splitlines()
        for client, size in sizes.items():
            assert (f"1,up,{client},z,{size}" in traffic) is not alone
    pictures = [*WRITERS.glob("plots/*.png")]
    assert len(pictures) >= 3
    for path in pictures:
        with Image.open(path) as picture:
            picture.verify()
    accuracy, *table = said["python compose.py"].splitlines()
    assert table[-3].split()[0] == "0"  # the row of ann's base block, then modular blocks 0 to 2
    assert float(table[-3].split()[3]) == pytest.approx(float(accuracy), abs=1e-4)


def test_its_last_step_is_ten_lines() -> None:
    (code,) = (text for _, title, text in BLOCKS if title == "compose.py")
    assert len([line for line in code.splitlines() if line]) <= 10

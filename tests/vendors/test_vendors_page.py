"""docs/vendors.md is typed from its first line to its last; its parties are killed, and go on."""

import csv
import os
import re
import runpy
import shlex
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from commands import Beside
from conftest import ROOT
from hosts import written

from ifl.__main__ import main
from ifl.runs import checkpoint

PAGE = (ROOT / "docs" / "vendors.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)(?: title=\"(.+?)\")?\n(.*?)```", PAGE, re.DOTALL)
IFL = str(ROOT / "ifl" / "__main__.py")
VENDORS = ("ann", "ben", "cleo")
FIRST, SECOND = (text.splitlines() for kind, _, text in BLOCKS if kind == "bash")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks its commands")


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return str(taken.getsockname()[1])


def files(place: Path, **changes: str) -> None:
    """Write the files of the page, with other words in place of some."""
    for _, title, text in BLOCKS:
        if title:
            for old, new in changes.items():
                text = text.replace(old.replace("_", ": "), new)
            (place / title).parent.mkdir(parents=True, exist_ok=True)
            (place / title).write_text(text, encoding="utf-8")


def begun(line: str, port: str) -> Beside:
    """Start a command of the page beside this process."""
    _, *words = shlex.split(line.removesuffix("&"))
    if words[0] == "server":
        words += ["--address", f"127.0.0.1:{port}", "--grace", "1"]
    return Beside([IFL, *words], Path(f"{words[0]}-{Path(words[1]).parent.name or 'it'}.log"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the first commands of the page were typed."""
    place, here, port = tmp_path_factory.mktemp("vendors"), Path.cwd(), free_port()
    files(place, **{"7440": port})
    os.chdir(place)
    try:
        deal, certificates, *parties, wait, show = FIRST
        assert (deal, wait, show) == ("python deal.py", "wait", "cat run/compositions.csv")
        runpy.run_path("deal.py", run_name="__main__")
        assert typed(certificates) == 0
        for process in [begun(line, port) for line in parties]:
            assert process.wait() == 0, process.log.read_text()
    finally:
        os.chdir(here)
    return place


def typed(line: str) -> int:
    before, sys.argv = sys.argv, shlex.split(line)
    try:
        return main()
    finally:
        sys.argv = before


def test_three_vendors_end_with_a_matrix_and_blocks_for_a_third_party(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    said = (place / "server-it.log").read_text()
    assert all(f"Bytes of {name}: equal" in said for name in VENDORS)
    with (place / "run" / "compositions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["round"] == "100"]
    accuracy = {(row["base"], row["modular"]): float(row["accuracy"]) for row in rows}
    assert len(accuracy) == 9
    assert min(accuracy.values()) > 0.5
    base, modular, validate, compose = SECOND
    monkeypatch.setattr(sys, "path", [*sys.path])
    for line in (base, modular):
        assert typed(line) == 0, capsys.readouterr().err
        sys.modules.pop("network", None)  # two files of one name: each vendor has its own machine
        sys.path[:] = [path for path in sys.path if not path.startswith(str(place))]
    for name in ("ann", "ben"):
        (place / name / "network.py").rename(place / name / "gone")
    capsys.readouterr()
    assert typed(validate) == 0
    assert typed(compose) == 0
    found = re.search(r"accuracy +\S+ % \((\d+) of 150\)", capsys.readouterr().out)
    assert found is not None
    assert int(found[1]) / 150 == pytest.approx(accuracy["0", "1"], abs=0.01)
    for name in ("ann", "ben"):
        (place / name / "gone").rename(place / name / "network.py")


def test_killed_parties_and_a_killed_server_go_on_and_nothing_differs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    port = free_port()
    for name in VENDORS:
        file = place / name / "vendor.yaml"
        text = re.sub(r"127.0.0.1:\d+", f"127.0.0.1:{port}", file.read_text())
        file.write_text(text + "folder: cut\n")
    server, *vendors = [line.replace(" &", "") for line in FIRST[2:6]]
    going = {line: begun(line, port) for line in vendors}
    server += " --folder cut"
    going[server] = begun(server, port)
    for line, number in ((vendors[1], 20), (server, 60)):
        until = time.monotonic() + 60
        while max(checkpoint.held(place / "cut"), default=0) < number:
            assert time.monotonic() < until, going[server].log.read_text()
            time.sleep(0.002)
        os.kill(going[line].pid, signal.SIGKILL)
        assert going[line].wait() == -signal.SIGKILL
        going[line] = begun(line, port)
    for process in going.values():
        assert process.wait() == 0, process.log.read_text()
    assert written(place / "cut") == written(place / "run")
    for name in VENDORS:
        last = [checkpoint.at(place / name / folder, 100) for folder in ("run", "cut")]
        assert last[0] is not None
        assert last[1] is not None
        blocks = [checkpoint.to_bytes(one.state["blocks"]) for one in last if one is not None]
        assert blocks[0] == blocks[1]

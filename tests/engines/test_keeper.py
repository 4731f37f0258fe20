"""What keeps FLARE for a run ends all that it started, whatever ends the run, even halfway."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Build

from ifl.engines.flare import engine
from ifl.errors import ConfigError, PartyError
from ifl.methods.ifl import IFL

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no Unix sockets")
REFUSES = "import sys\nsys.exit('no such\\n licence')"
SLEEPS = (
    "import os, time\nfrom pathlib import Path\nPath('started').write_text(str(os.getpid()))\n"
    "time.sleep(600)"
)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a module that stands for FLARE's command line."""
    package = tmp_path / "stub" / "nvflare"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "nvflare", raising=False)
    yield package / "cli.py"
    sys.modules.pop("nvflare", None)


def kept(stub: Path, place: Path) -> "subprocess.Popen[str]":
    """Start a keeper of a project in a folder."""
    place.mkdir()
    keeper = subprocess.Popen(
        [sys.executable, "-m", "ifl.engines.flare.keeper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(stub.parents[1]), str(ROOT)])},
        text=True,
    )
    orders = {"folder": str(place), "certificates": str(place / "certificates")}
    orders |= {"address": "127.0.0.1:1"}
    assert keeper.stdin is not None
    keeper.stdin.write(json.dumps({**orders, "sockets": {"site0": "/run/ifl"}}) + "\n")
    keeper.stdin.flush()
    return keeper


def test_a_run_that_ends_while_it_starts_leaves_nothing(stub: Path, tmp_path: Path) -> None:
    stub.write_text(SLEEPS)
    place = tmp_path / "place"
    keeper = kept(stub, place)
    until = time.monotonic() + 20
    while not (place / "started").exists() or not (place / "started").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    started = int((place / "started").read_text())
    keeper.communicate(timeout=20)  # closes its input
    assert not place.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(started, 0)


def test_what_flare_says_is_told_in_one_sentence(stub: Path, tiny: Build) -> None:
    stub.write_text(REFUSES)
    federation = tiny(IFL(tau=1), count=2, transport=engine.Flare(hosts=1))
    said = "^FLARE did not start: nvflare provision failed: no such licence; engine=grpc does "
    with pytest.raises(PartyError, match=said):
        federation.engine.round(1)


def test_a_folder_with_too_long_a_name_is_told_before_anything_starts(
    stub: Path, tiny: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    federation = tiny(IFL(tau=1), count=2, transport=engine.Flare(hosts=1))
    with pytest.raises(ConfigError, match=r"^the path of a socket must start with / and have at"):
        federation.engine.round(1)
    assert not [*long.iterdir()]

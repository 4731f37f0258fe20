"""Our two classes open with a FLARE job, carry connections, and end with ifl server."""

import json
import os
import subprocess
import sys
import tempfile

import pytest
from conftest import ROOT


@pytest.mark.skipif(sys.platform == "win32", reason="has no Unix sockets")
def test_a_job_carries_connections_until_its_server_is_gone() -> None:
    with tempfile.TemporaryDirectory(prefix="ifl-") as place:
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests" / "support" / "fake_flare.py"), place],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
        )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["heard"] == "hello"
    assert found["unfinished"]
    assert found["ended"]
    assert found["last"] == ""
    assert not found["socket"]
    assert not found["torch"]
    listening, gone, absent, unsaid = found["said"]
    assert listening == f"Listening at {place}/own/ifl"
    assert gone.startswith("ifl server has been gone for ")
    assert absent.startswith("panic: there was no ifl server at 127.0.0.1:1 for ")
    assert unsaid.startswith(f"panic: {place}/site/ifl.json cannot be read (")
    assert unsaid.endswith("ifl flare site KIT --socket PATH writes it")

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ifl.errors import BusyError
from ifl.runs.lock import Lock

HOLDING = """
import sys, time
from pathlib import Path
from ifl.runs.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_is_one_process_s_and_the_next_is_told_whose(tmp_path: Path) -> None:
    first = Lock(tmp_path)
    with pytest.raises(BusyError, match=rf"is already being executed by process {os.getpid()} on "):
        Lock(tmp_path)
    first.release()
    Lock(tmp_path).release()
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "holder"}


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    with other, other.stdout:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=rf"process {other.pid} on "):
            Lock(tmp_path)
        other.kill()
        other.wait()
        Lock(tmp_path).release()

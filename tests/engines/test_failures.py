"""A party that fails in a process of its own ends the run in a sentence, and no process stays."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import QUICK, SCRIPT, command
from conftest import Build
from failing import Failing
from hosts import hosts

from ifl.engines.base import Packet
from ifl.engines.frames import framed, raised, unframed
from ifl.engines.processes import Processes
from ifl.errors import ConfigError, DivergenceError, MessageError, PartyError
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.ifl import IFL
from ifl.runs.folder import RunFolder

FOUR = Schedule(rounds=4, eval_every=4)


def test_a_client_that_raises_ends_the_run_with_its_name_and_reason(tiny: Build) -> None:
    federation = tiny(Failing("raise"), count=3, transport=hosts())
    federation.engine.round(1)
    with pytest.raises(PartyError) as told:
        federation.engine.round(2)
    assert str(told.value) == (
        "client 1 (small) failed in its process: RuntimeError: the disk is full of cats; "
        "engine=local shows where"
    )


def test_a_process_that_dies_ends_the_run_with_the_names_of_its_clients(tiny: Build) -> None:
    federation = tiny(Failing("exit"), count=3, transport=Processes(hosts=2))
    federation.engine.round(1)
    with pytest.raises(PartyError, match=r"^client 1 \(small\) is lost: its process ended"):
        federation.engine.round(2)
    federation.engine.close()
    with pytest.raises(PartyError, match="have been ended; build it anew"):
        federation.engine.round(3)


def test_what_cannot_be_pickled_is_named_before_a_process_is_started(tiny: Build) -> None:
    transport = Processes(hosts=2)
    federation = tiny(Failing("lambda"), count=2, transport=transport)
    with pytest.raises(ConfigError, match=r"cannot send client 1 \(small\) to a process of its"):
        federation.engine.parties.greet()
    assert transport._running == []


def test_losses_that_are_not_finite_end_the_run_in_the_same_words(tiny: Build) -> None:
    said = []
    for transport in (None, hosts()):
        huge = partial(torch.optim.SGD, lr=1e30)
        engine = tiny(IFL(tau=1), count=3, optimizer=huge, transport=transport).engine
        with pytest.raises(DivergenceError) as told:
            [engine.round(number) for number in range(1, 9)]
        said.append(str(told.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("on_bad_upload", ["stop", "skip"])
def test_an_upload_after_the_last_reply_is_one_too_many(
    on_bad_upload: str, tiny: Build, tmp_path: Path
) -> None:
    federation = tiny(Failing("again"), count=3, transport=hosts(), on_bad_upload=on_bad_upload)
    with RunFolder(tmp_path / "run") as folder:
        if on_bad_upload == "stop":
            said = r"Failing in round 2: upload 2 of client 1 \(small\) is refused .*too many"
            with pytest.raises(MessageError, match=said):
                run(federation, folder, {"seed": 0}, FOUR)
        else:
            run(federation, folder, {"seed": 0}, FOUR)
    rounds = pd.read_csv(tmp_path / "run" / "rounds.csv")
    if on_bad_upload == "stop":
        assert rounds["round"].tolist() == [1]  # settled with the uploads of round 2
    else:
        assert rounds.refused.tolist() == [0, 1, 0, 0]
        assert rounds.clients.tolist() == [3, 2, 3, 3]


def test_frames_hold_a_broadcast_once_and_tell_our_errors_from_others() -> None:
    body = bytes(1000)
    asked = {0: [Packet({"op": "reply", "turn": 1}, body)], 1: [Packet({"op": "reply"}, body)]}
    frame = framed({**asked, 2: [DivergenceError("nan"), KeyError("z")]})
    assert sum(map(len, frame)) < 1500
    found = unframed(frame)
    assert {k: found[k] for k in asked} == asked
    ours, other = found[2]
    assert isinstance(ours, DivergenceError)
    assert str(ours) == "nan"
    assert str(other) == "KeyError: 'z'"
    assert isinstance(raised("Terminated", "x"), PartyError)  # no exception to be handed on


def test_a_command_whose_client_fails_says_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = str(Path(__file__).parent.parent / "support")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    method = ["method._target_=failing.failing_ifl", "+method.how=raise", "clients.count=2"]
    done = command(tmp_path, *QUICK, *method, "engine=processes", "engine.hosts=1")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: client 1 (fully connected) failed in its process: RuntimeError: the disk is full "
        "of cats; engine=local shows where\n"
    )


def children(pid: int) -> list[int]:
    """Return the processes that one has started, and those that they have."""
    own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in map(int, own) for found in (child, *children(child))]


def there(pid: int) -> bool:
    """Tell whether a process runs: one that has ended and is not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_process_outlives_a_run_that_is_ended(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    typed = ["clients=mlp_homogeneous", "clients.count=2", "rounds=100000", "eval_every=1"]
    typed += ["local.tau=1", "engine=processes", "engine.hosts=1", f"outputs={tmp_path}"]
    with subprocess.Popen(
        [sys.executable, SCRIPT, *typed],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    ) as going:
        assert going.stdout is not None
        while not going.stdout.readline().startswith("round 2/"):
            assert going.poll() is None
        started = children(going.pid)
        assert started
        if number == signal.SIGKILL:
            going.kill()
        else:  # as Ctrl-C and Slurm do with theirs, to all processes of a group
            os.killpg(going.pid, number)
        _, said = going.communicate(timeout=60)
    assert going.returncode == code
    assert "Traceback" not in said
    deadline = time.monotonic() + 30
    while any(map(there, started)):
        assert time.monotonic() < deadline
    if number == signal.SIGTERM:
        assert [*tmp_path.rglob("checkpoint/round-*")]

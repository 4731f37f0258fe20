"""What scripts/faults.py tries for minutes, tried for seconds."""

import json
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from mmap import mmap
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from conftest import Build, options

from ifl.comm.codecs import Codec, Float32
from ifl.comm.message import Message, encode
from ifl.errors import ConfigError
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.ifl import IFL
from ifl.runs.checkpoint import TENSORS
from ifl.runs.folder import Round, RunFolder
from ifl.trials.faults import fuzz as fuzzing
from ifl.trials.faults import target as decoder
from ifl.trials.faults.codecs import codecs
from ifl.trials.faults.files import Difference, differences
from ifl.trials.faults.fuzz import fuzz, in_step
from ifl.trials.faults.kills import cases
from ifl.trials.faults.soak import GROWTH, soak
from ifl.trials.faults.target import AGREED, DefectError, Target

# --- kills


def test_the_cases_hold_every_method_codec_and_optimizer() -> None:
    typed = {override for case in cases() for override in case}
    for group, default in (("method", ""), ("codec", "float32"), ("optimizer", "momentum")):
        assert {f"{group}={name}" for name in options(group) if name != default} <= typed


KILLS = """
import json
from ifl.trials.faults.kills import campaign
print(json.dumps(campaign(3, 1, print).__dict__))
"""


def test_runs_that_are_killed_lose_nothing() -> None:
    ended = subprocess.run([sys.executable, "-c", KILLS], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    *told, last = ended.stdout.splitlines()
    tally = json.loads(last)
    assert tally["kills"] == 3
    assert tally["runs"] >= len(told) == 3
    assert tally["differing_bytes"] == tally["lost_rows"] == tally["lost_checkpoints"] == 0


def test_every_loss_is_counted(tiny: Build, tmp_path: Path) -> None:
    whole, other = tmp_path / "whole", tmp_path / "other"
    with RunFolder(whole) as folder:
        about = {"config": {"outputs": "here"}, "recipe": "of here"}
        run(tiny(IFL()), folder, about, Schedule(3, checkpoint_every=1))
    shutil.copytree(whole, other)
    assert differences(whole, other) == (0, 0)

    def spoilt(name: str, spoil: Callable[[str], str]) -> Difference:
        path, text = other / name, (whole / name).read_text()
        path.write_text(spoil(text))
        found = differences(whole, other)
        path.write_text(text)
        return found

    rows = (whole / "rounds.csv").read_text().splitlines(keepends=True)
    assert spoilt("rounds.csv", lambda _: "".join(rows[:-1])).rows == 1
    assert spoilt("rounds.csv", lambda t: t + rows[-1]).bytes > 10
    slow = [row.rpartition(",")[0] + ",9.9\n" for row in rows]
    assert spoilt("rounds.csv", lambda _: "".join(slow)) == (0, 0)
    assert spoilt("traffic.csv", lambda t: t.replace("3,up,1,", "3,up,9,", 1)) == (1, 1)
    assert spoilt("compositions.csv", lambda t: t + "4,0,0,0.5\n") == (10, 0)
    assert spoilt("partition.csv", lambda _: "").bytes > 10
    later = {"started": "later", "ended": "later", "resumed": ["then"], "recipe": "of there"}
    kept = json.loads((whole / "run.json").read_text())
    moved = {**kept, **later, "config": {"outputs": "there"}}
    assert spoilt("run.json", lambda _: json.dumps(moved)) == (0, 0)
    cut = {**kept, "totals": {**kept["totals"], "rounds": 9}}
    assert spoilt("run.json", lambda _: json.dumps(cut)) == (1, 0)
    path = other / "checkpoint" / "round-3" / TENSORS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert differences(whole, other) == (1, 0)


# --- messages


def test_some_thousand_messages_led_by_coverage_raise_nothing_but_the_one_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if sys.platform == "linux" and sys.version_info >= (3, 11):
        assert fuzz(3_000, 1, print), capsys.readouterr().out
        said = capsys.readouterr().out
        assert said.startswith(f"3000 messages to {', '.join(options('codec'))}: ")
    else:
        pytest.skip("Atheris has no package for this platform")


def test_without_atheris_the_fuzz_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="the fuzz needs Atheris, which is not installed: pip"):
        fuzz(10, 1, print)


@pytest.fixture(scope="module")
def made() -> Mapping[str, Codec]:
    return codecs()


@pytest.fixture
def target(made: Mapping[str, Codec]) -> Target:
    return Target(made)


@pytest.fixture(autouse=True)
def _traced() -> Any:
    """Let Python count its bytes, as the fuzz does."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_honest_messages_of_every_codec_and_form_fit(target: Target) -> None:
    for message in target.honest():
        target(message)
    assert target.fitted == target.seen == 4 * len(options("codec"))
    assert target.largest > 24


def test_a_change_in_step_declares_the_length_that_the_header_has(target: Target) -> None:
    message, rolls = target.honest()[0], Random(0)
    changed = {in_step(message, lambda part: part + b" ", rolls) for _ in range(9)}
    assert len(changed) == 2
    lengths = {int.from_bytes(other[1:9], "little") for other in changed}
    held = int.from_bytes(message[1:9], "little")
    assert lengths == {held, held + 1}
    assert {len(other) for other in changed} == {len(message) + 1}


Z = encode(Message(z=torch.ones(3, 2), y=torch.zeros(3, dtype=torch.int64)), Float32(), 10)
FITS = Message(z=torch.ones(3, 2), y=torch.zeros(3, dtype=torch.int64))


def plain(target: Target) -> bytes:
    """Return Z as the fuzz would hand it to the plain codec and the form of a fusion batch."""
    way = [name for name, _ in target.ways].index("float32")
    return bytes([way]) + Z


def other(**tensors: torch.Tensor) -> Message:
    return Message(**{**FITS.tensors, **tensors})


def late(seconds: float) -> Message:
    """Return what fits, after keeping the processor busy for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return FITS


@pytest.mark.parametrize(
    "defect",
    [
        lambda *_: other(z=torch.ones(3, 3)),
        lambda *_: other(z=torch.ones(3, 2).double()),
        lambda *_: other(z=torch.full((3, 2), float("nan"))),
        lambda *_: other(y=torch.tensor([0, 1, 10])),
        lambda *_: other(more=torch.ones(1)),
        lambda *_: (torch.zeros(10**6), FITS)[1],
        lambda *_: (bytearray(10**6), FITS)[1],
        lambda *_: late(0.06),
    ],
)
def test_a_decoder_with_a_defect_is_found_out(
    defect: Callable[..., Message], target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "SLOW_SECONDS", 0.05)
    target(plain(target))
    target.decode = defect
    with pytest.raises(DefectError):
        target(plain(target))


def test_an_error_of_another_type_or_a_size_that_is_none_is_found_out(target: Target) -> None:
    def failing(*_: object) -> Message:
        raise KeyError("z")

    real, target.decode = target.decode, failing  # type: ignore[assignment]
    with pytest.raises(KeyError):
        target(plain(target))
    target.decode, target.sizes = real, lambda parsed: {"z": len(parsed.payload) - 1}
    with pytest.raises(DefectError, match="are counted as"):
        target(plain(target))

    assert AGREED["B"] == 3


# --- memory


def test_memory_is_flat_over_rounds_with_checkpoints_and_a_leak_is_seen() -> None:
    before, after = soak("ifl", 120, settled=40)
    assert 0 < after < before * (1 + GROWTH)
    kept: list[mmap] = []

    def leak(row: Round) -> None:
        kept.append(mmap(-1, 2 * 10**6))  # pages of their own: malloc would take what others freed
        kept[-1].write(b"\1" * 2 * 10**6)

    before, after = soak("ifl", 120, settled=40, watch=leak)
    assert after > before * (1 + GROWTH)

"""A run that is killed and goes on ends as if it had never been away."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from conftest import EVERY, NARROW, SMALL, Build, composed, equal, options, tensors
from interrupted import SCRIPT, TYPED, assert_equal_files, here
from liars import Liar
from torch import nn

from ifl.cli.build import assemble
from ifl.cli.console import Progress
from ifl.client.state import learner_state, load_learner
from ifl.errors import ConfigError
from ifl.federation.build import Federation
from ifl.federation.engine import Engine
from ifl.federation.member import Member
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.base import Method
from ifl.methods.centralized import Centralized
from ifl.methods.cse_fsl import CSEFSL
from ifl.methods.feddistill import FedDistill
from ifl.methods.fedgh import FedGH
from ifl.methods.fedlite import FedLite
from ifl.methods.fedproto import FedProto
from ifl.methods.fedtgp import FedTGP
from ifl.methods.fl import FL
from ifl.methods.fml import FML
from ifl.methods.fsl import FSL
from ifl.methods.fsl_sage import FSLSAGE
from ifl.methods.ifl import IFL
from ifl.methods.ifl_statistics import IFLStatistics
from ifl.methods.lg_fedavg import LGFedAvg
from ifl.methods.local import Local
from ifl.methods.parts.replay import Align, Replay
from ifl.runs import checkpoint
from ifl.runs.folder import Round, RunFolder, read_about

SEVEN = Schedule(rounds=7, eval_every=3, checkpoint_every=2)
Make = Callable[[], Federation]


class KillError(Exception):
    """Stands for a kill."""


def small(*overrides: str) -> Federation:
    narrow = () if "clients=paper" in overrides else NARROW
    tiny = ("clients.count=2", "batch_size=4", "local.tau=1", "fusion.dim=16")
    return assemble(composed(*tiny, *narrow, *overrides))


def tear_lines(path: Path) -> None:
    for name in ("rounds", "traffic", "compositions"):
        with open(path / f"{name}.csv", "a") as table:
            table.write("6,1")


def played(federation: Federation, path: Path, kill_at: int | None = None) -> Engine:
    """Run seven rounds; or die at one whose row is written, leaving torn lines behind it."""

    def watch(row: Round) -> None:
        if row.round == kill_at:
            raise KillError

    with RunFolder(path) as folder:
        try:
            run(federation, folder, {}, SEVEN, watch)
        except KillError:
            tear_lines(path)
    return federation.engine


def played_and_left(federation: Federation, path: Path, left: Path, kill_at: int) -> Engine:
    """Run seven rounds, and leave elsewhere what a kill at one of them would have left."""

    def watch(row: Round) -> None:
        if row.round == kill_at:
            shutil.copytree(path, left)
            tear_lines(left)

    with RunFolder(path) as folder:
        run(federation, folder, {}, SEVEN, watch)
    return federation.engine


def assert_goes_on(make: Make, tmp_path: Path, kill_at: int = 5, then: Make | None = None) -> None:
    """Kill a run and go on with it, as ``then`` makes it if that is given: nothing differs."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = tensors(played_and_left(make(), whole, killed, kill_at).state())
    assert [path.name for path in (killed / "checkpoint").iterdir()] == ["round-4"]
    torch.rand(100)  # a new process is nowhere in torch's global stream
    engine = played((then or make)(), killed)
    assert_equal_files(whole, killed)
    assert len(expected) > 10
    assert equal(expected, tensors(engine.state()))


@pytest.mark.parametrize("option", ["ifl", "fl", "local", "centralized"])
def test_a_method_goes_on_bit_for_bit_when_all_are_there(option: str, tmp_path: Path) -> None:
    assert_goes_on(lambda: small(f"method={option}"), tmp_path)


@pytest.mark.parametrize("typed", EVERY)
def test_every_method_goes_on_bit_for_bit_when_some_are_away(typed: str, tmp_path: Path) -> None:
    away = ("clients.count=4", "participation.fraction=0.5", "participation.dropout=0.3")
    one, two = (
        partial(small, *f"method={typed}".split(), *away, f"runtime.workers={n}") for n in (1, 2)
    )
    assert_goes_on(one, tmp_path, then=two)  # and with two workers, which change nothing
    torch.set_num_threads(1)


@pytest.mark.parametrize("method", ["ifl", "fsl", "centralized", "fedgh"])
def test_views_of_images_and_falling_rates_go_on_bit_for_bit(method: str, tmp_path: Path) -> None:
    falling = ("augment=elastic", "optimizer.decay_rounds=6")
    assert_goes_on(lambda: small(f"method={method}", *falling), tmp_path)


@pytest.mark.parametrize(
    "method",
    [
        IFL(tau=1),
        FL(tau=1),
        FSL(tau=1, sync_base=True),
        LGFedAvg(tau=1),
        FedProto(tau=1),
        FedGH(tau=1),
        FML(tau=1),
        FedTGP(tau=1, epochs=2),
        FedDistill(tau=1),
        FL(tau=1, send="updates", error_feedback=True),
        CSEFSL(tau=1, h=1),
        FedLite(tau=1, width=4),
        FSLSAGE(tau=2, h=1, align_every=3, sync_base=True),
        IFLStatistics(tau=1, steps=2, align=Align(1.0)),
    ],
)
def test_after_a_refused_upload_too(method: Method, tiny: Build, tmp_path: Path) -> None:
    liar = Liar(method, round=4)  # the round of the checkpoint: it has to know who was out
    assert_goes_on(lambda: tiny(liar, count=3, on_bad_upload="skip"), tmp_path)


def test_samples_that_came_late_stay_in_their_order(tiny: Build, tmp_path: Path) -> None:
    liar = Liar(Centralized(tau=1), round=1)
    assert_goes_on(lambda: tiny(liar, count=3, on_bad_upload="skip"), tmp_path)


@pytest.mark.parametrize(
    "typed",
    [
        *options("codec"),
        "int4 codec.rounding=stochastic",
        "int8 codec.rounding=stochastic codec.zstd=3 method=fl participation.dropout=0.3",
        "int4 codec.rounding=stochastic method=fsl method.sync_base=true",
    ],
)
def test_every_codec_goes_on_bit_for_bit(typed: str, tmp_path: Path) -> None:
    assert_goes_on(lambda: small(*f"codec={typed}".split()), tmp_path)


@pytest.mark.parametrize("option", options("optimizer"))
@pytest.mark.parametrize("method", ["ifl", "centralized"])
def test_every_optimizer_goes_on_bit_for_bit(option: str, method: str, tmp_path: Path) -> None:
    assert_goes_on(lambda: small(f"optimizer={option}", f"method={method}"), tmp_path)


@pytest.mark.parametrize(
    "typed",
    [
        "method=fsl method.server=per_client method.sync_base=true optimizer=adam",
        "method=ifl clients=paper clients.count=5 fusion.dim=8",
        "method=ifl partition=dirichlet clients.count=3 batch_size=32",
        "method=ifl method.relay=balanced method.relay_rows=5 method.upload.pick=loss",
        "method=ifl_aligned privacy.label_epsilon=1 privacy.clip=1 privacy.noise=0.5",
    ],
)
def test_other_settings_go_on_bit_for_bit(typed: str, tmp_path: Path) -> None:
    assert_goes_on(lambda: small(*typed.split()), tmp_path)


class Noisy(nn.Module):
    """Draws, keeps running statistics, and counts in a buffer that no state dict has."""

    def __init__(self, block: nn.Module, width: int) -> None:
        super().__init__()
        self.block, self.norm, self.drop = block, nn.BatchNorm1d(width), nn.Dropout(0.5)
        self.seen: torch.Tensor
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor = self.drop(self.norm(self.block(x)))
        if self.training:
            self.seen += 1
        return z / (1 + 0.01 * self.seen)


ALIGNED = IFL(replay=Replay(pools=3, steps=3), align=Align(1.0))


@pytest.mark.parametrize("method", [IFL(), ALIGNED, Local(), FSL(), FSL(server="per_client")])
def test_dropout_and_every_buffer_go_on_bit_for_bit(
    method: IFL | Local | FSL, tiny: Build, tmp_path: Path
) -> None:
    noisy = Member("noisy", lambda: Noisy(SMALL.base(), 8), lambda: Noisy(SMALL.modular(), 4))
    assert_goes_on(lambda: tiny(method, noisy), tmp_path)


@pytest.mark.parametrize("name", ["AdamW", "NAdam", "RMSprop", "Adagrad", "ASGD", "Rprop"])
def test_other_optimisers_of_torch_go_on_bit_for_bit(
    name: str, tiny: Build, tmp_path: Path
) -> None:
    maker = getattr(torch.optim, name)
    assert_goes_on(lambda: tiny(Local(), optimizer=maker), tmp_path)


def test_a_run_killed_before_its_first_checkpoint_starts_again(tiny: Build, tmp_path: Path) -> None:
    played(tiny(IFL()), tmp_path / "whole")
    played(tiny(IFL()), tmp_path / "killed", kill_at=1)
    played(tiny(IFL()), tmp_path / "killed")
    assert_equal_files(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("step", [(checkpoint, "write"), (RunFolder, "describe")])
def test_a_kill_at_the_end_loses_neither_the_networks_nor_the_end(
    step: tuple[Any, str], tiny: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(*step)

    def dying(*arguments: Any) -> None:
        if 7 in arguments or any(isinstance(a, dict) and a.get("finished") for a in arguments):
            raise KillError
        real(*arguments)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = tensors(played(tiny(IFL()), whole).state())
    with monkeypatch.context() as patch:
        patch.setattr(*step, dying)
        played(tiny(IFL()), killed)
    about = read_about(killed) or {}
    assert about["finished"] is False
    played(tiny(IFL()), killed)
    assert_equal_files(whole, killed)
    assert (read_about(killed) or {})["totals"]["rounds"] == 7
    assert [path.name for path in (killed / "checkpoint").iterdir()] == ["round-7"]
    kept = checkpoint.newest(killed)
    assert kept is not None
    assert equal(expected, tensors(kept.state["engine"]))


def test_run_json_keeps_the_first_start_and_every_time_it_went_on(
    tiny: Build, tmp_path: Path
) -> None:
    played(tiny(IFL()), tmp_path, kill_at=3)
    first = read_about(tmp_path) or {}
    assert first["finished"] is False
    assert "resumed" not in first
    with RunFolder(tmp_path) as folder:
        folder.describe({**first, "started": "2026-01-01T00:00:00+00:00"})
    played(tiny(IFL()), tmp_path, kill_at=5)
    played(tiny(IFL()), tmp_path)
    last = read_about(tmp_path) or {}
    assert last["started"] == "2026-01-01T00:00:00+00:00"
    assert len(last["resumed"]) == 2
    assert last["finished"] is True
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["round-7"]


def test_seconds_go_on_and_count_towards_their_limit(tiny: Build, tmp_path: Path) -> None:
    played(tiny(IFL()), tmp_path, kill_at=5)
    kept = checkpoint.newest(tmp_path)
    assert kept is not None
    checkpoint.write(tmp_path, 4, {**kept.state, "seconds": 1000.0})
    with RunFolder(tmp_path) as folder:
        final = run(tiny(IFL()), folder, {}, replace(SEVEN, seconds=900))
    assert final["stop_reason"] == "stop.seconds=900 reached"
    assert final["totals"]["rounds"] == 5
    assert 1000 < final["totals"]["seconds"] < 1100


# --- what is on disk


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def spoil_tensors(path: Path) -> None:
    flip(path / "checkpoint" / "round-4" / checkpoint.TENSORS)


def spoil_rest(path: Path) -> None:
    file = path / "checkpoint" / "round-4" / checkpoint.REST
    file.write_text(file.read_text().replace('"up": ', '"up": 1'))


def tear(path: Path) -> None:
    os.truncate(path / "checkpoint" / "round-4" / checkpoint.TENSORS, 100)


def lose_rows(path: Path) -> None:
    (path / "traffic.csv").unlink()


@pytest.mark.parametrize("spoil", [spoil_tensors, spoil_rest, tear, lose_rows])
def test_a_spoilt_checkpoint_is_not_loaded_and_the_run_starts_again(
    spoil: Callable[[Path], None], tiny: Build, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    played(tiny(IFL()), whole)
    played(tiny(IFL()), killed, kill_at=5)
    spoil(killed)
    began: list[int] = []
    with RunFolder(killed) as folder:
        run(tiny(IFL()), folder, {}, SEVEN, begin=began.append)
    assert began == [0]
    assert_equal_files(whole, killed)


def test_the_newest_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    saved: dict[str, bytes] = {}
    for number in (9, 10):
        path = tmp_path / "checkpoint" / f"round-{number}"
        checkpoint.write(tmp_path, number, {"x": torch.tensor([number])})
        if number == 9:
            saved = {file.name: file.read_bytes() for file in path.iterdir()}
    older = tmp_path / "checkpoint" / "round-9"
    assert not older.exists()  # removed when the next one was whole
    older.mkdir()
    for name, content in saved.items():
        (older / name).write_bytes(content)
    (tmp_path / "checkpoint" / "round-11.partial").mkdir()
    newest = checkpoint.newest(tmp_path)
    assert newest is not None
    assert newest.round == 10
    assert newest.state["x"].tolist() == [10]
    flip(path / checkpoint.TENSORS)
    newest = checkpoint.newest(tmp_path)
    assert newest is not None
    assert newest.round == 9


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def dying(after: int, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == after:
                raise KillError
            return real(*arguments)

        return step

    def state(n: int) -> dict[str, torch.Tensor]:
        return {"x": torch.full((50,), n)}

    outcomes = []
    for after in range(1, 8):
        run_folder, steps = tmp_path / str(after), 0
        checkpoint.write(run_folder, 2, state(2))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", dying(after, os.fsync))
            patch.setattr(Path, "rename", dying(after, Path.rename))
            with suppress(KillError):
                checkpoint.write(run_folder, 4, state(4))
        kept = checkpoint.newest(run_folder)
        assert kept is not None
        assert kept.state["x"].tolist() == [kept.round] * 50
        outcomes.append(kept.round)
    assert outcomes == [2, 2, 2, 2, 4, 4, 4]


def test_numbers_text_and_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    state = {
        "a": {"b/c": torch.arange(6).reshape(2, 3).T, "b": {"c": torch.tensor(1e-40)}},
        "list": [1, 0.1, None, True, "text", torch.empty(0, dtype=torch.int64)],
        "infinite": float("inf"),
    }
    checkpoint.write(tmp_path, 3, state)
    kept = checkpoint.newest(tmp_path)
    assert kept is not None
    assert kept.state["a"]["b/c"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert torch.equal(kept.state["a"]["b"]["c"], torch.tensor(1e-40))
    assert kept.state["list"][:5] == [1, 0.1, None, True, "text"]
    assert kept.state["list"][5].dtype == torch.int64
    assert kept.state["infinite"] == float("inf")
    with pytest.raises(ConfigError, match="/a/0 is a object; set checkpoint_every=null"):
        checkpoint.write(tmp_path, 4, {"a": [object()]})
    assert checkpoint.newest(tmp_path) is not None


def test_moments_come_back_in_the_memory_layout_of_their_parameters() -> None:
    first, second = (nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last) for _ in range(2))
    made = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (first, second)]
    first(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))).sum().backward()
    made[0].step()
    state = json.loads(json.dumps({"settings": learner_state(first, made[0])["settings"]}))
    moments = [
        {i: {k: v.contiguous() for k, v in entry.items()} for i, entry in m.items()}
        for m in learner_state(first, made[0])["moments"]
    ]
    kept = {**learner_state(first, made[0]), **state, "moments": moments}
    load_learner(kept, second, made[1])
    buffer = made[1].state[second.weight]["momentum_buffer"]
    assert buffer.stride() == second.weight.stride() != buffer.contiguous().stride()
    assert torch.equal(buffer, made[0].state[first.weight]["momentum_buffer"])


def test_a_checkpoint_of_other_networks_is_refused_in_a_sentence(
    tiny: Build, tmp_path: Path
) -> None:
    played(tiny(IFL()), tmp_path, kill_at=5)
    before = (tmp_path / "rounds.csv").read_bytes()
    other = Member("small", SMALL.base, lambda: nn.Sequential(SMALL.modular(), nn.Identity()))
    with pytest.raises(ConfigError, match=r"by other networks .* client 0 .*fresh=true"):
        played(tiny(IFL(), other), tmp_path)
    assert (tmp_path / "rounds.csv").read_bytes() == before


# --- by the command line


Process = subprocess.Popen[str]


@pytest.fixture
def start() -> Iterator[Callable[[Path], Process]]:
    """Return a starter of the command in a process of its own; none outlives the test."""
    started: list[Process] = []

    def popen(outputs: Path) -> Process:
        started.append(
            subprocess.Popen(
                [sys.executable, SCRIPT, *TYPED, f"outputs={outputs}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        )
        return started[-1]

    yield popen
    for process in started:
        process.kill()
        process.communicate()


def checkpoints(outputs: Path) -> set[Path]:
    return set(outputs.glob("runs/*/checkpoint/round-*[0-9]"))


def signal_after_a_checkpoint(process: Process, outputs: Path, sent: int) -> None:
    """Send a signal to the process once it has written a checkpoint of its own."""
    before, deadline = checkpoints(outputs), time.monotonic() + 100
    while not checkpoints(outputs) - before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(sent)


def test_one_command_goes_on_after_kills_and_leaves_a_busy_run_alone(
    start: Callable[[Path], Process],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert here(monkeypatch, *TYPED, f"outputs={tmp_path / 'never'}") == 0
    (whole,) = (tmp_path / "never" / "runs").iterdir()
    outputs = tmp_path / "killed"
    typed = [*TYPED, f"outputs={outputs}"]

    first = start(outputs)
    signal_after_a_checkpoint(
        first, outputs, signal.SIGSTOP
    )  # it stays alive, and the lock its own
    capsys.readouterr()
    assert here(monkeypatch, "-m", "seed=0", *typed) == 1
    (folder,) = {path.parent for path in outputs.rglob("run.json")}
    said, complained = capsys.readouterr()
    assert f"\nSkipped: {folder} is already being executed by process {first.pid} on " in said
    assert complained == ""
    first.kill()
    assert first.wait() == -signal.SIGKILL

    second = start(outputs)
    signal_after_a_checkpoint(second, outputs, signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "__call__", Mock(side_effect=KeyboardInterrupt))
        assert here(monkeypatch, *typed) == 130
    said, complained = capsys.readouterr()
    assert "Resuming from round " in said
    assert complained == "\nInterrupted. Run the same command again to resume.\n"

    assert here(monkeypatch, *typed) == 0
    said, complained = capsys.readouterr()
    assert f": {folder}" in said[said.index("Resuming from round ") :].splitlines()[0]
    assert complained == ""
    assert_equal_files(whole, folder)
    about = read_about(folder) or {}
    assert len(about["resumed"]) == 3
    assert about["totals"] | {"seconds": 0} == (read_about(whole) or {})["totals"] | {"seconds": 0}
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def test_a_diverged_run_is_not_trained_again_unless_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = (*TYPED, "optimizer.lr=1e30", f"outputs={tmp_path}")
    for trains, more in ((True, []), (False, []), (True, ["fresh=true"])):
        assert here(monkeypatch, *typed, *more) == 1
        said, complained = capsys.readouterr()
        assert ("Training samples" in said) == trains
        assert ("Error: this run has diverged: IFL in round " in complained) != trains
        assert ("(fresh=true tries again beside" in complained) != trains
    assert len(list(tmp_path.glob("runs/*"))) == 2


def test_a_bad_upload_ends_the_run_in_a_sentence_or_is_told_by_rounds_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*TYPED, "rounds=3", f"outputs={tmp_path}", "method._target_=liars.lying_ifl"]
    assert here(monkeypatch, *typed) == 1
    complained = capsys.readouterr().err
    assert complained.startswith(
        "Error: Liar in round 2: upload 1 of client 1 (fully connected) is r"
    )
    assert complained.count("\n") == 1
    (stopped,) = tmp_path.glob("runs/*")
    assert str((read_about(stopped) or {})["stop_reason"]).startswith(
        "bad upload: Liar in round 2: "
    )

    assert here(monkeypatch, *typed, "on_bad_upload=skip") == 0
    (skipped,) = set(tmp_path.glob("runs/*")) - {stopped}
    rows = [line.split(",")[-3:-1] for line in (skipped / "rounds.csv").read_text().splitlines()]
    assert rows == [["clients", "refused"], ["4", "0"], ["3", "1"], ["4", "0"]]
    traffic = (skipped / "traffic.csv").read_text()
    assert "\n2,up,1,z," in traffic
    assert "\n2,down,1," not in traffic

"""A run resumes only what it is itself: settings, data, partition, networks and code."""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CLASSES, DIM, MOMENTUM, SHAPE, SMALL, TINY
from interrupted import TYPED, assert_equal_files, here
from torch import nn

from ifl.cli.console import Progress
from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Codec, Float32
from ifl.comm.quantise import Int4
from ifl.data.dataset import Dataset, Shard
from ifl.data.partition import Iid, Partition
from ifl.errors import ConfigError
from ifl.federation.build import Federation, build
from ifl.federation.identity import data_digest, plain, structure
from ifl.federation.member import Member
from ifl.federation.participation import Participation
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.base import Method
from ifl.methods.ifl import IFL
from ifl.methods.local import Local
from ifl.runs import checkpoint
from ifl.runs.folder import Round, RunFolder, read_about

SEVEN = Schedule(rounds=7, eval_every=3, checkpoint_every=2)


class KillError(Exception):
    """Stands for a kill."""


def made(
    data: Dataset = TINY,
    partition: Partition = Iid(),  # noqa: B008 (frozen)
    member: Member = SMALL,
    count: int = 2,
    method: Method = IFL(tau=1),  # noqa: B008 (frozen)
    codec: Codec = Float32(),  # noqa: B008 (frozen)
    seed: int = 0,
    optimizer: Any = MOMENTUM,
    **more: Any,
) -> Federation:
    training = Training(Optimizers(optimizer, optimizer), batch_size=8, seed=seed)
    return build(data, partition, [member], count, method, training, codec, DIM, **more)


def play(
    federation: Federation,
    path: Path,
    kill_at: int | None = None,
    schedule: Schedule = SEVEN,
    about: dict[str, Any] | None = None,
) -> str:
    """Run, or die at a round; return what the run said that it resumes."""
    said: list[str] = []

    def watch(row: Round) -> None:
        if row.round == kill_at:
            raise KillError

    with RunFolder(path) as folder, suppress(KillError):
        run(federation, folder, about or {}, schedule, watch, say=said.append)
    return "".join(said)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(f): f.read_bytes() for f in files if f.name not in ("lock", "holder")}


def assert_refused(federation: Federation, path: Path, sentence: str, **more: Any) -> None:
    before = contents(path)
    with pytest.raises(ConfigError, match=sentence) as refusal:
        play(federation, path, **more)
    assert "fresh=true, or another folder" in str(refusal.value)
    assert contents(path) == before


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            {"optimizer": partial(torch.optim.SGD, lr=0.5)},
            "base.lr is 0.05 there and 0.5",
        ),
        ({"seed": 7}, "seed is 0 there and 7 here"),
        ({"codec": Int4()}, "codec is ifl.comm.codecs.Float32 there and ifl.comm.quantise.Int4"),
        ({"method": Local()}, "method is ifl.methods.ifl.IFL there and ifl.methods.local.Local"),
        ({"method": IFL(tau=2)}, "method.tau is 1 there and 2 here"),
        ({"count": 3}, "clients.count is 2 there and 3 here"),
        ({"participation": Participation(0.5)}, "participation.fraction is 1 there and 0.5 here"),
        ({"on_bad_upload": "skip"}, "on_bad_upload is stop there and skip here"),
    ],
)
def test_other_settings_are_not_resumed(
    other: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    play(made(), tmp_path, kill_at=5)
    assert_refused(made(**other), tmp_path, sentence)
    assert play(made(), tmp_path) == f"Resuming from round 4: {tmp_path}"


def test_a_checkpoint_says_itself_of_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*TYPED, "rounds=20", f"hydra.run.dir={tmp_path}"]
    show = Progress.__call__

    def dying(progress: Progress, row: Round) -> None:
        show(progress, row)
        if row.round == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "__call__", dying)
        assert here(monkeypatch, *typed) == 130
    (tmp_path / "run.json").unlink()
    before = contents(tmp_path)
    capsys.readouterr()
    assert here(monkeypatch, *typed, "optimizer.lr=0.5", "seed=7", "codec=int4") == 1
    complained = capsys.readouterr().err
    assert complained == (
        f"Error: the checkpoint in {tmp_path} is of another run: seed is 0 there and 7 here; put "
        "that back as it was, or start anew beside it (fresh=true, or another folder)\n"
    )
    assert contents(tmp_path) == before
    assert here(monkeypatch, *typed) == 0
    assert f"Resuming from round 5: {tmp_path}" in capsys.readouterr().out


def without(shard: Shard, place: int) -> Shard:
    kept = torch.arange(len(shard)) != place
    return Shard(shard.x[kept], shard.y[kept])


def relabelled(shard: Shard) -> Shard:
    return Shard(shard.x, (shard.y + 1) % CLASSES)


def retouched(shard: Shard) -> Shard:
    x = shard.x.clone()
    x[0, 0, 0, 0] += 1
    return Shard(x, shard.y)


@pytest.mark.parametrize("change", [lambda shard: without(shard, 5), relabelled, retouched])
@pytest.mark.parametrize("part", ["train", "test"])
def test_other_data_are_not_resumed(
    change: Callable[[Shard], Shard], part: str, tmp_path: Path
) -> None:
    play(made(), tmp_path, kill_at=5)
    shards = {"train": TINY.train, "test": TINY.test}
    shards[part] = change(shards[part])
    other = Dataset(TINY.name, shards["train"], shards["test"], SHAPE, CLASSES)
    assert_refused(made(other), tmp_path, "images or labels of the data set have changed")


@dataclass(frozen=True)
class Backwards:
    """Deals the samples in the other order than before, if told so."""

    def __call__(
        self, labels: np.ndarray, clients: int, generator: np.random.Generator
    ) -> list[np.ndarray]:
        dealt = Iid()(labels, clients, generator)
        return [part[::-1].copy() for part in dealt] if TURNED else list(dealt)


TURNED: list[bool] = []


def test_another_partition_is_not_resumed(tmp_path: Path) -> None:
    play(made(partition=Backwards()), tmp_path, kill_at=5)
    TURNED.append(True)
    try:
        assert_refused(made(partition=Backwards()), tmp_path, "partition deals other samples")
    finally:
        TURNED.clear()


OWN = """
from dataclasses import dataclass
import torch
from torch import nn
from ifl.methods.ifl import IFL

def bend(x):
    return torch.relu(x)

class Own(nn.Module):
    scale = 1.0

    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.scale * bend(self.layer(x.flatten(1)))

@dataclass(frozen=True)
class OwnIFL(IFL):
    def client_round(self, me, round_number, missed=None):
        return super().client_round(me, round_number, missed)
"""


@pytest.fixture
def written(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a writer of a user's module, which a new process would import as it is then."""
    folder = tmp_path_factory.mktemp("own")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> Any:
        (folder / "own_blocks.py").write_text(text)
        sys.modules.pop("own_blocks", None)
        importlib.invalidate_caches()
        return importlib.import_module("own_blocks")

    yield write
    sys.modules.pop("own_blocks", None)


def own(module: Any) -> Federation:
    inputs = int(np.prod(SHAPE))
    member = Member("own", lambda: module.Own(inputs, DIM), SMALL.modular)
    return made(member=member, method=module.OwnIFL(tau=1))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("bend(self.layer(x.flatten(1)))", "bend(self.layer(x.flatten(1))) / 2", "other networks"),
        (
            "torch.relu(x)",
            "torch.tanh(x)",
            "other networks than .* now, that of client 0",
        ),
        ("scale = 1.0", "scale = 2.0", "other networks than the code makes now"),
        ("self.layer = nn", "self.more = nn.Linear(1, 1); self.layer = nn", "other networks"),
        ("return super()", "round_number += 1; return super()", "code of the method has changed"),
    ],
)
def test_changed_code_is_not_resumed(
    old: str, new: str, sentence: str, written: Any, tmp_path: Path
) -> None:
    play(own(written(OWN)), tmp_path, kill_at=5)
    assert OWN.count(old) == 1
    assert_refused(own(written(OWN.replace(old, new))), tmp_path, sentence)
    same = OWN.replace("    scale", "    # of the output\n    scale").replace("(x):", "( x ) :")
    same = same.replace("def forward(self, x):", 'def forward(self, x):\n        """Bend."""')
    assert same != OWN
    assert play(own(written(same)), tmp_path) == f"Resuming from round 4: {tmp_path}"


def age(path: Path) -> None:
    """Make a checkpoint one of before, which does not say of what it is."""
    kept = checkpoint.newest(path)
    assert kept is not None
    state = {name: value for name, value in kept.state.items() if name != "identity"}
    checkpoint.write(path, kept.round, state)


def test_a_checkpoint_of_before_is_resumed_and_compared_by_what_there_is(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    play(made(), whole)
    play(made(), killed, kill_at=5)
    age(killed)
    with pytest.raises(ConfigError, match="seed is 0 there and 7 here"):
        play(made(seed=7), killed)
    about = json.loads((killed / "run.json").read_text())
    del about["config"]
    (killed / "run.json").write_text(json.dumps(about))
    assert play(made(), killed) == f"Resuming from round 4: {killed}"
    assert_equal_files(whole, killed)


def floats(shard: Shard) -> Shard:
    return Shard(shard.x.float(), shard.y)


def test_the_digest_of_the_data_is_in_run_json_and_is_that_of_values_types_and_shapes(
    tmp_path: Path,
) -> None:
    play(made(), tmp_path)
    about = read_about(tmp_path) or {}
    assert about["data_digest"] == data_digest(TINY)
    assert len(about["data_digest"]) == 64
    copies: Sequence[Shard] = [
        Shard(shard.x.transpose(2, 3).contiguous().transpose(2, 3), shard.y.clone())
        for shard in (TINY.train, TINY.test)
    ]
    assert data_digest(replace(TINY, train=copies[0], test=copies[1])) == data_digest(TINY)
    others = [
        replace(TINY, train=TINY.test, test=TINY.train),
        replace(TINY, train=floats(TINY.train), test=floats(TINY.test)),
    ]
    assert len({data_digest(data) for data in (TINY, *others)}) == 3


def test_a_structure_is_that_of_modules_and_shapes_not_of_values() -> None:
    first, second = nn.Linear(3, 4), nn.Linear(3, 4)
    assert structure(first) == structure(second)
    others = [nn.Linear(3, 5), nn.Linear(3, 4, bias=False), nn.Bilinear(3, 4, 1), nn.ReLU()]
    others += [nn.Linear(3, 4).double(), nn.Dropout(0.1), nn.Dropout(0.2)]
    assert len({structure(network) for network in (first, *others)}) == 8


def test_settings_hold_no_places_in_memory() -> None:
    odd: Any = object()
    for value in (Backwards(), lambda: 0, odd, partial(nn.Linear, 3, bias=odd)):
        assert "0x" not in json.dumps(plain(value))
        json.dumps(plain({"deep": [value, {"deeper": value}]}))

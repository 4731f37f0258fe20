"""Addresses of classes that have moved: yaml of before goes on working, in the same folders."""

from pathlib import Path

import pytest
from commands import QUICK, command, only_run
from conftest import composed
from hydra.utils import get_class
from omegaconf import OmegaConf

from ifl.cli import build
from ifl.cli.config import plain
from ifl.runs.identity import MOVED, fingerprint, relevant

ARGUMENTS: dict[str, dict[str, float]] = {"Dirichlet": {"alpha": 0.5}, "Classes": {"per_client": 2}}


@pytest.mark.parametrize("old", MOVED)
def test_an_address_of_before_makes_the_class_of_now_and_one_line(
    old: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_TOLD", set())
    arguments = ARGUMENTS.get(old.rpartition(".")[2], {})
    for _ in range(2):
        made = build.make(OmegaConf.create({"_target_": old, **arguments}))
        assert type(made) is get_class(MOVED[old])
    assert capsys.readouterr().out == f"{old} has moved; write _target_: {MOVED[old]}\n"


@pytest.mark.parametrize("old", MOVED)
def test_a_fingerprint_is_the_same_by_either_address(old: str) -> None:
    before, now = {"a": {"_target_": old}}, {"a": {"_target_": MOVED[old]}}
    assert fingerprint(before) == fingerprint(now)
    assert relevant(now) == {"a._target_": old}


def test_the_default_run_keeps_its_folder() -> None:
    assert fingerprint(plain(composed())) == "5f47e34f"


def test_yaml_of_before_finds_the_run_of_now(tmp_path: Path) -> None:
    codec = tmp_path / "mine" / "codec"
    codec.mkdir(parents=True)
    own = "_target_: ifl.integers.Int8\nper: row\nrounding: nearest\nlabels: packed\nzstd: null\n"
    (codec / "of_before.yaml").write_text(own, encoding="utf-8")
    typed = [f"--config-dir={tmp_path / 'mine'}", "codec=of_before", *QUICK]
    done = command(tmp_path / "outputs", *typed)
    assert done.returncode == 0, done.stderr
    line = "ifl.integers.Int8 has moved; write _target_: ifl.comm.quantise.Int8\n"
    assert done.stdout.count(line) == 1
    again = command(tmp_path / "outputs", "codec=int8", *QUICK)
    assert "Already finished" in again.stdout
    assert only_run(tmp_path)

"""The commands export, validate and compose, as vendors and a third party type them."""

import csv
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from conftest import composed
from omegaconf import OmegaConf

from ifl.__main__ import main
from ifl.blocks.files import read_block
from ifl.cli.build import assemble
from ifl.cli.config import plain
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.runs import checkpoint
from ifl.runs.folder import RunFolder

SMALL = ("clients.count=2", "batch_size=8", "local.tau=2", "fusion.dim=16", "data.shape=[1,8,8]")
DATA = "--data digits 'data.shape=[1,8,8]'"


def trained(path: Path, *overrides: str) -> Path:
    config = composed(*SMALL, *overrides)
    about = {"config": plain(config), "data": "Digits", "method": {"title": "IFL"}}
    with RunFolder(path) as folder:
        run(assemble(config), folder, about, Schedule(3, eval_every=3, checkpoint_every=5))
    return path


class Said(NamedTuple):
    code: int
    out: str
    err: str


Typed = Callable[[str], Said]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Return what a command line comes to."""

    def do(line: str) -> Said:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        code = main()
        return Said(code, *capsys.readouterr())

    return do


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of two different networks, and another one of other data."""
    folder = tmp_path_factory.mktemp("blocks")
    trained(folder / "run", "clients=paper")
    trained(folder / "other", "clients=mlp_homogeneous", "seed=1")
    return folder


def exported(place: Path, typed: Typed, run: str, client: int, block: str) -> Path:
    out = place / f"{run}-{block}-{client}"
    if not out.exists():
        said = typed(f"ifl export {place / run} {out} --client {client} --block {block}")
        assert said.code == 0, said.err
        assert said.err == "Note: its card names no licence; --licence TEXT does\n"
    return out


@pytest.mark.parametrize(("base", "modular"), [(0, 1), (1, 0), (1, 1)])
def test_composed_blocks_have_the_accuracy_of_their_run(
    base: int, modular: int, place: Path, typed: Typed
) -> None:
    blocks = [exported(place, typed, "run", base, "base")]
    blocks += [exported(place, typed, "run", modular, "modular")]
    said = typed(f"ifl compose {blocks[0]} {blocks[1]} {DATA}")
    assert said.code == 0, said.err
    table = pd.read_csv(place / "run" / "compositions.csv")
    (row,) = table[(table["base"] == base) & (table["modular"] == modular)].to_dict("records")
    right, of = said.out.splitlines()[-1].partition("(")[2].rstrip(")").split(" of ")
    assert int(right) / int(of) == row["accuracy"]
    measured = f"which measured {100 * row['accuracy']:.1f} % for them on Digits"
    assert measured in said.out
    assert "Digits, test part, 359 samples; the data of the base block's run" in said.out


def test_a_block_is_validated_and_described(place: Path, typed: Typed) -> None:
    out = exported(place, typed, "run", 0, "base")
    said = typed(f"ifl validate {out}")
    assert said.code == 0
    assert said.err == ""
    for line in (
        "Checked: its files are whole, nothing was unpickled, and it keeps the contract.",
        "takes     (B, 1, 8, 8) float32, images, scaling uint8 / 127.5 - 1, float32 in [-1, 1]",
        "gives     (B, 16) float32, z",
        "is        base block of client 0, IFL, 3 rounds, run ",
        "classes   0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "accuracy  with the modular block of 0: ",
        "licence   none named: ask before using it",
    ):
        assert f"\n{line}" in f"\n{said.out}"
    assert f"sha256    {read_block(out).digest} (of the card" in said.out
    assert typed(f"ifl validate {out / 'card.json'}").out == said.out


def test_a_card_tells_the_run_and_nothing_of_its_settings(place: Path, typed: Typed) -> None:
    out = exported(place, typed, "run", 1, "modular")
    card, about = (json.loads(p.read_text()) for p in (out / "card.json", place / "run/run.json"))
    assert card["data_sha256"] == about["data_digest"]
    assert [each["with"] for each in card["accuracies"]] == ["0", "1"]
    assert str(place) not in (out / "card.json").read_text()
    assert not {"seed", "config", "command"} & card.keys()


def test_blocks_of_different_runs_are_measured_with_a_word_of_what_to_expect(
    place: Path, typed: Typed
) -> None:
    base = exported(place, typed, "run", 0, "base")
    other = exported(place, typed, "other", 0, "modular")
    said = typed(f"ifl compose {base} {other} {DATA}")
    assert said.code == 0
    assert "they are of different runs, " in said.out
    assert "expect about chance, 10.0 %" in said.out
    assert "accuracy  " in said.out


def test_predictions_are_a_row_a_sample_and_never_overwritten(
    place: Path, tmp_path: Path, typed: Typed
) -> None:
    base = exported(place, typed, "run", 0, "base")
    modular = exported(place, typed, "run", 1, "modular")
    rest = f"{DATA} --part train --predictions {tmp_path}/new/guesses.csv"
    line = f"ifl compose {base} {modular} {rest}"
    said = typed(line)
    assert said.code == 0
    with (tmp_path / "new" / "guesses.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 1438
    assert all(row["class"] == row["guess"] for row in rows)
    right = sum(row["label"] == row["guess"] for row in rows)
    assert f"({right} of 1438)" in said.out
    again = typed(line)
    assert again.code == 1
    assert "guesses.csv is there already, and nothing is overwritten; name another" in again.err


WRONG = {
    "export RUN BASE --client 0 --block base": "is there already, and nothing is overwritten",
    "export RUN OUT --client 7 --block base": "7 has no base block; choose one of 0, 1",
    "export RUN OUT --client server --block modular": "server has no modular block; choose one of",
    "export EMPTY OUT --client 0 --block base": "holds no run.json; name the folder of a run",
    "export RUN OUT --client 0 --block base --samples floats": "has images as samples; leave",
    "validate RUN": "it lacks card.json; a block is card.json, weights.safetensors and program.pt2",
    "validate nowhere": "there is no such folder; ifl export RUN OUT --client K --block base makes",
    "compose MODULAR BASE --data digits": "the base block is named first, and the card there says",
    "compose BASE BASE --data digits": "the modular block is named second, and the card there says",
    "compose BASE MODULAR --data digits": "have [1, 28, 28]; data.shape=[1,8,8] resizes where data",
    "compose BASE MODULAR --data didgits": "data=didgits is not there; choose one of arrays, ",
    "compose BASE MODULAR --data breast_cancer": "and the data have [30]",
    "compose BASE MODULAR --data folder data.root=nowhere": "data.root: nowhere was looked for in ",
    "compose BASE MODULAR --data folder": "data.root has to be set",
    "compose BASE MODULAR --data digits data.shapes=3": "data.shapes is not in the configuration",
    "compose BASE MODULAR --data digits validation=2": "validation must be a fraction of the",
    "compose BASE MODULAR --data digits 'data.shape=[1,8,8]' --predictions /proc/x": "/proc/x",
}
USAGE = {
    "export": "the following arguments are required: ",
    "export RUN OUT --client -1 --block base": "must be the number of a client, 0 or above, or",
    "export RUN OUT --client x --block base": "must be the number of a client, 0 or above, or",
    "export RUN OUT --client 0 --block head": "argument --block: invalid choice: 'head'",
    "validate": "the following arguments are required: block",
    "compose BASE MODULAR": "the following arguments are required: --data",
    "compose BASE MODULAR --data digits seed=3": "must be data.KEY=value or validation=F, got seed",
    "compose BASE MODULAR --data digits --part all": "argument --part: invalid choice: 'all'",
}


@pytest.mark.parametrize("line", [*WRONG, *USAGE])
def test_a_wrong_line_is_one_sentence(
    line: str,
    place: Path,
    tmp_path: Path,
    typed: Typed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = {
        "RUN": place / "run",
        "BASE": exported(place, typed, "run", 0, "base"),
        "MODULAR": exported(place, typed, "run", 1, "modular"),
        "OUT": tmp_path / "out",
        "EMPTY": tmp_path,
    }
    full = " ".join(str(words.get(word, word)) for word in line.split(" "))
    before = (words["BASE"] / "card.json").read_bytes()
    if line in WRONG:
        said = typed(f"ifl {full}")
        (sentence,) = said.err.splitlines()
        assert said.code == 1
        assert sentence.startswith("Error: ")
        assert WRONG[line] in sentence
    else:
        with pytest.raises(SystemExit) as end:
            typed(f"ifl {full}")
        assert end.value.code == 2
        assert USAGE[line] in capsys.readouterr().err.splitlines()[-1]
    assert not [*tmp_path.iterdir()]
    assert (words["BASE"] / "card.json").read_bytes() == before


def test_a_run_of_before_has_to_be_told_its_samples(
    place: Path, tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checkpoint.newest

    def older(folder: Path) -> checkpoint.Checkpoint | None:
        last = whole(folder)
        assert last is not None
        for key in ("samples", "class_names"):
            last.state["blocks"]["agreed"].pop(key)
        return last

    monkeypatch.setattr(checkpoint, "newest", older)
    line = f"ifl export {place / 'run'} {tmp_path / 'out'} --client 0 --block base"
    said = typed(line)
    assert said.code == 1
    assert "--samples images or --samples floats says it" in said.err
    assert typed(f"{line} --samples images --licence MIT").code == 0
    assert read_block(tmp_path / "out").card.licence == "MIT"


@pytest.mark.parametrize("method", ["fsl", "fedproto", "relative"])
def test_blocks_of_other_methods_are_files_too(method: str, tmp_path: Path, typed: Typed) -> None:
    trained(tmp_path / "run", "clients=mlp_homogeneous", f"method={method}")
    table = pd.read_csv(tmp_path / "run" / "compositions.csv", dtype=str)
    row = table.iloc[-1]
    for kind in ("base", "modular"):
        out = f"{tmp_path / kind} --client {row[kind]} --block {kind} --licence MIT"
        said = typed(f"ifl export {tmp_path / 'run'} {out}")
        assert (said.code, said.err) == (0, "")
    said = typed(f"ifl compose {tmp_path / 'base'} {tmp_path / 'modular'} {DATA}")
    assert f"({round(float(row['accuracy']) * 359)} of 359)" in said.out


VENDORS = {
    "anns_network": """
from torch import nn
class Rows(nn.Module):
    def __init__(self, shape, fusion_dim):
        super().__init__()
        self.reader = nn.GRU(shape[2], 24, batch_first=True)
        self.out = nn.Linear(24, fusion_dim)
    def forward(self, x):
        return self.out(self.reader(x.flatten(1, 2))[1][-1]).relu()
""",
    "bens_network": """
from torch import nn
class Head(nn.Module):
    def __init__(self, fusion_dim, classes):
        super().__init__()
        self.norm = nn.BatchNorm1d(fusion_dim)
        self.out = nn.Linear(fusion_dim, classes)
    def forward(self, z):
        return self.out(self.norm(z))
""",
}
MEMBERS = """
- name: ann
  base: {_target_: anns_network.Rows}
  modular: {_target_: ifl.models.mlp_modular, widths: []}
- name: ben
  base: {_target_: ifl.models.mlp_base, widths: [32]}
  modular: {_target_: bens_network.Head}
"""


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "sources"
    folder.mkdir()
    for name, text in VENDORS.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in VENDORS:
        sys.modules.pop(name, None)


def test_a_third_party_composes_two_vendors_blocks_without_their_sources(
    sources: Path, tmp_path: Path, typed: Typed
) -> None:
    config = composed(*SMALL)
    config.clients.members = OmegaConf.create(MEMBERS)
    with RunFolder(tmp_path / "run") as folder:
        ends = Schedule(3, eval_every=3, checkpoint_every=5)
        run(assemble(config), folder, {"config": plain(config)}, ends)
    for line in ("ann --client 0 --block base", "ben --client 1 --block modular"):
        name, _, rest = line.partition(" ")
        assert typed(f"ifl export {tmp_path / 'run'} {tmp_path / name} {rest}").code == 0
    for name in VENDORS:  # the third party has neither
        (sources / f"{name}.py").unlink()
        del sys.modules[name]
    for name in ("ann", "ben"):
        assert typed(f"ifl validate {tmp_path / name}").code == 0
    said = typed(f"ifl compose {tmp_path / 'ann'} {tmp_path / 'ben'} {DATA}")
    assert said.code == 0, said.err
    table = pd.read_csv(tmp_path / "run" / "compositions.csv", dtype=str)
    (row,) = table[(table["base"] == "0") & (table["modular"] == "1")].to_dict("records")
    assert f"({round(float(row['accuracy']) * 359)} of 359)" in said.out
    assert not {*VENDORS} & {*sys.modules}

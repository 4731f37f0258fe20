"""Attacks on federations that are trained for a moment, by the script's own command line."""

import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest
import torch

from ifl.analysis.tables import Value
from ifl.client.privacy import ClippedNoise
from ifl.trials.attack import attacks, campaign
from ifl.trials.attack.command import main
from ifl.trials.attack.exposure import Noisy
from ifl.trials.attack.pages import told

MLPS = ["clients=mlp_homogeneous", "clients.count=2", "fusion.dim=48", "data.shape=[1,14,14]"]
Found = tuple[pd.DataFrame, campaign.Spoils]
SETTINGS = {
    "data": "digits",
    "overrides": MLPS,
    "rounds": 15,
    "images": 12,
    "victims": None,
    "epochs": 32,
    "tries": 2,
    "views": 1,
    "steps": 30,
    "weights_only": False,
    "clip": 1.0,
    "noise": [1.0],
}


@pytest.fixture(scope="module")
def found() -> Found:
    with pytest.MonkeyPatch.context() as patch:
        few = {attacks.PLAIN_NAME: attacks.PLAIN, "noise": Noisy(ClippedNoise(1.0, 1.0))}
        patch.setattr(campaign, "exposures", lambda *_: {**few, attacks.STATISTICS: None})
        spoils = campaign.attacked(Namespace(**SETTINGS), 0, campaign.PAPER)
    assert spoils.data == "Digits"
    return pd.DataFrame(spoils.rows), spoils


def test_every_attacker_tries_everything_that_travels(found: Found) -> None:
    rows, spoils = found
    by = rows.groupby(["client", "travels"]).size().unstack()
    assert by.pop("nothing").tolist() == by.pop("y alone").tolist() == [1, 1]
    assert (by == 3).all(axis=None)  # with three kinds of knowledge
    assert by.shape == (2, 3)
    assert rows[["ssim", "psnr"]].notna().all(axis=None)
    tried = pd.DataFrame(spoils.curves).groupby(["client", "knowledge", "attempt"]).size()
    assert tried.tolist() == [11] * 12  # at the start and ten times on the way
    assert {row.knowledge for row in spoils.labels} == {"none", "weights", "architecture", "pool"}


def test_z_tell_more_of_an_image_than_its_label_to_who_knows_the_block(found: Found) -> None:
    rows, _ = found
    psnr = rows.set_index(["client", "travels", "knowledge"]).psnr
    for client in (0, 1):
        label = psnr[client, "y alone", "none"]
        assert psnr[client, attacks.PLAIN_NAME, "weights"] > label + 0.5
        assert psnr[client, "noise", "weights"] < label + 0.5


def test_gains_are_over_the_label_of_the_same_client(found: Found) -> None:
    rows, _ = found
    for _, part in rows.groupby("client"):
        label = part[part.travels == "y alone"].iloc[0]
        assert label.ssim_gain == label.psnr_gain == 0
        assert (part.ssim - label.ssim).tolist() == pytest.approx(part.ssim_gain.tolist())
        assert (part.psnr - label.psnr).tolist() == pytest.approx(part.psnr_gain.tolist())


def test_class_means_give_one_image_for_a_class_and_z_one_for_an_image(found: Found) -> None:
    _, spoils = found
    for shown in spoils.pictures[campaign.PAPER]:
        means = shown.rows[f"{attacks.STATISTICS}, decoder, weights"]
        label = shown.rows["y alone, class mean image, none"]
        z = shown.rows[f"{attacks.PLAIN_NAME}, decoder, weights"]
        same = (label[:, None] == label).flatten(2).all(dim=2)  # (n, n): of one class
        assert same.sum() > len(label)
        assert same.equal((means[:, None] - means).abs().flatten(2).amax(dim=2) < 1e-4)
        assert ((z[:, None] - z).abs().flatten(2).amax(dim=2) < 1e-4).equal(
            torch.eye(len(z), dtype=torch.bool)
        )


def test_of_both_measures_those_are_said_whose_interval_is_above_0() -> None:
    up, down, wide, one = Value(0.3, 0.1), Value(-0.3, 0.1), Value(0.3, 0.4), Value(0.3)
    said = [told({"SSIM": a, "PSNR (dB)": b}) for a, b in ((up, up), (up, wide), (down, wide))]
    assert said == ["both", "SSIM", "neither"]
    assert told({"SSIM": wide, "PSNR (dB)": up}) == "PSNR"
    assert told({"SSIM": one, "PSNR (dB)": one}) == "-"


def test_the_same_command_writes_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--rounds=2", "--steps=5", "--seeds=3", "--images=3", "--noise", "0.1"]
    short += ["--epochs=0.5", "--tries=1", "--views=0", "--victims=1"]
    short += ["--targets", "paper", "frugal", "--jobs=1", "local.tau=2"]
    for folder in ("first", "again"):
        command = ["attack.py", *MLPS, *short, f"--out={tmp_path / folder}"]
        monkeypatch.setattr(sys, "argv", command)
        assert main() == 0
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert names == {"attack.csv", "attack.md", "attack.png", "curves.csv", "labels.csv"}
    for name in names:
        pair = [(tmp_path / folder / name).read_bytes() for folder in ("first", "again")]
        assert pair[0] == pair[1]
    assert (tmp_path / "first" / "attack.md").read_text() in capsys.readouterr().out

"""Attacks on federations that are trained for a moment, by the script's own command line."""

import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest
import torch

from ifl.client.privacy import ClippedNoise
from ifl.trials.attack import attacks, campaign
from ifl.trials.attack.command import main
from ifl.trials.attack.exposure import Noisy

MLPS = ["clients=mlp_homogeneous", "clients.count=2", "fusion.dim=48", "data.shape=[1,14,14]"]
Found = tuple[pd.DataFrame, list[attacks.Pictures]]


@pytest.fixture(scope="module")
def found() -> Found:
    options = Namespace(
        data="digits", overrides=MLPS, rounds=15, images=12, steps=120, clip=1.0, noise=[1.0]
    )
    with pytest.MonkeyPatch.context() as patch:
        few = {attacks.PAPER: attacks.PLAIN, "noise": Noisy(ClippedNoise(1.0, 1.0))}
        patch.setattr(campaign, "exposures", lambda *_: {**few, attacks.STATISTICS: None})
        rows, pictures, data = campaign.attacked(options, 0)
    assert data == "Digits"
    return pd.DataFrame(rows), pictures


def test_every_attacker_tries_everything_that_travels(found: Found) -> None:
    rows, _ = found
    by = rows.groupby(["client", "travels"]).size().unstack()
    assert by.pop("nothing").tolist() == by.pop("y alone").tolist() == [1, 1]
    assert (by == 6).all(axis=None)  # inverter and descent, each with three kinds of knowledge
    assert by.shape == (2, 3)
    assert rows[["ssim", "psnr"]].notna().all(axis=None)


def test_z_tell_more_of_an_image_than_its_label_to_who_knows_the_block(found: Found) -> None:
    rows, _ = found
    psnr = rows.set_index(["client", "travels", "attacker", "knowledge"]).psnr
    for client in (0, 1):
        label = psnr[client, "y alone", "class mean image", "none"]
        assert psnr[client, attacks.PAPER, "inverter", "weights"] > label + 0.5
        assert psnr[client, attacks.PAPER, "descent", "weights"] > label + 0.5
        assert psnr[client, "noise", "inverter", "weights"] < label + 0.5


def test_class_means_give_one_image_for_a_class_and_z_one_for_an_image(found: Found) -> None:
    _, pictures = found
    for shown in pictures:
        means = shown.rows[f"{attacks.STATISTICS}, inverter, weights"]
        label = shown.rows["y alone, class mean image, none"]
        z = shown.rows[f"{attacks.PAPER}, inverter, weights"]
        same = (label[:, None] == label).flatten(2).all(dim=2)  # (n, n): of one class
        assert same.sum() > len(label)
        assert same.equal((means[:, None] - means).abs().flatten(2).amax(dim=2) < 1e-4)
        assert ((z[:, None] - z).abs().flatten(2).amax(dim=2) < 1e-4).equal(
            torch.eye(len(z), dtype=torch.bool)
        )


def test_the_same_command_writes_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--rounds=2", "--steps=5", "--seeds=3", "--images=3", "--noise", "0.1"]
    for folder in ("first", "again"):
        command = ["attack.py", *MLPS, *short, f"--out={tmp_path / folder}"]
        monkeypatch.setattr(sys, "argv", command)
        assert main() == 0
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert names == {"attack.csv", "attack.md", "attack.png"}
    for name in names:
        pair = [(tmp_path / folder / name).read_bytes() for folder in ("first", "again")]
        assert pair[0] == pair[1]
    assert (tmp_path / "first" / "attack.md").read_text() in capsys.readouterr().out

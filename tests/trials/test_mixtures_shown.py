"""How much of a client's images its mixtures show, by the script's own command line."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from ifl.seeding import rng
from ifl.trials.attack.command import main
from ifl.trials.attack.mixtures import nearest
from ifl.trials.attack.similarity import psnr, ssim

MLPS = ["clients=mlp_homogeneous", "clients.count=2", "data.shape=[1,14,14]"]


def test_the_nearest_is_the_best_of_all() -> None:
    images = torch.rand(3, 1, 14, 14, generator=rng(0))
    candidates = torch.rand(20, 1, 14, 14, generator=rng(1))
    candidates[7] = images[1]
    likest, clearest = nearest(images, candidates)
    for n, image in enumerate(images):
        pairs = [(image[None], other[None]) for other in candidates]
        assert float(likest[n]) == pytest.approx(max(float(ssim(*pair)) for pair in pairs))
        assert float(clearest[n]) == pytest.approx(max(float(psnr(*pair)) for pair in pairs))
    assert float(likest[1]) == pytest.approx(1)
    assert float(clearest[1]) == torch.inf


def test_a_mixture_shows_less_the_more_images_are_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["attack.py", *MLPS, "--images=8", "--mixtures", "1", "2", "8", "--seeds=3"]
    monkeypatch.setattr(sys, "argv", [*command, f"--out={tmp_path}"])
    assert main() == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mixtures.csv", "mixtures.md"}
    assert (tmp_path / "mixtures.md").read_text() == capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "mixtures.csv")
    assert rows.groupby(["client", "mix"]).mixed.apply(list).tolist() == [[1, 2, 8]] * 4
    for (_, mix), part in rows.groupby(["client", "mix"]):
        shows = part.set_index("mixed")
        assert shows.own_ssim[1] == pytest.approx(1)
        assert shows.own_ssim[1] > shows.own_ssim[2]
        if mix == "across":
            assert shows.own_ssim[2] > shows.own_ssim[8]
            assert shows.own_ssim[2] > shows.others_ssim[2]


def test_more_images_than_a_client_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["attack.py", *MLPS, "--mixtures", "2000", f"--out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", command)
    assert main() == 1
    assert (
        "--mixtures need two clients, and no more images than each has of one class"
        in capsys.readouterr().err
    )

"""Clipping and noise as a function of z and a generator; ranges of the settings."""

import math
import sys
from typing import Any

import pytest
import torch

from ifl.client.privacy import ClippedNoise, Privacy
from ifl.errors import ConfigError


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_long_rows_are_shortened_and_the_others_are_as_they_were() -> None:
    z = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-6.0, 8.0]])
    clipped = ClippedNoise(clip=2)(z, stream())
    assert torch.allclose(clipped, torch.tensor([[1.2, 1.6], [0.3, 0.4], [0, 0], [-1.2, 1.6]]))
    assert torch.equal(clipped[1:3], z[1:3])
    assert torch.equal(ClippedNoise(clip=1e300)(z, stream()), z)


def test_noise_has_its_deviation_whatever_the_row() -> None:
    z = torch.zeros(400, 500)
    z[:200, 0] = 100
    noise = ClippedNoise(clip=4, noise=0.5)(z, stream()) - ClippedNoise(clip=4)(z, stream())
    for part in (noise[:200], noise[200:]):
        n = part.numel()
        assert abs(part.mean()) < 4.5 * 2 / math.sqrt(n)
        assert abs(part.std() - 2) < 4.5 * 2 / math.sqrt(2 * n)
    assert abs((noise[:200] * noise[200:]).mean()) < 4.5 * 4 / math.sqrt(noise.numel() / 2)


def test_equal_streams_give_equal_noise_and_z_is_left_alone() -> None:
    z = torch.randn(8, 16)
    before = z.clone()
    mechanism = ClippedNoise(1, 0.5)
    assert torch.equal(mechanism(z, stream()), mechanism(z, stream()))
    draws = stream()
    assert not torch.equal(mechanism(z, draws), mechanism(z, draws))
    assert torch.equal(z, before)


def test_gradients_pass() -> None:
    z = torch.tensor([[3.0, 4.0], [0.1, 0.0]], requires_grad=True)
    ClippedNoise(1, 0.5)(z, stream())[:, 0].sum().backward()
    # d(z0/|z|)/dz = (z1^2, -z0 z1)/|z|^3 for the long row
    assert torch.allclose(z.grad, torch.tensor([[16 / 125, -12 / 125], [1.0, 0.0]]))  # type: ignore[arg-type]


def test_nothing_is_hidden_by_default_nor_by_no_noise() -> None:
    for privacy in (Privacy(), Privacy(noise=0), Privacy(noise=0.0, delta=0.1)):
        assert not privacy.disclosure(10)
    for hiding in (Privacy(label_epsilon=1), Privacy(clip=1)):
        assert hiding.disclosure(10)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"label_epsilon": 0}, "privacy.label_epsilon must be a number > 0, got 0; null sends"),
        ({"label_epsilon": -1}, "privacy.label_epsilon must be a number > 0, got -1"),
        ({"label_epsilon": math.nan}, "privacy.label_epsilon must be a number > 0, got nan"),
        ({"label_epsilon": True}, "privacy.label_epsilon must be a number > 0, got true"),
        ({"correction": None}, "privacy.correction must be one of forward, backward, none, got n"),
        ({"clip": 0}, "privacy.clip must be a number > 0, got 0; null is no clipping"),
        ({"clip": 1, "noise": -1}, "privacy.noise must be a number >= 0, got -1; null or 0"),
        ({"clip": 1, "noise": 1e-9}, "noise must be from 0.001 to 1000 times privacy.clip, got 1e"),
        ({"noise": 0.5}, "privacy.noise=0.5 needs privacy.clip, the norm that it is a multiple of"),
        ({"delta": 0}, "privacy.delta must be a number > 0, got 0"),
        ({"delta": 1}, "privacy.delta must be below 1, got 1; 1e-5 is usual"),
    ],
)
def test_wrong_settings_are_sentences(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Privacy(**wrong)


def test_a_missing_accountant_is_told_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    Privacy(label_epsilon=1, clip=1, noise=0)
    with pytest.raises(ConfigError, match=r"noise=0.5 needs the package opacus: pip install -e"):
        Privacy(clip=1, noise=0.5)

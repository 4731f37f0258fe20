import math

import pytest
import torch
from torch import Tensor

from ifl.trials.attack.similarity import psnr, ssim


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_an_image_is_wholly_like_itself() -> None:
    images = noise(3, 1, 28, 28)
    assert torch.allclose(ssim(images, images), torch.ones(3))
    assert psnr(images, images).isinf().all()


def test_psnr_is_that_of_the_mean_square_of_each_image() -> None:
    images = torch.zeros(2, 1, 11, 11)
    others = images.clone()
    others[0] += 0.1  # mean square 0.01
    others[1, 0, 0, 0] = 1.0  # mean square 1/121
    assert psnr(images, others).tolist() == pytest.approx([20.0, 10 * math.log10(121)], abs=1e-4)


def test_ssim_of_even_images_is_that_of_their_light() -> None:
    dark, light = torch.full((1, 1, 16, 16), 0.25), torch.full((1, 1, 16, 16), 0.75)
    by_hand = (2 * 0.25 * 0.75 + 0.0001) / (0.25**2 + 0.75**2 + 0.0001)
    assert ssim(dark, light).item() == pytest.approx(by_hand, abs=1e-6)


def test_ssim_of_a_negative_is_negative() -> None:
    images = noise(2, 1, 28, 28)
    assert (ssim(images, 1 - images) < -0.5).all()


def slow_ssim(a: Tensor, b: Tensor) -> float:
    """Walk over all windows of two images (C, H, W), pixel by pixel."""
    weights = [
        [math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in range(-5, 6)] for i in range(-5, 6)
    ]
    total = sum(map(sum, weights))
    found = []
    for channel in range(a.shape[0]):
        for row in range(5, a.shape[1] - 5):
            for column in range(5, a.shape[2] - 5):
                sums = dict.fromkeys(("a", "b", "aa", "bb", "ab"), 0.0)
                for i in range(-5, 6):
                    for j in range(-5, 6):
                        w = weights[i + 5][j + 5] / total
                        p = float(a[channel, row + i, column + j])
                        q = float(b[channel, row + i, column + j])
                        for name, value in zip(sums, (p, q, p * p, q * q, p * q), strict=True):
                            sums[name] += w * value
                m, n = sums["a"], sums["b"]
                s, t, st = sums["aa"] - m * m, sums["bb"] - n * n, sums["ab"] - m * n
                light = (2 * m * n + 1e-4) / (m * m + n * n + 1e-4)
                found.append(light * (2 * st + 9e-4) / (s + t + 9e-4))
    return sum(found) / len(found)


def test_ssim_is_that_of_a_walk_over_all_windows() -> None:
    images = noise(2, 2, 14, 12)
    others = (images + 0.3 * noise(2, 2, 14, 12, seed=1)).clamp(0, 1)
    slow = [slow_ssim(*pair) for pair in zip(images, others, strict=True)]
    assert ssim(images, others).tolist() == pytest.approx(slow, abs=1e-5)
    assert 0.2 < min(slow) < max(slow) < 0.99


def test_images_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="images of"):
        psnr(noise(2, 1, 12, 12), noise(3, 1, 12, 12))
    with pytest.raises(ValueError, match="SSIM needs images of 11 x 11"):
        ssim(noise(2, 1, 10, 12), noise(2, 1, 10, 12))

"""Measures the similarity of two images: PSNR, and SSIM (Wang et al. 2004).

Wang, Bovik, Sheikh & Simoncelli 2004, "Image Quality Assessment: From Error Visibility to
Structural Similarity": Gaussian window of 11 x 11 pixels with sigma = 1.5, K1 = 0.01, K2 = 0.03.
Averages are over windows that lie wholly within the image, as in the authors' own program.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # (K L)^2 of values in [0, 1], where L = 1


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each pair, in dB: -10 log10 of the mean square.

    Args:
        images, others: (n, C, H, W) float32 in [0, 1], the same shape.

    Returns:
        (n,) float32; infinite where two images are equal.

    Raises:
        ValueError: they are of different shapes.
    """
    _check(images, others)
    return -10 * (images - others).square().flatten(1).mean(dim=1).log10()


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Return the mean structural similarity of each pair, over windows and channels.

        SSIM = (2 m m' + C1) (2 s_mm' + C2) / ((m^2 + m'^2 + C1) (s^2 + s'^2 + C2))

    with means m, variances s^2 and covariance s_mm' of each window, weighted by the Gaussian.

    Args:
        images, others: (n, C, H, W) float32 in [0, 1], the same shape, 11 x 11 pixels at least.

    Returns:
        (n,) float32 in [-1, 1]; 1 where two images are equal.

    Raises:
        ValueError: they are of different shapes, or smaller than a window.
    """
    _check(images, others)
    if min(images.shape[2:]) < WINDOW:
        raise ValueError(f"SSIM needs images of {WINDOW} x {WINDOW} pixels, got {images.shape[2:]}")
    a, b = images.double().flatten(0, 1)[:, None], others.double().flatten(0, 1)[:, None]
    mean_a, mean_b = _windows(a), _windows(b)  # (n*C, 1, H-10, W-10)
    var_a, var_b = _windows(a * a) - mean_a**2, _windows(b * b) - mean_b**2
    shared = _windows(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * shared + C2) / (var_a + var_b + C2)
    return (light * structure).view(len(images), -1).mean(dim=1).float()


def _windows(maps: Tensor) -> Tensor:
    """Return the weighted mean of every window of maps (n, 1, H, W) float64."""
    steps = torch.arange(WINDOW, dtype=maps.dtype) - WINDOW // 2
    weights = torch.exp(-(steps**2) / (2 * SIGMA**2))
    weights = (weights / weights.sum()).to(maps.device)
    return conv2d(conv2d(maps, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))


def _check(images: Tensor, others: Tensor) -> None:
    if images.shape != others.shape:
        raise ValueError(f"images of {tuple(images.shape)} and of {tuple(others.shape)}")

"""Augments images: rotates, shifts, scales, shears and bends them, anew for every batch.

What a client does to its own images is its own affair: no byte moves, nobody needs to know.
Source: affine and elastic distortions, Simard, Steinkraus & Platt 2003, "Best Practices for
Convolutional Neural Networks Applied to Visual Document Analysis".
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from ifl.checks import check_at_least, check_whole
from ifl.errors import ConfigError

BLACK = -1.0  # what comes into view from outside an image


@dataclass(frozen=True)
class Distortion:
    """A random affine map of each image, and a smooth random displacement of its pixels.

    All amounts are bounds of uniform draws, both ways. Where an image lacks a class's other
    handwritings, its distortions stand in for them; images whose meaning hangs on orientation
    or place want smaller ones.

    Args:
        degrees: of rotation, in [0, 180].
        shift: along either axis, a fraction of half the side, in [0, 1].
        scale: of either axis, a factor in [1 - scale, 1 + scale], scale in [0, 1).
        shear: of the horizontal axis per unit of the vertical one, in [0, 1].
        bend: displacement at the knots of a mesh, a fraction of half the side, in [0, 1]; it is
            interpolated in between.
        knots: of the mesh along a side, 2 or more.

    Raises:
        ConfigError: a value is out of range.
    """

    degrees: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    bend: float = 0.0
    knots: int = 5

    def __post_init__(self) -> None:
        for name, most in (("degrees", 180), ("shift", 1), ("shear", 1), ("bend", 1)):
            value = getattr(self, name)
            check_at_least(f"augment.{name}", value, 0, "; 0 is none")
            if value > most:
                raise ConfigError(f"augment.{name} must be at most {most}, got {value}; lower it")
        check_at_least("augment.scale", self.scale, 0, "; 0 is none")
        if self.scale >= 1:
            raise ConfigError(f"augment.scale must be below 1, got {self.scale}; lower it")
        check_whole("augment.knots", self.knots, 2)

    def __call__(self, x: Tensor, draws: torch.Generator) -> Tensor:
        """Return one distorted view of each image, bilinearly sampled; x itself if all is 0.

        Args:
            x: (n, C, H, W) float32 in [-1, 1].
            draws: a generator on the CPU, wherever x is.
        """
        if not any((self.degrees, self.shift, self.scale, self.shear, self.bend)):
            return x
        maps, bends = self._maps(len(x), draws), self._bends(len(x), x.shape[-2:], draws)
        grid = affine_grid(maps, list(x.shape), align_corners=False) + bends
        return grid_sample(x - BLACK, grid.to(x.device), align_corners=False) + BLACK

    def _maps(self, n: int, draws: torch.Generator) -> Tensor:
        """Return affine maps (n, 2, 3) from places in the view to places in the image."""
        angle, wide, high, shear, right, down = _uniform(draws, 6, n)
        angle = angle * math.radians(self.degrees)
        wide, high = 1 + self.scale * wide, 1 + self.scale * high
        cos, sin = angle.cos(), angle.sin()
        across = [cos * wide, self.shear * shear - sin * high, self.shift * right]
        along = [sin * wide, cos * high, self.shift * down]
        return torch.stack([torch.stack(across, dim=1), torch.stack(along, dim=1)], dim=1)

    def _bends(self, n: int, side: torch.Size, draws: torch.Generator) -> Tensor:
        """Return displacements (n, H, W, 2)."""
        mesh = self.bend * _uniform(draws, n, 2, self.knots, self.knots)
        smooth = interpolate(mesh, size=tuple(side), mode="bicubic", align_corners=True)
        return smooth.permute(0, 2, 3, 1)


def _uniform(draws: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=draws) * 2 - 1

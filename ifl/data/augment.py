"""Augments images: rotates, shifts, scales, shears and bends them, anew for every batch.

What a client does to its own samples is its own affair: no byte moves, nobody needs to know. Any
callable (x, generator) -> x may stand in for the distortions here (``check_augment``).
Source: affine and elastic distortions, Simard, Steinkraus & Platt 2003, "Best Practices for
Convolutional Neural Networks Applied to Visual Document Analysis".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from ifl.checks import check_at_least, check_whole, typed
from ifl.errors import ConfigError

Augment = Callable[[Tensor, torch.Generator], Tensor]
BLACK = -1.0  # what comes into view from outside an image


@dataclass(frozen=True)
class Distortion:
    """A random affine map of each image, and a smooth random displacement of its pixels.

    All amounts are bounds of uniform draws, both ways. Angles and shapes are those of pixels: on
    an image of any sides a disc is rotated to a disc. Where an image lacks a class's other
    handwritings, its distortions stand in for them; images whose meaning hangs on orientation
    or place want smaller ones.

    Args:
        degrees: of rotation, in [0, 180].
        shift: along either axis, a fraction of half the side, in [0, 1].
        scale: of either axis, a factor in [1 - scale, 1 + scale], scale in [0, 1).
        shear: of the horizontal axis per unit of the vertical one, in [0, 1].
        bend: displacement at the knots of a mesh, a fraction of half the shorter side, in [0, 1];
            it is interpolated in between.
        knots: of the mesh along the shorter side, 2 or more; along the longer one so many more.

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

        Raises:
            ConfigError: there is something to do, and x are no images.
        """
        if not any((self.degrees, self.shift, self.scale, self.shear, self.bend)):
            return x
        if x.dim() != 4 or not x.is_floating_point():
            kind = "floats" if x.is_floating_point() else "tokens"
            raise ConfigError(
                "augment distorts images of channels, height and width, got samples of the shape "
                f"{list(x.shape[1:])} that hold {kind}; use augment=none"
            )
        high, wide = x.shape[-2:]
        maps, bends = self._maps(len(x), high / wide, draws), self._bends(len(x), high, wide, draws)
        grid = affine_grid(maps, list(x.shape), align_corners=False) + bends
        return grid_sample(x - BLACK, grid.to(x.device), align_corners=False) + BLACK

    def _maps(self, n: int, ratio: float, draws: torch.Generator) -> Tensor:
        """Return affine maps (n, 2, 3) from places in the view to places in the image.

        Places run from -1 to 1 along either side, so that what goes from one axis to the other
        is multiplied by the ratio of height to width, or divided.
        """
        angle, wide, high, shear, right, down = _uniform(draws, 6, n)
        angle = angle * math.radians(self.degrees)
        wide, high = 1 + self.scale * wide, 1 + self.scale * high
        cos, sin = angle.cos(), angle.sin()
        aslant = (self.shear * shear - sin * high) * ratio
        across = [cos * wide, aslant, self.shift * right]
        along = [sin * wide / ratio, cos * high, self.shift * down]
        return torch.stack([torch.stack(across, dim=1), torch.stack(along, dim=1)], dim=1)

    def _bends(self, n: int, high: int, wide: int, draws: torch.Generator) -> Tensor:
        """Return displacements (n, H, W, 2), in halves of each side."""
        least = min(high, wide)
        knots = [1 + round((self.knots - 1) * side / least) for side in (high, wide)]
        mesh = self.bend * _uniform(draws, n, 2, *knots)
        smooth = interpolate(mesh, size=(high, wide), mode="bicubic", align_corners=True)
        return smooth.permute(0, 2, 3, 1) * torch.tensor([least / wide, least / high])


def check_callable(augment: object) -> None:
    """Raise ConfigError unless this could be an augmentation."""
    if not callable(augment):
        raise ConfigError(
            f"augment must be a callable (x, generator) -> x, got {typed(augment)}; set what its "
            "_target_ takes, not augment itself, or _partial_: true for a function"
        )


def check_augment(augment: Augment, x: Tensor) -> None:
    """Try an augmentation on samples x (n, ...), with a generator that nobody else has.

    Raises:
        ConfigError: it fails, or returns another shape, type or device, or what is not finite.
    """
    try:
        view = augment(x.clone(), torch.Generator().manual_seed(0))
    except ConfigError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ConfigError(
            f"augment fails on a batch {tuple(x.shape)} of {x.dtype} ({reason}); it is called with "
            "x and a torch.Generator on the CPU"
        ) from error
    wanted = f"{tuple(x.shape)} {x.dtype} on {x.device}"
    found = type(view).__name__
    if isinstance(view, Tensor):
        found = f"{tuple(view.shape)} {view.dtype} on {view.device}"
    if found != wanted:
        raise ConfigError(f"augment turns {wanted} into {found}; it has to return the same")
    if not view.isfinite().all() and x.isfinite().all():
        raise ConfigError(f"augment makes values that are not finite of a batch {tuple(x.shape)}")


def _uniform(draws: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=draws) * 2 - 1

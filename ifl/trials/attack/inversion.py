"""Inverts fusion outputs to images: a trained inverter, and descent through a block.

Both follow He, Zhang & Lee 2019, "Model Inversion Attacks Against Collaborative Inference" (their
inverse network, and their regularised maximum likelihood, after Mahendran & Vedaldi 2015). Either
needs a base block: the victim's, or what stands in for it (``ifl/trials/attack/surrogate.py``).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import OneCycleLR

from ifl.client.steps import descend
from ifl.trials.attack.exposure import Exposure

INVERTER_LR, BATCH = 2e-3, 64
DESCENT_LR = 0.1  # images run from -1 to 1


class Inverter(nn.Module):
    """z (n, d) and y (n,) -> images (n, C, H, W) in [-1, 1].

    The mean image of the class, which is what y alone tells, plus one hidden layer's correction,
    at first none. In the mean square, z that tell nothing leave it there.

    Args:
        per_class: (classes, C, H, W) float32 in [-1, 1], mean images by class.
    """

    def __init__(self, fusion_dim: int, per_class: Tensor, width: int = 512) -> None:
        super().__init__()
        shape = per_class.shape[1:]
        last = nn.Linear(width, shape.numel())
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        hidden = nn.Linear(fusion_dim, width)
        self.layers = nn.Sequential(hidden, nn.ReLU(), last, nn.Unflatten(1, shape))
        self.per_class = per_class
        self.scale = 1.0  # root mean square of the z that it learns from

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the image of each row of z (n, d) float32 with its label in y (n,) int64."""
        return self.free(z, y).clamp(-1, 1)

    def free(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the same before it is clamped: gradients pass everywhere."""
        correction: Tensor = self.layers(z / self.scale)
        return self.per_class[y] + correction


def train_inverter(
    inverter: Inverter,
    z: Tensor,
    y: Tensor,
    x: Tensor,
    exposure: Exposure,
    steps: int,
    draws: Generator,
) -> Inverter:
    """Let an inverter learn to tell images from what is held of their z; return it.

    Adam on the mean square of D(exposure(z), y) - x over batches of 64, each exposed anew, the
    learning rate rising and falling once. An inverter that has learned goes on from there.

    Args:
        z: (n, d) float32, outputs of a block that the attacker holds.
        y: (n,) int64, labels.
        x: (n, C, H, W) float32 in [-1, 1], what went in.
        steps: at least 1.
        draws: of batches, and of what the exposure draws.
    """
    inverter.scale = float(exposure.send(z, draws).square().mean().sqrt()) or 1.0
    optimizer = torch.optim.Adam(inverter.parameters(), INVERTER_LR, fused=True)
    schedule = OneCycleLR(optimizer, INVERTER_LR, total_steps=steps + 1)
    for _ in range(steps):
        rows = torch.randint(len(z), (BATCH,), generator=draws)
        made = inverter.free(exposure.send(z[rows], draws), y[rows])
        descend(mse_loss(made, x[rows]), optimizer)
        schedule.step()
    return inverter


def total_variation(x: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels of each image: (n,)."""
    down, right = x.diff(dim=2).abs(), x.diff(dim=3).abs()
    return down.flatten(1).mean(dim=1) + right.flatten(1).mean(dim=1)


def descend_to(
    block: nn.Module,
    z: Sequence[Tensor],
    expect: Sequence[Callable[[Tensor], Tensor]],
    start: Tensor,
    smooth: Tensor,
    steps: int,
) -> Tensor:
    """Look for the images of whose z an onlooker would hold what it holds.

    Adam from ``start`` on the sum over images of

        |expect(f(x)) - z|^2 / |z|^2 + smooth * TV(x),    x in [-1, 1].

    Args:
        block: f, held fixed.
        z: what is held, a tensor (n_i, d) for each release.
        expect: what would be held of an image's z, for each release.
        start: (n, C, H, W) float32 in [-1, 1], n the sum of all n_i.
        smooth: (n,) float32, how much smoothness of an image counts.
        steps: at least 1.

    Returns:
        (n, C, H, W) float32 in [-1, 1].
    """
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], DESCENT_LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    size = [len(part) for part in z]
    weight = [part.square().sum(dim=1).clamp_min(1e-12) for part in z]
    for _ in range(steps):
        found = [rule(part) for rule, part in zip(expect, block(x).split(size), strict=True)]
        misfit = [(f - t).square().sum(dim=1) / w for f, t, w in zip(found, z, weight, strict=True)]
        descend((torch.cat(misfit) + smooth * total_variation(x)).sum(), optimizer)
        schedule.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
    return x.detach()

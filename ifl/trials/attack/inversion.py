"""Trains convolutional decoders that turn fusion outputs into images.

After the inverse network of He, Zhang & Lee 2019, "Model Inversion Attacks Against Collaborative
Inference". A decoder needs a base block: the victim's, or what stands in for it
(``ifl/trials/attack/surrogate.py``). Their descent on an image is left out: a network trained for
a moment did better in every setting, in SSIM and in PSNR, and cost less.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import OneCycleLR

from ifl.client.steps import descend, frozen
from ifl.seeding import global_stream, rng
from ifl.trials.attack.exposure import Exposure

LR, BATCH, CHANNELS = 3e-3, 64, (16, 8)
POINTS = 10  # of a curve
NEAR = 0.01  # of the square norm of z: a decoder takes z that are so near as they are


@dataclass(frozen=True)
class Pairs:
    """An attacker's own images with their z, and those held out to choose by.

    Args:
        x, y, z: (n, C, H, W) float32 in [-1, 1], (n,) int64, (n, d) float32, to learn from.
        held_x, held_y, held_z: the same, held out.
        images: how many of x are images, and not distorted views of them: an epoch's length.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    held_x: Tensor
    held_y: Tensor
    held_z: Tensor
    images: int


class Decoder(nn.Module):
    """z (n, d) and y (n,) -> images (n, C, H, W) in [-1, 1].

    The mean image of the class, which is what y alone tells, plus a correction, at first none: a
    linear layer to 16 maps of a quarter of the sides, and two transposed convolutions that double
    them. In the mean square, z that tell nothing leave the mean image as it is.

    Args:
        per_class: (classes, C, H, W) float32 in [-1, 1], mean images by class.
        dropout: of z in training.
    """

    def __init__(self, fusion_dim: int, per_class: Tensor, dropout: float = 0.0) -> None:
        super().__init__()
        self.per_class = per_class
        self.scale = 1.0  # root mean square of the z that it learns from
        depth, height, width = per_class.shape[1:]
        small = CHANNELS[0], -(-height // 4), -(-width // 4)
        last = nn.ConvTranspose2d(CHANNELS[1], depth, 4, stride=2, padding=1)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(fusion_dim, small[0] * small[1] * small[2]),
            nn.ReLU(),
            nn.Unflatten(1, small),
            nn.ConvTranspose2d(CHANNELS[0], CHANNELS[1], 4, stride=2, padding=1),
            nn.ReLU(),
            last,
        )

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the image of each row of z (n, d) float32 with its label in y (n,) int64."""
        return self.free(z, y).clamp(-1, 1)

    def free(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the same before it is clamped: gradients pass everywhere."""
        mean = self.per_class[y]
        correction: Tensor = self.layers(z / self.scale)
        return mean + correction[..., : mean.shape[2], : mean.shape[3]]


def train_decoder(
    decoder: Decoder, pairs: Pairs, exposure: Exposure, epochs: float, draws: Generator
) -> list[tuple[float, float]]:
    """Let a decoder learn to tell images from what is held of their z.

    Adam on the mean square of D(exposure(z), y) - x over batches of 64, each exposed anew, the
    learning rate rising and falling once. A decoder that has learned goes on from there. It ends
    with the weights that erred least on the pairs held out, which may be those of the start.

    Args:
        epochs: > 0; as many batches as pass so often over the images.
        draws: of batches, and of what the exposure draws.

    Returns:
        Epochs passed and the mean square error on the pairs held out, at the start and ten times
        on the way.
    """
    held_z = exposure.send(pairs.held_z, draws)
    decoder.scale = float(exposure.send(pairs.z, draws).square().mean().sqrt()) or 1.0
    steps = max(1, round(epochs * pairs.images / BATCH))
    optimizer = torch.optim.Adam(decoder.parameters(), LR, fused=True)
    schedule = OneCycleLR(optimizer, LR, total_steps=steps + 1)
    measured = {round(steps * n / POINTS) for n in range(POINTS + 1)}
    curve: list[tuple[float, float]] = []
    best: dict[str, Tensor] = {}
    decoder.train()
    for step in range(steps + 1):
        if step:
            rows = torch.randint(len(pairs.z), (BATCH,), generator=draws)
            made = decoder.free(exposure.send(pairs.z[rows], draws), pairs.y[rows])
            descend(mse_loss(made, pairs.x[rows]), optimizer)
            schedule.step()
        if step in measured:
            with frozen(decoder), torch.no_grad():
                error = float(mse_loss(decoder(held_z, pairs.held_y), pairs.held_x))
            if not curve or error < min(e for _, e in curve):
                best = deepcopy(decoder.state_dict())
            curve.append((step * BATCH / pairs.images, error))
    decoder.load_state_dict(best)
    decoder.eval()
    return curve


def differs(z: Tensor, exposure: Exposure, draws: Generator) -> bool:
    """Tell whether what is held of z (n, d) is more than 1 % off, in the mean square."""
    off = (exposure.send(z, draws) - z).square().sum() / z.square().sum().clamp_min(1e-12)
    return bool(off > NEAR)


@dataclass(frozen=True)
class Trained:
    """The best of several decoders, and the curve of each, as train_decoder returns it."""

    best: Decoder
    curves: Sequence[Sequence[tuple[float, float]]]


def best_decoder(
    pairs: Pairs,
    per_class: Tensor,
    exposure: Exposure,
    epochs: float,
    tries: int,
    dropout: float,
    seed: int,
    *purpose: str | int,
) -> Trained:
    """Train several decoders from other weights; the one with the least error held out is best.

    Args:
        tries: how many, at least 1.
        seed, purpose: of the random streams; the try's number is added.
    """
    decoders, curves = [], []
    for number in range(tries):
        with global_stream(seed, *purpose, number, "weights"):
            decoders.append(Decoder(pairs.z.shape[1], per_class, dropout))
            draws = rng(seed, *purpose, number)  # dropout draws from the global generator
            curves.append(train_decoder(decoders[-1], pairs, exposure, epochs, draws))
    least = [min(error for _, error in curve) for curve in curves]
    return Trained(decoders[least.index(min(least))], curves)


def adapted(
    decoder: Decoder,
    pairs: Pairs,
    exposure: Exposure,
    epochs: float,
    seed: int,
    *purpose: str | int,
) -> Decoder:
    """Return a copy of a decoder that went on learning, from something else that travels."""
    mine = deepcopy(decoder)
    with global_stream(seed, *purpose, "dropout"):
        train_decoder(mine, pairs, exposure, epochs, rng(seed, *purpose))
    return mine

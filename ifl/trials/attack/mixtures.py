"""Measures how much of a client's images its published mixtures show.

For each mixture: how like it the nearest image of its client is, and, as a floor, how like it the
nearest of as many images of other clients is, which are not behind it. Nothing is trained.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import inf

import pandas as pd
import torch
from torch import Tensor

from ifl.analysis.tables import FREE, Cell, Table, Value, over_seeds
from ifl.cli.build import assemble
from ifl.client.client import Client
from ifl.data.dataset import Shard
from ifl.errors import ConfigError
from ifl.methods.parts.mixtures import MIXES, mixtures
from ifl.seeding import rng
from ifl.trials.attack.campaign import check_attackable, composed
from ifl.trials.attack.similarity import psnr, ssim

NEAR = 50  # images with the largest PSNR, among which that with the largest SSIM is looked for
NOTE = (
    "Means over mixtures and clients, ± half the 95 % interval over seeds. Own: of the client's "
    "images the one most like a mixture; others': of as many images of other clients."
)


@dataclass(frozen=True)
class MixtureRow:
    """Likeness of one client's mixtures to the nearest own image and to the nearest of others'.

    Means over mixtures of the SSIM and of the PSNR (dB); these may be of different images.
    """

    seed: int
    client: int
    mixed: int
    mix: str
    own_ssim: float
    others_ssim: float
    own_psnr: float
    others_psnr: float


def published(options: argparse.Namespace, seed: int, target: str) -> tuple[list[MixtureRow], str]:
    """Return what mixtures of each of ``options.mixtures`` images show, and the data set's name.

    Raises:
        ConfigError: a client has fewer images, or there is no other client, or these are no images.
    """
    federation = assemble(composed(options, seed, target))
    clients = federation.engine.clients
    check_attackable(federation.data)
    smallest = min(int(client.shard.y.bincount().max()) for client in clients)
    if len(clients) < 2 or max(options.mixtures) > smallest:
        raise ConfigError(
            f"--mixtures need two clients, and no more images than each has of one class, "
            f"{smallest}, got {len(clients)} clients and {max(options.mixtures)} images"
        )
    rows = []
    for me in clients[: options.victims]:
        own, others = pixels(me), torch.cat([pixels(c) for c in clients if c is not me])
        draws = rng(seed, "attack", me.number, "others")
        others = others[torch.randperm(len(others), generator=draws)[: len(own)]]
        for mix, mixed in product(MIXES, options.mixtures):
            found = to_pixels(mixtures(me, options.images, mixed, mix))
            (own_ssim, own_psnr), (others_ssim, others_psnr) = (
                [float(values.mean()) for values in nearest(found, of)] for of in (own, others)
            )
            of_mixtures = own_ssim, others_ssim, own_psnr, others_psnr
            rows.append(MixtureRow(seed, me.number, mixed, mix, *of_mixtures))
    return rows, federation.data.name


def nearest(images: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest SSIM (n,), among the NEAR of largest PSNR, and the largest PSNR (n,).

    Args:
        images: (n, C, H, W) float32 in [0, 1].
        candidates: (c, C, H, W) likewise.
    """
    apart = torch.cdist(images.flatten(1), candidates.flatten(1))
    likest = apart.topk(min(NEAR, len(candidates)), dim=1, largest=False).indices
    pairs = [
        (image.expand_as(candidates[some]), candidates[some])
        for image, some in zip(images, likest, strict=True)
    ]
    return (
        torch.stack([ssim(*pair).max() for pair in pairs]),
        torch.stack([psnr(*pair).max() for pair in pairs]),
    )


def pixels(me: Client) -> Tensor:
    """Return a client's images (n, C, H, W) in [0, 1]."""
    return to_pixels(Shard(me.shard.x, me.shard.y).inputs())


def to_pixels(inputs: Tensor) -> Tensor:
    """Return images in [0, 1] of what networks take, in [-1, 1]."""
    return inputs.add(1).div(2).clamp(0, 1)


def table(rows: Sequence[MixtureRow], data: str) -> Table:
    """Return a line for each number of images that were mixed, across classes and within."""
    frame, body = pd.DataFrame(rows), []
    for (mix, mixed), part in frame.groupby(["mix", "mixed"]):
        line: list[Cell] = [str(mix), str(mixed)]
        for column, digits in (("ssim", 3), ("psnr", 2)):
            for whose in ("own", "others"):
                values = part.groupby("seed")[f"{whose}_{column}"].mean().tolist()
                equal = inf in values  # the PSNR of an image and itself
                line.append(Value(inf) if equal else over_seeds(values, digits, limits=FREE))
        body.append(line)
    head = [f"{name}, {of}" for name in ("SSIM", "PSNR (dB)") for of in ("own", "others'")]
    caption = f"{data}: likeness of a mixture to the nearest image, by how many were mixed"
    return Table("mixtures", caption, ["classes", "mixed", *head], body, NOTE)

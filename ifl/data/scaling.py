"""Remarks on samples whose scale or labels look wrong: networks may learn little, or nothing."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ifl.data.dataset import Dataset

FEW_GREYS = 32  # that uint8 images use, of 256
FAR, NEAR = 10.0, 0.02  # what is largest in floats, above and below which they look unscaled
APART = 100.0  # times that features, or the two parts, differ in scale


def remarks(data: Dataset) -> list[str]:
    """Return a sentence for each thing about the samples that looks wrong, often none."""
    x = data.train.x
    if x.dtype == torch.uint8:
        found = [*_bytes(x)]
    elif x.is_floating_point():
        found = [*_floats(x, data.test.x)]
    else:
        found = []
    largest = int(data.train.y.max())
    if largest + 1 < data.classes:
        found.append(
            f"no training sample is of class {largest + 1} or above, while there are to be "
            f"{data.classes} classes; networks have an output for each"
        )
    if len(data.shape) == 3 and data.shape[-1] in (1, 3) and data.shape[0] not in (1, 3):
        found.append(
            f"samples have the shape {list(data.shape)}, which looks like channels last, while "
            "ready-made blocks take channels first; x.transpose(0, 3, 1, 2) is that in NumPy"
        )
    return [f"{data.name}: {remark}." for remark in found]


def _bytes(x: Tensor) -> Iterator[str]:
    low, high = int(x.min()), int(x.max())
    if high - low < FEW_GREYS:
        lowest, highest = low / 127.5 - 1, high / 127.5 - 1
        yield (
            f"uint8 samples run from {low} to {high}, which are scaled to {lowest:.3g} to "
            f"{highest:.3g}, as images from 0 to 255 are; give floats to have them as they are, "
            "or other integers for tokens"
        )


def _floats(x: Tensor, test: Tensor) -> Iterator[str]:
    low, high = float(x.min()), float(x.max())
    largest, elsewhere = max(-low, high), float(test.abs().max())
    scales = x.abs().amax(dim=0)  # of each feature or pixel
    used = scales[scales > 0]
    if x.dim() == 2 and len(used) > 1 and float(used.max() / used.min()) > APART:
        first = int(torch.where(scales > 0, scales, torch.inf).argmin())
        yield (
            f"features differ in scale, from {float(used.min()):.3g} (feature {first}) to "
            f"{float(used.max()):.3g} (feature {int(scales.argmax())}), and are taken as they are; "
            "standardise them, by the statistics of the training part"
        )
    elif largest > FAR * (1 if x.dim() > 2 else 5) or 0 < largest < NEAR:
        yield (
            f"floats run from {low:.3g} to {high:.3g} and are taken as they are; networks learn "
            "best from about -1 to 1, as uint8 images come to them"
        )
    elif largest == 0:
        yield "all samples of the training part are 0"
    if min(largest, elsewhere) * APART / 5 < max(largest, elsewhere) and min(largest, elsewhere):
        yield (
            f"training samples reach {largest:.3g} and test samples {elsewhere:.3g}; scale both "
            "parts alike"
        )

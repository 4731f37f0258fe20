"""Turns pictures of any mode and size into uint8 pixels of one shape.

Transparent pixels are white, 16-bit grey keeps its upper 8 bits, and a photo is turned as its
camera says.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor, from_numpy

from ifl.errors import DataError

GREY = ("1", "L", "LA", "La", "I", "F")
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: what lies on its side
CHANNELS = (1, 3)


class Facts(NamedTuple):
    """A picture's size in pixels, as it is seen, and its kind."""

    height: int
    width: int
    grey: bool


def facts(image: Image.Image) -> Facts:
    """Return a picture's facts without reading its pixels.

    Raises:
        ValueError: it holds several frames.
    """
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a photo and its previews
        raise ValueError(f"it holds {image.n_frames} frames")  # type: ignore[attr-defined]
    width, height = image.size
    if image.getexif().get(ORIENTATION) in TURNED:
        width, height = height, width
    return Facts(height, width, image.mode in GREY or image.mode.startswith("I;"))


def pixels(image: Image.Image, shape: Sequence[int]) -> np.ndarray:
    """Return a picture as uint8 (C, H, W), resized bicubically if it has another size.

    Args:
        shape: C, H, W; C is 1 for grey or 3 for red, green and blue.

    Raises:
        ValueError: its pixels are no colours.
    """
    channels, height, width = shape
    plain = _opaque(_eight_bits(ImageOps.exif_transpose(image)))
    flat = plain.convert("L" if channels == 1 else "RGB").resize((width, height))
    array = np.array(flat, dtype=np.uint8)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def tensor(shape: Sequence[int], count: int, named: str) -> Tensor:
    """Return room for so many pictures: uint8 (count, C, H, W).

    Raises:
        DataError: shape is no picture's, or memory does not suffice.
    """
    if len(shape) != 3 or shape[0] not in CHANNELS:
        raise DataError(
            f"{named}: data.shape must be [1, height, width] for grey or [3, height, width] for "
            f"colour pictures, got {[*shape]}"
        )
    try:
        return from_numpy(np.zeros((count, *shape), dtype=np.uint8))
    except (MemoryError, ValueError) as error:
        gigabytes = count * shape[0] * shape[1] * shape[2] / 1e9
        raise DataError(
            f"{named}: {count} pictures of {shape[1]} x {shape[2]} pixels take {gigabytes:.0f} GB "
            "of memory; set a smaller data.shape"
        ) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; use data=arrays for those")
    if image.mode != "I" and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its pixels run from {values.min()} to {values.max()}")
    return Image.fromarray((values // 257).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image
    clear = image.convert("RGBA")
    white = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(white, clear).convert("RGB")

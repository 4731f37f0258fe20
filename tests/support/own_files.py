"""Writes small data sets of a user's own: pictures in folders, and arrays."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, seed: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> None:
    """Write a picture of noise, told by its seed; ``size`` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def pictures(top: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 10) -> Path:
    """Write ``each`` pictures of every class, by owners a, b and c in turn: CLASS/a_0.png, ..."""
    for number, name in enumerate(classes):
        for k in range(each):
            picture(top / name / f"{'abc'[k % 3]}_{k}.png", 1000 * number + k)
    return top


def arrays(n: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    """Return n images of 8 x 8 pixels, labels of 4 classes and owners 0, 1 and 2."""
    x = np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)
    return {"x": x, "y": np.arange(n) % 4, "owners": np.arange(n) % 3}

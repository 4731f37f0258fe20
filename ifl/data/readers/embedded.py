"""Loads data sets that are split by rule: the embedded digits and tumours, KMNIST-10k.

KMNIST: Clanuwat et al. 2018, "Deep Learning for Classical Japanese Literature".
Digits: Alpaydin & Kaynak 1998, the 1,797 images that scikit-learn carries.
Breast cancer: Wolberg, Mangasarian, Street & Street 1993, the 569 tumours that it carries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ifl.data.dataset import Dataset, Shard, check_images, check_promise
from ifl.data.heldout import split
from ifl.data.readers import idx

KMNIST_URL = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"


def digits(shape: Sequence[int] = (1, 28, 28), classes: int = 10, name: str = "Digits") -> Dataset:
    """Load scikit-learn's 1,797 grey 8 x 8 digits, resized bilinearly to ``shape``, 80/20."""
    check_images(name, shape, classes)
    return split(name, *_digits(*shape[1:]), shape, classes)  # which copies


@lru_cache(2)
def _digits(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the images (1797, 1, height, width) uint8 and their labels, made once a process."""
    pixels, labels = carried_digits()
    small = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8)
    large = torch.nn.functional.interpolate(
        small, size=(height, width), mode="bilinear", align_corners=False
    )
    x = (large * (255 / 16)).round().to(torch.uint8)
    return x, torch.tensor(labels, dtype=torch.int64)


def carried_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return what ``load_digits`` does, without loading scikit-learn, which takes a second.

    Returns:
        (1797, 64) float64 from 0 to 16, and (1797,) int64.
    """
    found = find_spec("sklearn")
    table = Path(str(found and found.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    if not table.is_file():  # it lies elsewhere in another version
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        return pixels, labels
    whole = np.loadtxt(table, delimiter=",")
    return whole[:, :-1], whole[:, -1].astype(np.int64)


def breast_cancer(
    shape: Sequence[int] = (30,), classes: int = 2, name: str = "Breast cancer"
) -> Dataset:
    """Load scikit-learn's 569 tumours, 30 features of each, malignant (0) or benign (1), 80/20.

    Features are standardised by the mean and the standard deviation of the training part.
    """
    check_promise(name, shape, classes)
    from sklearn.datasets import load_breast_cancer  # seconds to import, needed here alone

    features, labels = load_breast_cancer(return_X_y=True)
    raw = split(name, torch.from_numpy(features), torch.from_numpy(labels), shape, classes)
    sd, mean = torch.std_mean(raw.train.x.double(), dim=0, correction=0)
    train, test = (
        Shard((shard.x.double() - mean) / sd, shard.y) for shard in (raw.train, raw.test)
    )
    return replace(raw, train=train, test=test)


def kmnist10k(
    root: str, name: str, shape: Sequence[int], classes: int, md5: Mapping[str, str]
) -> Dataset:
    """Load the 10,000 official KMNIST test images alone, split 8,000/2,000, stratified.

    Args:
        root: folder above KMNIST/raw/.
        md5: file name -> md5 of the gzip file, images first.

    Raises:
        DataError: a file is missing, or its md5 is wrong.
    """
    check_images(name, shape, classes, root)
    raw = Path(root).expanduser() / "KMNIST" / "raw"
    images, labels = (idx.read(raw / file, m, KMNIST_URL + file) for file, m in md5.items())
    x = torch.from_numpy(images).unsqueeze(1)
    return split(name, x, torch.from_numpy(labels).long(), shape, classes)

"""Loads data sets: the embedded digits and tumours, torchvision's image sets, KMNIST-10k.

KMNIST: Clanuwat et al. 2018, "Deep Learning for Classical Japanese Literature".
Digits: Alpaydin & Kaynak 1998, the 1,797 images that scikit-learn carries.
Breast cancer: Wolberg, Mangasarian, Street & Street 1993, the 569 tumours that it carries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ifl.data import idx
from ifl.data.dataset import Dataset, Shard, check_images, check_promise, stratified_split
from ifl.errors import DataError
from ifl.seeding import numpy_rng

KMNIST_URL = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"


def _split(name: str, x: Tensor, y: Tensor, shape: Sequence[int], classes: int) -> Dataset:
    """Split 80/20, stratified, by a stream of the data's name and never of the run's seed."""
    train, test = stratified_split(y.numpy(), 0.2, numpy_rng(0, "data", name))
    return Dataset(name, Shard(x[train], y[train]), Shard(x[test], y[test]), tuple(shape), classes)


def digits(shape: Sequence[int] = (1, 28, 28), classes: int = 10, name: str = "Digits") -> Dataset:
    """Load scikit-learn's 1,797 grey 8 x 8 digits, resized bilinearly to ``shape``, 80/20."""
    check_images(name, shape, classes)
    from sklearn.datasets import load_digits  # seconds to import, needed here alone

    pixels, labels = load_digits(return_X_y=True)
    small = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8)
    large = torch.nn.functional.interpolate(
        small, size=tuple(shape[1:]), mode="bilinear", align_corners=False
    )
    x = (large * (255 / 16)).round().to(torch.uint8)
    return _split(name, x, torch.tensor(labels, dtype=torch.int64), shape, classes)


def breast_cancer(
    shape: Sequence[int] = (30,), classes: int = 2, name: str = "Breast cancer"
) -> Dataset:
    """Load scikit-learn's 569 tumours, 30 features of each, malignant (0) or benign (1), 80/20.

    Features are standardised by the mean and the standard deviation of the training part.
    """
    check_promise(name, shape, classes)
    from sklearn.datasets import load_breast_cancer  # seconds to import, needed here alone

    features, labels = load_breast_cancer(return_X_y=True)
    raw = _split(name, torch.from_numpy(features), torch.from_numpy(labels), shape, classes)
    sd, mean = torch.std_mean(raw.train.x.double(), dim=0, correction=0)
    train, test = (
        Shard((shard.x.double() - mean) / sd, shard.y) for shard in (raw.train, raw.test)
    )
    return replace(raw, train=train, test=test)


def from_torchvision(
    dataset: str,
    root: str,
    name: str,
    shape: Sequence[int],
    classes: int,
    train: Mapping[str, Any],
    test: Mapping[str, Any],
) -> Dataset:
    """Load any classification set of ``torchvision.datasets``; it downloads and checks md5.

    Args:
        dataset: class name in ``torchvision.datasets``; root: the folder of its files.
        train, test: keyword arguments that choose each part, such as {"train": True}.

    Raises:
        DataError: there is no such set, or it is not at ``root`` and cannot be downloaded,
            or what lies there is damaged or something else.
    """
    check_images(name, shape, classes, root)
    import torchvision.datasets

    maker = getattr(torchvision.datasets, str(dataset), None)
    if maker is None:
        raise DataError(
            f"data.dataset={dataset} is not in torchvision.datasets; see its documentation"
        )
    if isinstance(resources := vars(maker).get("resources"), list):  # MNIST and its kin
        idx.check_unpacked(Path(root) / dataset, dict(resources))
    parts = []
    for choice in (train, test):
        try:
            parts.append(_tensors(maker(root, download=True, **choice), shape))
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{name} is not whole in data.root={root} and could not be downloaded there "
                f"({reason}); go online once, or set IFL_DATA or data.root to where it is"
            ) from error
    return Dataset(name, parts[0], parts[1], tuple(shape), classes)


def _tensors(source: Any, shape: Sequence[int]) -> Shard:
    """Return all samples of a torchvision set: the stored array, or else image by image."""
    if hasattr(source, "data") and hasattr(source, "targets"):
        x, y = torch.as_tensor(source.data), torch.as_tensor(source.targets)
        x = x.unsqueeze(1) if x.dim() == 3 else x.permute(0, 3, 1, 2).contiguous()
        if tuple(x.shape[1:]) == tuple(shape):
            return Shard(x, y.long())
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    images, labels = [], []
    for image, label in source:
        images.append(np.array(image.convert(mode).resize((width, height)), dtype=np.uint8))
        labels.append(int(label))
    x = torch.from_numpy(np.stack(images))
    x = x.unsqueeze(1) if channels == 1 else x.permute(0, 3, 1, 2).contiguous()
    return Shard(x, torch.tensor(labels, dtype=torch.int64))


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
    raw = Path(root) / "KMNIST" / "raw"
    images, labels = (idx.read(raw / file, m, KMNIST_URL + file) for file, m in md5.items())
    x = torch.from_numpy(images).unsqueeze(1)
    return _split(name, x, torch.from_numpy(labels).long(), shape, classes)

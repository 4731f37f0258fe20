"""Finds public samples without labels that all parties have: anchors.

A source is a callable ``(data, draws) -> (anchors, data)``: it returns the anchors (A, ...) in the
type of the samples, or None, and the data set that is left to be dealt.
Source: public data as the common ground of models that share nothing else, Li & Wang 2019,
"FedMD: Heterogenous Federated Learning via Model Distillation", arXiv 1910.03581.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ifl.checks import check_whole, typed
from ifl.data.contents import listed, located
from ifl.data.dataset import Dataset, Shard, check_dataset
from ifl.data.readers.folder import images
from ifl.errors import ConfigError, DataError

Anchors = tuple[Tensor | None, Dataset]
Source = Callable[[Dataset, np.random.Generator], Anchors]


@dataclass(frozen=True)
class Nowhere:
    """There are no anchors."""

    def __call__(self, data: Dataset, draws: np.random.Generator) -> Anchors:
        """Return none, and the data set as it is."""
        return None, data


@dataclass(frozen=True)
class HeldOut:
    """Training samples, taken away before they are dealt; nobody has their labels.

    Args:
        count: A, drawn at random from all classes together.

    Raises:
        ConfigError: the count is out of range.
    """

    count: int = 1000

    def __post_init__(self) -> None:
        check_whole("anchors.count", self.count, 1)

    def __call__(self, data: Dataset, draws: np.random.Generator) -> Anchors:
        """Return A training samples (A, ...) and the data set without them.

        Raises:
            ConfigError: none would be left to train on.
        """
        total = len(data.train)
        if self.count >= total:
            raise ConfigError(
                f"anchors.count must be below the number of training samples, got {self.count} "
                f"of {total}; take fewer"
            )
        order = draws.permutation(total)
        taken, left = np.sort(order[: self.count]), np.sort(order[self.count :])
        train = Shard(data.train.x[left], data.train.y[left])
        owners = None if data.owners is None else data.owners[left]
        return data.train.x[taken], replace(data, train=train, owners=owners)


@dataclass(frozen=True)
class Other:
    """Training samples of another data set; its labels are left out.

    Args:
        data: whose samples have the shape and type of those that are trained on.
        count: A, drawn at random; None for all.

    Raises:
        ConfigError: the count is out of range.
        DataError: data is no data set.
    """

    data: Dataset
    count: int | None = 1000

    def __post_init__(self) -> None:
        check_dataset(self.data)
        if self.count is not None:
            check_whole("anchors.count", self.count, 1)

    def __call__(self, data: Dataset, draws: np.random.Generator) -> Anchors:
        """Return A samples (A, ...) of the other set, and the data set as it is.

        Raises:
            DataError: the other set's samples are of another kind.
            ConfigError: it has fewer than A.
        """
        x = self.data.train.x
        if self.data.shape != data.shape or x.dtype != data.train.x.dtype:
            raise DataError(
                f"anchors of {self.data.name} are {list(self.data.shape)} {x.dtype}, samples of "
                f"{data.name} {list(data.shape)} {data.train.x.dtype}; anchors must be like samples"
            )
        count = len(x) if self.count is None else self.count
        if count > len(x):
            raise ConfigError(
                f"anchors.count must be at most the {len(x)} training samples of "
                f"{self.data.name}, got {count}; take fewer, or null for all"
            )
        return x[np.sort(draws.permutation(len(x))[:count])], data


@dataclass(frozen=True)
class Pictures:
    """All pictures below a folder, in the shape of the samples.

    Args:
        root: the folder; how its folders are called means nothing.
        count: A, drawn at random; None for all.
        contents: digest of the files, part of a run's identity.

    Raises:
        ConfigError: the count is out of range.
    """

    root: str
    count: int | None = None
    contents: str | None = None

    def __post_init__(self) -> None:
        if self.count is not None:
            check_whole("anchors.count", self.count, 1)

    def __call__(self, data: Dataset, draws: np.random.Generator) -> Anchors:
        """Return A pictures (A, C, H, W) uint8, and the data set as it is.

        Raises:
            DataError: the folder or a file of it is not what it should be.
            ConfigError: the samples are no images, or there are fewer pictures than A.
        """
        check_pixels("folder", data)
        files = listed(located(self.root, "anchors.root"), "pictures")
        count = len(files) if self.count is None else self.count
        if not files or count > len(files):
            raise ConfigError(
                f"anchors.root: {self.root} holds {len(files)} pictures, and "
                f"{max(count, 1)} are asked for; add some, or lower anchors.count"
            )
        chosen = np.sort(draws.permutation(len(files))[:count])
        return images(self.root, [files[n] for n in chosen], data.shape), data


@dataclass(frozen=True)
class Strokes:
    """Images that nobody took: smooth noise, cut at a level so that it looks like strokes.

    Args:
        count: A.
        knots: of the noise along each side, before it is smoothed.
        sharpness: how hard it is cut; large: black and white.

    Raises:
        ConfigError: a value is out of range.
    """

    count: int = 1000
    knots: int = 7
    sharpness: float = 6.0

    def __post_init__(self) -> None:
        check_whole("anchors.count", self.count, 1)
        check_whole("anchors.knots", self.knots, 2)
        if not self.sharpness > 0:
            raise ConfigError(f"anchors.sharpness must be above 0, got {self.sharpness}; raise it")

    def __call__(self, data: Dataset, draws: np.random.Generator) -> Anchors:
        """Return A images (A, C, H, W) uint8, and the data set as it is.

        Raises:
            ConfigError: the samples are no images of 0 to 255.
        """
        check_pixels("synthetic", data)
        channels, *sides = data.shape
        noise = draws.standard_normal((self.count, channels, self.knots, self.knots))
        smooth = interpolate(torch.from_numpy(noise), size=sides, mode="bicubic")
        ridges = torch.exp(-self.sharpness * smooth.square())  # bright where it crosses 0
        return (255 * ridges).round().to(torch.uint8), data


def check_pixels(choice: str, data: Dataset) -> None:
    """Raise ConfigError unless the samples are images of 0 to 255."""
    if len(data.shape) != 3 or data.train.x.dtype != torch.uint8:
        raise ConfigError(
            f"anchors={choice} gives images of 0 to 255, {data.name} holds samples "
            f"{list(data.shape)} {data.train.x.dtype}; use anchors=held_out"
        )


def check_source(source: object) -> Source:
    """Return what could be a source of anchors.

    Raises:
        ConfigError: it cannot be called.
    """
    if not callable(source):
        raise ConfigError(
            f"anchors must be a callable (data, generator) -> (anchors, data), got {typed(source)};"
            " choose anchors=none, held_out, folder or other"
        )
    return source

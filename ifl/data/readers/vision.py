"""Loads any classification set of torchvision, whatever keywords, pictures and labels it has."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ifl.data.dataset import Dataset, Shard, check_promise
from ifl.data.heldout import made
from ifl.data.readers import idx
from ifl.data.readers.pictures import pixels, tensor
from ifl.errors import DataError

TRANSFORMS = {"transform", "target_transform", "transforms"}


def from_torchvision(
    dataset: str,
    root: str = "data",
    name: str = "",
    shape: Sequence[int] = (),
    classes: int = 0,
    train: Mapping[str, Any] | None = None,
    test: Mapping[str, Any] | None = None,
    contents: str | None = None,
) -> Dataset:
    """Load any classification set of ``torchvision.datasets``; it downloads and checks md5.

    Where both parts are the same, or the test samples are training samples too, a fifth of each
    class is held out.

    Args:
        dataset: class name in ``torchvision.datasets``; root: the folder of its files.
        train, test: keyword arguments that choose each part, such as {"train": True}. A set that
            knows no parts has the same for both, {}.
        contents: digest of the files, part of a run's identity: for a set that is not downloaded.

    Raises:
        DataError: there is no such set, or it is not at ``root`` and cannot be downloaded,
            or what lies there is damaged or something else, or its labels are not one whole
            number for each sample.
    """
    check_promise(name, shape, classes, root)
    import torchvision.datasets

    maker = getattr(torchvision.datasets, str(dataset), None)
    if not inspect.isclass(maker):
        raise DataError(
            f"data.dataset={dataset} is not in torchvision.datasets; see its documentation"
        )
    root = str(Path(root).expanduser())
    resources: Any = vars(maker).get("resources")
    published = isinstance(resources, list)  # MNIST and its kin
    if published:
        idx.check_unpacked(Path(root) / dataset, dict(resources))
    choices = [dict(train or {}), dict(test or {})]
    parts = [
        _part(maker, name, root, choice, shape)
        for choice in (choices[:1] if choices[0] == choices[1] else choices)
    ]
    if published and len(parts) == 2 and len(parts[0]) != len(parts[1]):
        return Dataset(name, parts[0], parts[1], tuple(shape), classes)
    return made(name, parts[0], parts[1] if len(parts) > 1 else None, shape, classes)


def _part(
    maker: Any, name: str, root: str, choice: Mapping[str, Any], shape: Sequence[int]
) -> Shard:
    """Return one part of a set; what may go wrong in torchvision is a sentence."""
    taken = _parameters(maker)
    told = {key: value for key, value in (("root", root), ("download", True)) if key in taken}
    try:
        source = maker(**{**told, **choice})
        return _tensors(source, name, shape, raw=not TRANSFORMS & choice.keys())
    except DataError:
        raise
    except ImportError as error:
        raise DataError(
            f"{name} needs a package that is not installed ({error}); pip install "
            f"{error.name or 'it'}"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, TypeError) and "argument" in reason:
            raise DataError(
                f"{name}: torchvision.datasets.{maker.__name__} refuses data.train or data.test "
                f"({reason}); it takes {', '.join(sorted(taken))}"
            ) from error
        if "download" in taken:
            raise DataError(
                f"{name} is not whole in data.root={root} and could not be downloaded there "
                f"({reason}); go online once, or set IFL_DATA or data.root to where it is"
            ) from error
        raise DataError(
            f"{name} cannot be read in data.root={root} ({reason}); torchvision does not download "
            "this set: set IFL_DATA or data.root to where it is"
        ) from error


def _parameters(maker: type) -> set[str]:
    """Return the keywords that a set takes, also those that it passes on to its bases."""
    found: set[str] = set()
    for cls in maker.__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
        kinds = {parameter.kind for parameter in parameters}
        found |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return found - {"self"}


def _tensors(source: Any, name: str, shape: Sequence[int], raw: bool) -> Shard:
    """Return all samples of a torchvision set: the stored array, or else image by image.

    Args:
        raw: whether what is stored is what is asked for, without a transform.
    """
    if raw and (stored := _stored(source, shape)):
        return stored
    first, _ = source[0]
    x = tensor(shape, len(source), name) if isinstance(first, Image.Image) else None
    arrays, labels = [], []
    for place in range(len(source)):
        image, label = source[place]
        if x is not None:
            x[place] = torch.from_numpy(pixels(image, shape))
        else:
            arrays.append(_array(image, name, shape))
        labels.append(_label(label, name, place))
    return Shard(torch.stack(arrays) if x is None else x, torch.tensor(labels))


def _stored(source: Any, shape: Sequence[int]) -> Shard | None:
    """Return the arrays that a set holds, where they have the shape already."""
    data, targets = getattr(source, "data", None), getattr(source, "targets", None)
    if not isinstance(data, np.ndarray | Tensor) or targets is None:
        return None
    x = torch.as_tensor(data)
    if x.dtype != torch.uint8 or x.dim() not in (3, 4):
        return None
    x = x.unsqueeze(1) if x.dim() == 3 else x.permute(0, 3, 1, 2).contiguous()
    return Shard(x, torch.as_tensor(targets).long()) if tuple(x.shape[1:]) == tuple(shape) else None


def _array(image: Any, name: str, shape: Sequence[int]) -> Tensor:
    """Return a sample that is no picture as a tensor; channels that come last are put first."""
    if not isinstance(image, Tensor | np.ndarray):
        raise DataError(
            f"{name}: its samples are {type(image).__name__}, neither pictures nor arrays; it is "
            "no classification set of images"
        )
    x = torch.as_tensor(image)
    if x.dim() == 2 and len(shape) == 3:
        x = x.unsqueeze(0)
    elif x.dim() == 3 and tuple(x.shape) != tuple(shape) == tuple(x.permute(2, 0, 1).shape):
        x = x.permute(2, 0, 1)
    if tuple(x.shape) != tuple(shape):
        raise DataError(
            f"{name}: a transform makes samples of shape {list(x.shape)}, data.shape="
            f"{[*shape]}; correct one of them"
        )
    return x.contiguous()


def _label(label: Any, name: str, place: int) -> int:
    whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
    if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
        label = label.item()
        whole = isinstance(label, int)
    if not whole:
        found = list(label.shape) if isinstance(label, Tensor | np.ndarray) else repr(label)
        raise DataError(
            f"{name}: the label of sample {place} is {type(label).__name__} {found}, not one whole "
            "number; choose another target_type or split in data.train and data.test, or write "
            "a target_transform"
        )
    return int(label)

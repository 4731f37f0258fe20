"""Reads a user's own arrays: a .npz file, or a folder of .npy files."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ifl.data.contents import located, visible
from ifl.data.dataset import Dataset, Shard
from ifl.data.heldout import made
from ifl.errors import DataError

KEYS = {  # each under the first of its names; those of Keras's mnist.npz come second
    "train_x": ("train_x", "x_train", "x"),
    "train_y": ("train_y", "y_train", "y"),
    "test_x": ("test_x", "x_test"),
    "test_y": ("test_y", "y_test"),
    "owners": ("owners", "train_owners", "owners_train"),
}
LAYOUT = (
    "arrays x and y, or train_x, train_y, test_x and test_y, and owners of the training samples "
    "where these are known"
)


def from_arrays(
    root: str,
    name: str | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
    contents: str | None = None,
) -> Dataset:
    """Load samples and labels from a .npz file, or from .npy files in a folder.

    Labels are whole numbers, or text, whose classes are then numbered in the order of the
    alphabet. Of a set without a test part a fifth of each class is held out. Images may lack
    the axis of channels or have it last. Floating-point numbers are taken as they are.

    Args:
        root: the file or folder; arrays x and y, or train_x, train_y, test_x and test_y; owners
            (n,) of the training samples.
        name: of the data set; the file's or folder's if none is given.
        shape: of a sample; None: that of the samples.
        classes: how many there are; None: as many as the labels say.
        contents: digest of the files, part of a run's identity.

    Raises:
        DataError: a file or an array is not what it should be; names it.
    """
    path = located(root)
    if name is None:
        name = path.resolve().name if path.is_dir() else path.stem
    arrays = _named(path, _read(path))
    for part in ("train", "test"):
        if len({f"{part}_x", f"{part}_y"} & arrays.keys()) == 1 or (
            part == "train" and "train_x" not in arrays
        ):
            raise DataError(f"{path} holds {', '.join(arrays) or 'no array'}; it needs {LAYOUT}")
    labels = {key: _labels(path, key, arrays[key]) for key in arrays if key.endswith("_y")}
    names: tuple[str, ...] = ()
    if any(y.dtype.kind == "U" for y in labels.values()):
        labels, names = _numbered(path, labels)
    remarks: list[str] = []
    shards = {}
    for part in [p for p in ("train", "test") if f"{p}_x" in arrays]:
        x, y = _samples(path, f"{part}_x", arrays[f"{part}_x"], shape), labels[f"{part}_y"]
        if len(x) != len(y):
            raise DataError(f"{path}: {part}_x holds {len(x)} samples and {part}_y {len(y)} labels")
        shards[part] = Shard(x, torch.from_numpy(y))
    shape = tuple(shards["train"].x.shape[1:]) if shape is None else tuple(shape)
    if classes is None:
        classes = len(names) or 1 + max(int(y.max()) for y in labels.values())
        seen = np.unique(np.concatenate([*labels.values()]))
        if classes > len(seen) and seen[0] >= 0:
            absent = np.setdiff1d(np.arange(classes), seen)
            more = f", nor of {len(absent) - 1} more" if len(absent) > 1 else ""
            remarks.append(f"{name}: no sample is of class {absent[0]}{more}")
    return made(
        name,
        shards["train"],
        shards.get("test"),
        shape,
        classes,
        arrays.get("owners"),
        class_names=names,
        remarks=tuple(remarks),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file or a folder, by name."""
    if path.is_dir():
        files = sorted(f for f in visible(path) if f.is_file() and f.suffix.lower() == ".npy")
        return {file.stem: _load(file) for file in files}
    if path.suffix.lower() == ".npy":
        raise DataError(f"{path} is a single array; name its folder, or a .npz file, with {LAYOUT}")
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, and no archive of them")
            return {key: archive[key] for key in archive.files}
    except Exception as error:
        raise _unreadable(path, error) from error


def _load(file: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(file, allow_pickle=False)
        return array
    except Exception as error:
        raise _unreadable(file, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "allow_pickle" in reason and "Object" in reason:
        reason = "it holds Python objects; save numbers, or text as an array of str"
    elif isinstance(error, zipfile.BadZipFile) or "pickle" in reason:
        reason = "it is damaged, or no file that numpy.savez or numpy.save wrote"
    return DataError(f"{path} cannot be read ({reason}); it must hold {LAYOUT}")


def _named(path: Path, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays under the names of this module.

    Raises:
        DataError: one has no such name, or two have the same.
    """
    named: dict[str, np.ndarray] = {}
    for key, array in found.items():
        ours = next((name for name, known in KEYS.items() if key.lower() in known), None)
        if ours is None or ours in named:
            why = "is not known" if ours is None else "stands for what another one holds too"
            raise DataError(f"{path}: the array {key} {why}; it needs {LAYOUT}, and nothing else")
        named[ours] = array
    return named


def _labels(path: Path, key: str, y: np.ndarray) -> np.ndarray:
    """Return labels (n,) as int64 or text."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    whole = y.dtype.kind in "iu" or (
        y.dtype.kind == "f" and bool(np.all(np.isfinite(y) & (y == np.round(y))))
    )
    if y.ndim != 1 or not len(y) or not (whole or y.dtype.kind == "U"):
        one_hot = "; np.argmax(y, axis=1) makes classes of one-hot rows" if y.ndim == 2 else ""
        raise DataError(
            f"{path}: {key} must be one whole number or text for each sample, got {y.dtype} of "
            f"shape {y.shape}{one_hot}"
        )
    return y if y.dtype.kind == "U" else y.astype(np.int64)


def _numbered(
    path: Path, labels: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the labels as numbers, and the names of classes that they stand for."""
    if any(y.dtype.kind != "U" for y in labels.values()):
        raise DataError(f"{path}: labels are text in one part, numbers in the other; choose one")
    names = np.unique(labels["train_y"])
    for key, y in labels.items():
        if len(unknown := np.setdiff1d(y, names)):
            raise DataError(f"{path}: {key} has a class {unknown[0]} that train_y lacks")
    numbered = {key: np.searchsorted(names, y).astype(np.int64) for key, y in labels.items()}
    return numbered, tuple(map(str, names))


def _samples(path: Path, key: str, x: np.ndarray, shape: Sequence[int] | None) -> Tensor:
    """Return samples as a tensor of a type that networks are fed from, channels first."""
    if x.dtype.kind not in "iuf" or x.ndim < 2:
        raise DataError(
            f"{path}: {key} must hold numbers, a row or an image for each sample, got {x.dtype} "
            f"of shape {x.shape}"
        )
    if x.dtype.kind == "f":
        x = x.astype(np.float32)
    elif x.dtype != np.uint8:
        x = x.astype(np.int64)
    tensor = torch.from_numpy(np.ascontiguousarray(x))
    wanted = None if shape is None else tuple(shape)
    if tensor.dim() == 3 and tensor.dtype == torch.uint8 and (wanted is None or len(wanted) == 3):
        tensor = tensor.unsqueeze(1)  # grey images without the axis of channels
    last = tensor.dim() == 4 and tensor.shape[3] in (1, 3)
    if last and (tensor.shape[1] not in (1, 3) if wanted is None else tensor.shape[1:] != wanted):
        tensor = tensor.permute(0, 3, 1, 2).contiguous()
    return tensor

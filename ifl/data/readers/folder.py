"""Reads a user's own pictures: a folder for each class, in ROOT or in ROOT/train and ROOT/test."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ifl.checks import check_text
from ifl.data.contents import TEST, TRAIN, below, classes, folders, located, parts, visible
from ifl.data.dataset import Dataset, Shard, check_promise
from ifl.data.heldout import made
from ifl.data.readers.pictures import Facts, facts, pixels, tensor
from ifl.errors import ConfigError, DataError

ASIDE = ("val", "valid", "validation")  # beside train and test
FOLDER = "folder"  # data.owner: the folder below the class
LAYOUT = "put pictures into ROOT/CLASS/ or into ROOT/train/CLASS/ and ROOT/test/CLASS/"
Files = list[tuple[Path, int]]  # a picture and its class


def from_folder(
    root: str,
    name: str | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
    owner: str | None = None,
    contents: str | None = None,
) -> Dataset:
    """Load pictures from folders that are called like their classes.

    ROOT/train/CLASS/... and ROOT/test/CLASS/..., or ROOT/CLASS/... alone, of which a fifth of each
    class is held out. Classes are numbered by name, or by number where all are called numbers.
    Pictures of other sizes are resized to ``shape``.

    Args:
        root: the folder.
        name: of the data set; the folder's if none is given.
        shape: C, H, W; None: the most common size, and 1 channel if all pictures are grey, else 3.
        classes: how many there must be; None: as many as there are.
        owner: regular expression that finds the owner in a training picture's path below its
            class, as its first group or as all it matches; "folder": the folder below the class.
        contents: digest of the files, part of a run's identity.

    Raises:
        DataError: a folder or a file is not what it should be; names it.
        ConfigError: a setting is not.
    """
    path = located(root)
    name = path.resolve().name if name is None else name
    find = _finder(owner)
    top, names, tops = _sorted_out(path)
    if classes is not None and classes != len(names):
        raise DataError(
            f"{name}: {top} holds {len(names)} classes ({', '.join(names)}) and data.classes="
            f"{classes}; correct data.classes, or leave it null"
        )
    files = [_files(each, names) for each in tops]
    if len(names) < 2:
        raise DataError(f"{name}: {top} holds one class, {names[0]}, and needs two; {LAYOUT}")
    seen = [fact for part in files for fact in map(_facts, [f for f, _ in part])]
    shape, remarks = _common(name, seen, shape)
    if len(tops) > 1 and (aside := [f.name for f in folders(path) if f.name.lower() in ASIDE]):
        remarks = (*remarks, f"{name}: the pictures in {', '.join(aside)} are not used")
    check_promise(name, shape, len(names), str(root))
    shards = [Shard(*_read(name, part, shape)) for part in files]
    owners = None
    if find is not None:
        owners = np.array([find(file.relative_to(tops[0] / names[c])) for file, c in files[0]])
    return made(
        name,
        shards[0],
        shards[1] if len(shards) > 1 else None,
        shape,
        len(names),
        owners,
        class_names=tuple(names),
        remarks=remarks,
    )


def _sorted_out(root: Path) -> tuple[Path, list[str], list[Path]]:
    """Return the folder with the classes, their names, and the folders of the parts."""
    if not root.is_dir():
        raise DataError(f"data.root: {root} is no folder; {LAYOUT}, or use data=arrays")
    tops = dict(parts(root))
    if TRAIN in tops and TEST not in tops and len(folders(root)) > 1:
        others = ", ".join(f.name for f in folders(root) if f != tops[TRAIN])
        raise DataError(f"data.root: {root} holds train, {others} and no test; {LAYOUT}")
    top = tops.get(TRAIN, root)
    for each in tops.values():
        for entry in visible(each):
            if entry.is_file() and entry.suffix.lower() in Image.registered_extensions():
                raise DataError(f"{entry} lies in no class's folder; {LAYOUT}")
    names = [f.name for f in classes(top)]
    if not names:
        raise DataError(f"data.root: {top} holds no folder; {LAYOUT}")
    if TEST in tops:
        unknown = [f.name for f in folders(tops[TEST]) if f.name not in names]
        if unknown:
            raise DataError(
                f"{tops[TEST] / unknown[0]} is a class that {top} lacks; both need the same classes"
            )
    return top, names, list(tops.values())


def _files(top: Path, names: Sequence[str]) -> Files:
    """Return the pictures of one part, class by class."""
    found: Files = []
    for number, name in enumerate(names):
        inside = below(top / name) if (top / name).is_dir() else []
        if not inside and top.name.lower() != TEST:
            raise DataError(f"{top / name} holds no picture; add some, or remove the folder")
        found += [(file, number) for file in inside]
    if not found:
        raise DataError(f"{top} holds no picture; {LAYOUT}")
    return found


def opened(file: Path, act: Callable[[Image.Image], Facts | np.ndarray]) -> Facts | np.ndarray:
    """Return what an act makes of a picture.

    Raises:
        DataError: something is wrong with the file.
    """
    try:
        with Image.open(file) as image:
            return act(image)
    except Exception as error:
        reason = "no picture of a known format"
        if not isinstance(error, UnidentifiedImageError):
            reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{file} cannot be read as a picture ({reason}); repair or remove it"
        ) from error


def _facts(file: Path) -> Facts:
    found = opened(file, facts)
    assert isinstance(found, Facts)
    return found


def _read(name: str, files: Files, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return images (n, C, H, W) uint8 and labels (n,) int64."""
    return images(name, [f for f, _ in files], shape), torch.tensor([label for _, label in files])


def images(name: str, files: Sequence[Path], shape: Sequence[int]) -> Tensor:
    """Return pictures (n, C, H, W) uint8 of this shape, in the order of the files.

    Raises:
        DataError: a file is no picture.
    """
    x = tensor(shape, len(files), name)
    for place, file in enumerate(files):
        x[place] = torch.from_numpy(np.asarray(opened(file, lambda i: pixels(i, shape))))
    return x


def _common(
    name: str, seen: Sequence[Facts], shape: Sequence[int] | None
) -> tuple[Sequence[int], tuple[str, ...]]:
    """Return the shape that all pictures get, and what a user should know of it."""
    remarks, n = [], len(seen)
    sizes = Counter((fact.height, fact.width) for fact in seen)
    grey = sum(fact.grey for fact in seen)
    if shape is None:
        most = max(sizes.values())
        height, width = min(size for size, count in sizes.items() if count == most)
        shape = (1 if grey == n else 3, height, width)
    if len(shape) != 3:
        return shape, ()  # refused as any other shape that is none
    if other := n - sizes[shape[1], shape[2]]:
        remarks.append(
            f"{name}: {other} of {n} pictures are not {shape[1]} x {shape[2]} and are resized, "
            "stretched where their proportions differ (data.shape sets the size)"
        )
    if shape[0] == 1 and grey < n:
        remarks.append(f"{name}: {n - grey} of {n} pictures are in colour and are taken as grey")
    if shape[0] == 3 and 0 < grey < n:
        remarks.append(f"{name}: {grey} of {n} pictures are grey, the others in colour")
    return shape, tuple(remarks)


def _finder(owner: str | None) -> Callable[[Path], str] | None:
    """Return the function that finds the owner of a picture by its path below its class."""
    if owner is None:
        return None
    check_text("data.owner", owner)
    try:
        pattern = re.compile("^([^/]+)/" if owner == FOLDER else owner)
    except re.error as error:
        raise ConfigError(
            f"data.owner={owner} is no regular expression ({error}); write one such as (\\w+)_, "
            f"or {FOLDER}"
        ) from error

    def find(path: Path) -> str:
        found = pattern.search(path.as_posix())
        name = found[1 if pattern.groups else 0] if found else None
        if not name:
            raise DataError(
                f"data.owner={owner} finds no owner in {path.as_posix()}, a training picture's "
                "path below its class; correct it, or rename the file"
            )
        return name

    return find

"""Keeps parts of a state in files of their own: those of clients that are not in memory.

A file is never changed once it is there, so that it may be at several places: where the states are
of clients of a run that goes on, and in its checkpoints, which name it after what it holds.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ifl.errors import IFLError

CHUNK = 2**20  # bytes
NAME = re.compile(r"\d+-[0-9a-f]{16}\.part(\.new)?")


@dataclass(frozen=True)
class Part:
    """A part of a state, as an index has it.

    Args:
        name: of its file.
        size: of the file, bytes.
        sha256: of the file.
    """

    name: str
    size: int
    sha256: str


def part_of(key: int, path: Path) -> Part:
    """Describe a file, under a name that ``key`` tells from others of the same content.

    Raises:
        OSError: it cannot be read.
    """
    sha256 = _digest(path)
    return Part(f"{key}-{sha256[:16]}.part", path.stat().st_size, sha256)


def check_part(path: Path, part: Part) -> None:
    """Raise IFLError unless a file is as it was when it was described."""
    if not path.exists() or _digest(path) != part.sha256:
        raise IFLError(
            f"{path} is not as it was written: the state of a client is lost; fresh=true runs anew"
        )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while some := file.read(CHUNK):
            digest.update(some)
    return digest.hexdigest()


def hand_on(source: Path, target: Path, durable: bool = False) -> None:
    """Let a file be at a second place, without a second copy where the disk can do that.

    Args:
        durable: bring it to disk first.

    Raises:
        OSError: it cannot be written.
    """
    fresh = target.with_name(f"{target.name}.new")
    fresh.unlink(missing_ok=True)
    if durable:
        _sync(source)
    try:
        os.link(source, fresh)
    except OSError:  # another disk, or one that has no links
        shutil.copyfile(source, fresh)
        _sync(fresh)
    os.replace(fresh, target)


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def is_there(folder: Path, part: Part) -> bool:
    """Return whether a folder has a part, by its name and size."""
    try:
        return (folder / part.name).stat().st_size == part.size
    except OSError:
        return False


def keep_only(folder: Path, parts: Iterable[Part]) -> None:
    """Remove all other parts from a folder, and the folder if nothing is left in it."""
    names: Collection[str] = {part.name for part in parts}
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.name not in names and NAME.fullmatch(path.name):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()

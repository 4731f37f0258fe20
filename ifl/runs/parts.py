"""Keeps parts of a state in files of their own: those of clients that are not in memory.

A file is named after what it holds and never changed once it is there, so that several folders may
have the same one: those of the learners of a run that goes on, and of its checkpoints.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from ifl.errors import IFLError

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


def write_part(folder: Path, key: int, payload: bytes) -> Part:
    """Write a part; ``key`` tells it from others of the same content.

    Raises:
        OSError: it cannot be written.
    """
    sha256 = hashlib.sha256(payload).hexdigest()
    part = Part(f"{key}-{sha256[:16]}.part", len(payload), sha256)
    fresh = folder / f"{part.name}.new"
    fresh.write_bytes(payload)
    os.replace(fresh, folder / part.name)
    return part


def read_part(folder: Path, part: Part) -> bytes:
    """Return what a part holds.

    Raises:
        IFLError: its file is not there, or not as it was written.
    """
    path = folder / part.name
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise IFLError(
            f"{path} cannot be read ({error.strerror}): it holds the state of a client that is not "
            "in memory; runtime.resident=null keeps all there"
        ) from error
    if hashlib.sha256(payload).hexdigest() != part.sha256:
        raise IFLError(
            f"{path} is not as it was written: the state of a client is lost; fresh=true runs anew"
        )
    return payload


def hand_on(part: Part, source: Path, target: Path, durable: bool = False) -> None:
    """Let a folder have a part of another one, without a second copy where the disk can do that.

    Args:
        durable: bring it to disk first.

    Raises:
        OSError: it cannot be written.
    """
    if durable:
        with open(source / part.name, "rb") as file:
            os.fsync(file.fileno())
    if is_there(target, part):
        return
    fresh = target / f"{part.name}.new"
    fresh.unlink(missing_ok=True)
    try:
        os.link(source / part.name, fresh)
    except OSError:  # another disk, or one that has no links
        shutil.copyfile(source / part.name, fresh)
        with open(fresh, "rb") as file:
            os.fsync(file.fileno())
    os.replace(fresh, target / part.name)


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

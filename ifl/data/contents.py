"""Lists the files of a user's own data and tells them by their contents.

The digest is part of a run's identity: the same files at another place make the same run, other
files under the same name another one.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ifl.errors import DataError

ARRAYS = (".npy", ".npz")
TRAIN, TEST = "train", "test"
OWN_FILES = ("data.root", "partition.owners", "anchors.root")  # settings that name them
SETTINGS = {"owners": "partition.owners", "pictures": "anchors.root"}  # by kind of files
NOT_DATA = {"thumbs.db", "desktop.ini", "__macosx"}
_DIGESTS: dict[tuple[str, int, int], bytes] = {}  # by path, size and time of change


def contents(root: str | None, kind: str = "files") -> str | None:
    """Return KIND- and 16 hex digits of the names and contents of all files of a data set.

    Args:
        root: a file, or a folder; None: there is none.
        kind: files: those below a folder's classes; pictures: all below a folder; arrays: its
            .npy and .npz files; owners: the file that partition.owners names.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    if root is None:
        return None
    path = located(root, SETTINGS.get(kind, "data.root"))
    whole = hashlib.sha256()
    try:
        files = listed(path, kind)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror})") from error
    for file in files:
        name = "" if file == path else file.relative_to(path).as_posix()
        whole.update(name.encode(errors="surrogateescape") + b"\0" + _digest(file))
    return f"{kind}-{whole.hexdigest()[:16]}"


def unchanged(root: str, found: str) -> bool:
    """Return whether ``contents`` of these files is still what was found once."""
    try:
        return contents(root, found.partition("-")[0]) == found
    except DataError:
        return False


def located(root: str, setting: str = "data.root") -> Path:
    """Return the path of a file or a folder, ~ being the user's home.

    Raises:
        DataError: it is not there.
    """
    path = Path(str(root)).expanduser()
    if not path.exists():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise DataError(f"{setting}: {root} was looked for{where} and is not there; correct it")
    return path


def listed(path: Path, kind: str = "files") -> list[Path]:
    """Return the files of a data set in the order of their paths, hidden ones left out."""
    if not path.is_dir():
        return [path]
    if kind == "arrays":
        return sorted(f for f in visible(path) if f.is_file() and f.suffix.lower() in ARRAYS)
    if kind == "pictures":
        return below(path)
    return [f for _, top in parts(path) for each in classes(top) for f in below(each)]


def parts(root: Path) -> list[tuple[str, Path]]:
    """Return the folders train and test of a root, or the root itself under an empty name."""
    named = {f.name.lower(): f for f in folders(root)}
    if TRAIN not in named:
        return [("", root)]
    return [(part, named[part]) for part in (TRAIN, TEST) if part in named]


def classes(top: Path) -> list[Path]:
    """Return the folders of classes, by number where all are called numbers, else by name."""
    found = folders(top)
    if all(f.name.isdecimal() for f in found):
        return sorted(found, key=lambda f: (int(f.name), f.name))
    return found


def folders(path: Path) -> list[Path]:
    """Return the folders in a folder, sorted."""
    return sorted(f for f in visible(path) if f.is_dir())


def visible(path: Path) -> Iterator[Path]:
    """Yield what is in a folder, but for what systems hide there."""
    for entry in path.iterdir():
        if not entry.name.startswith(".") and entry.name.lower() not in NOT_DATA:
            yield entry


def below(folder: Path) -> list[Path]:
    """Return the files in a folder, at any depth, sorted by path; links are followed once."""
    found: list[Path] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        if (real := os.path.realpath(here)) in seen:
            continue
        seen.add(real)
        for entry in visible(here):
            (waiting if entry.is_dir() else found).append(entry)
    return sorted(found)


def _digest(file: Path) -> bytes:
    try:
        facts = file.stat()
        key = (os.path.abspath(file), facts.st_size, facts.st_mtime_ns)
        if key not in _DIGESTS:
            digest = hashlib.sha256()
            with file.open("rb") as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
            _DIGESTS[key] = digest.digest()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); repair or remove it") from error
    return _DIGESTS[key]

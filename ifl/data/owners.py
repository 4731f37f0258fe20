"""Deals samples by whose they are: hospitals, writers, speakers.

The owners come with the data set, or from a file with one for each training sample.
"""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ifl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ifl.data.dataset import Dataset

NEEDED = (
    "partition=by needs the owner of each training sample; name them in partition.owners "
    "(a .npy, .csv or .txt file), by data.owner (data=folder), in "
    "an array owners (data=arrays) or in the field owners of a data set of your own"
)


@dataclass(frozen=True)
class By:
    """Each client holds all samples of one owner, or of several; no owner is divided.

    With as many clients as owners, client k holds those of the k-th owner, sorted by number or
    by name. With fewer clients, owners are dealt whole: the largest first, each to the client
    that holds the fewest samples by then; the seed decides among owners of equal size.

    Args:
        owners: a file with the owner of each training sample, in the data set's order: .npy, or
            .csv or .txt with one a line. None: those of the data set.
        contents: digest of the file, part of a run's identity.

    Raises:
        ConfigError: nobody says the owners, or there are more clients than owners.
    """

    owners: str | None = None
    contents: str | None = None

    def __call__(
        self,
        labels: np.ndarray,
        clients: int,
        generator: np.random.Generator,
        owners: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Return the clients' indices."""
        if owners is None:
            raise ConfigError(NEEDED)
        names, owner, sizes = np.unique(owners, return_inverse=True, return_counts=True)
        if not 1 <= clients <= len(names):
            raise ConfigError(
                f"clients.count must be between 1 and the {len(names)} owners of the training "
                f"samples, got {clients}; clients.count=null is a client for each owner"
            )
        if clients == len(names):
            client_of = np.arange(clients)
        else:
            client_of = np.empty(len(names), dtype=np.int64)
            held = np.zeros(clients, dtype=np.int64)
            shuffled = generator.permutation(len(names))
            for place in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
                client_of[place] = held.argmin()
                held[client_of[place]] += sizes[place]
        return [np.flatnonzero(client_of[owner] == client) for client in range(clients)]

    def clients(self, data: "Dataset") -> int:
        """Return how many owners a data set has.

        Raises:
            ConfigError: it names none.
        """
        if data.owners is None:
            raise ConfigError(NEEDED)
        return len(np.unique(data.owners))

    def owned(self, data: "Dataset") -> "Dataset":
        """Return the data set with the owners that the file names, if there is one.

        Raises:
            DataError: the file cannot be read, or does not name one owner for each sample.
        """
        if self.owners is None:
            return data
        return dataclasses.replace(data, owners=read_owners(self.owners, len(data.train)))


def read_owners(file: str, n: int) -> np.ndarray:
    """Return the n owners that a .npy, .csv or .txt file names; a .csv may have a head.

    Raises:
        DataError: it cannot be read, or does not name n owners.
    """
    path = Path(str(file)).expanduser()
    named = f"partition.owners={file}"
    if path.suffix.lower() not in (".npy", ".csv", ".txt"):
        raise DataError(f"{named} must be a .npy, .csv or .txt file with the owner of each sample")
    try:
        if path.suffix.lower() == ".npy":
            return checked_owners(np.load(path, allow_pickle=False), n, named)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "pickle" in reason:
            reason = "it is no array of numbers or text that numpy.save wrote"
        raise DataError(
            f"{named} cannot be read ({reason}); it must name the owner of each of {n} training "
            "samples"
        ) from error
    if path.suffix.lower() == ".csv":
        rows = [row for row in csv.reader(text.splitlines()) if row]
        if wide := next((row for row in rows if len(row) > 1), None):
            raise DataError(
                f"{named} has {len(wide)} columns ({', '.join(wide)}); keep the one with the owners"
            )
        lines = [row[0] for row in rows][len(rows) == n + 1 :]
    else:
        lines = text.splitlines()
    return checked_owners(lines, n, named)


def checked_owners(owners: Sequence[Any] | np.ndarray, n: int, named: str) -> np.ndarray:
    """Return owners as an array (n,) of int64 or text.

    Args:
        named: what a sentence calls them.

    Raises:
        DataError: there is not one for each sample, or they are neither whole numbers nor text.
    """
    array = np.asarray(owners)
    if array.dtype == object and all(isinstance(owner, str) for owner in array.flat):
        array = array.astype(str)
    if array.ndim != 1 or len(array) != n:
        found = f"{len(array)}" if array.ndim == 1 else f"an array of shape {array.shape}"
        raise DataError(f"{named} must name an owner for each of {n} training samples, got {found}")
    if array.dtype.kind not in "iuU":
        raise DataError(
            f"{named} must be whole numbers or text, got {array.dtype} such as {array[0]!r}"
        )
    if array.dtype.kind == "U" and len(empty := np.flatnonzero(np.char.strip(array) == "")):
        raise DataError(f"{named} names nobody for sample {empty[0]}; name an owner for each")
    return array if array.dtype.kind == "U" else array.astype(np.int64)

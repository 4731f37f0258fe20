"""Counts what a vendor sent and received, to be compared with the server's ledger at the end."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from ifl.runs.folder import TABLES

Row = tuple[int, str, str, int]  # round, direction, kind, bytes


class Traffic:
    """Bytes of one client by round, direction and kind."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, str, str]] = Counter()

    def add(self, number: int, direction: str, sizes: Mapping[str, int]) -> None:
        """Count a message of a round."""
        for kind, size in sizes.items():
            self._counts[number, direction, kind] += size

    def rows(self) -> list[Row]:
        """Return all that was counted, in order."""
        return sorted((*key, size) for key, size in self._counts.items())

    def load(self, rows: Iterable[Iterable[object]]) -> None:
        """Go on from such rows."""
        self._counts.clear()
        for number, direction, kind, size in rows:
            self._counts[int(str(number)), str(direction), str(kind)] = int(str(size))

    def write(self, path: Path, client: int) -> None:
        """Write a table as a run's traffic.csv."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(TABLES["traffic"])
            writer.writerows((n, way, client, kind, size) for n, way, kind, size in self.rows())


def read_traffic(path: Path, client: int) -> list[Row]:
    """Return a client's rows of a run's traffic.csv, in order."""
    with path.open(newline="", encoding="utf-8") as file:
        found = [row for row in csv.DictReader(file) if row["client"] == str(client)]
    rows = [(int(r["round"]), r["direction"], r["kind"], int(r["bytes"])) for r in found]
    return sorted(rows)


def digest(rows: Iterable[Row]) -> str:
    """Return the sha256 of rows."""
    return hashlib.sha256(repr([*rows]).encode()).hexdigest()


def totals(rows: Iterable[Row]) -> dict[str, int]:
    """Return the bytes of rows by direction."""
    found: Counter[str] = Counter()
    for _, direction, _, size in rows:
        found[direction] += size
    return dict(found)

"""Writes a run's folder row by row, and reads it back.

Files: run.json and the tables rounds, compositions, metrics, traffic, partition and classes
(docs/run-folder.md). Rows are flushed as they come, so a killed run keeps them; one that goes on
from a checkpoint cuts the tables back to where they were then.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ifl.errors import OutputError
from ifl.runs.lock import Lock

if TYPE_CHECKING:
    import numpy as np

SCHEMA_VERSION = 2
BYTES_PER_MB = 10**6  # in tables and settings, wherever MB are written


@dataclass(frozen=True)
class Round:
    """A row of rounds.csv. Accuracies are fractions, None in rounds without evaluation."""

    round: int
    uplink_bytes: int  # cumulative, all clients
    downlink_bytes: int  # cumulative, all clients
    accuracy_mean: float | None  # over all compositions
    accuracy_local: float | None
    accuracy_cross: float | None
    accuracy_sd: float | None  # mean over k of the SD over i, in percentage points
    train_loss: float | None  # None where nobody trained
    clients: int  # that took part to the end of the round
    refused: int  # uploads refused in the round
    seconds: float  # since the first round began


TABLES: dict[str, Sequence[str]] = {
    "rounds": [f.name for f in fields(Round)],
    "compositions": ("round", "base", "modular", "accuracy"),
    "traffic": ("round", "direction", "client", "kind", "bytes"),
    "metrics": ("round", "base", "modular", "balanced_accuracy", "macro_f1", "accuracy_own"),
}
CLASSES = ("base", "modular", "class", "samples", "guessed", "correct")  # of classes.csv


class RunFolder:
    """Writes one run, this process's alone until it is closed; touches no file but the lock yet.

    ``closing`` takes what else is to be closed with it, as ``ExitStack`` does.

    Raises:
        BusyError: another process is running it.
        OutputError: the folder cannot be written; so do all methods that write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tables: dict[str, TextIO] = {}
        self.closing = ExitStack()
        with self.writing():
            path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(path)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.closing.close()
        finally:
            for table in self._tables.values():
                with suppress(OSError):  # it was told when it was written
                    table.close()
            self._lock.release()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Say in a sentence that what is written inside cannot be."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"outputs: {self.path} cannot be written ({error.strerror}); make room there, and "
                "the same command resumes from the last whole checkpoint, or choose another "
                "folder with outputs=..."
            ) from error

    def describe(self, about: Mapping[str, Any]) -> None:
        """Replace run.json, in one step."""
        text = json.dumps({"schema_version": SCHEMA_VERSION, **about}, indent=2) + "\n"
        temporary = self.path / "run.json.new"
        with self.writing():
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path / "run.json")

    def sync(self) -> dict[str, int]:
        """Bring the tables to disk and return their lengths in bytes, for ``rewind``."""
        for table in self._tables.values():
            os.fsync(table.fileno())
        return {name: os.fstat(table.fileno()).st_size for name, table in self._tables.items()}

    def holds(self, lengths: Mapping[str, int]) -> bool:
        """Return whether the tables are there and no shorter than they were."""
        paths = {name: self.path / f"{name}.csv" for name in lengths}
        return all(p.exists() and p.stat().st_size >= lengths[name] for name, p in paths.items())

    def rewind(self, lengths: Mapping[str, int] | None = None) -> None:
        """Open the tables for more rows, cut back to these lengths or to their heads.

        A cut is one step of the file system: killed in the middle of this, and begun again,
        it comes to the same.
        """
        for name, columns in TABLES.items():
            with self.writing():
                path = self.path / f"{name}.csv"
                self._tables[name] = path.open("a", newline="", encoding="utf-8")
                self._tables[name].truncate(lengths.get(name, 0) if lengths else 0)
            if not lengths or name not in lengths:  # a checkpoint of before there was this table
                self._write(name, [columns])

    def take_over(
        self, source: Path, lengths: Mapping[str, int], tested: Callable[[int], bool]
    ) -> None:
        """Write another run's tables, cut to these lengths, as this one's; open them for more rows.

        Args:
            tested: whether a round keeps its accuracies.
        """
        for name in lengths:
            with self.writing():
                text = (source / f"{name}.csv").read_bytes()[: lengths[name]].decode()
                head, *rows = csv.reader(text.splitlines())
                if name in ("compositions", "metrics"):
                    rows = [row for row in rows if tested(int(row[0]))]
                if name == "rounds":
                    accuracies = [column.startswith("accuracy") for column in head]
                    rows = [
                        row
                        if tested(int(row[0]))
                        else ["" if a else cell for a, cell in zip(accuracies, row, strict=True)]
                        for row in rows
                    ]
                temporary = self.path / f"{name}.csv.new"
                with open(temporary, "w", newline="", encoding="utf-8") as file:
                    csv.writer(file, lineterminator="\n").writerows([head, *rows])
                os.replace(temporary, self.path / f"{name}.csv")
        self.rewind({name: (self.path / f"{name}.csv").stat().st_size for name in lengths})

    def write_partition(self, table: "np.ndarray") -> None:
        """Write the class-by-client table (clients, classes) as partition.csv."""
        path = self.path / "partition.csv"
        with self.writing(), path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["client", *range(table.shape[1])])
            writer.writerows([client, *row] for client, row in enumerate(table.tolist()))

    def write_classes(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write classes.csv: the last evaluation by composition and class."""
        path = self.path / "classes.csv"
        with self.writing(), path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([CLASSES, *rows])

    def write_round(
        self,
        row: Round,
        accuracy: Mapping[tuple[str, str], float],
        traffic: Iterable[tuple[str, int, str, int]],
        metrics: Mapping[tuple[str, str], Sequence[float | None]] | None = None,
    ) -> None:
        """Append a round to the tables; the row of rounds.csv comes last."""
        n = row.round
        self._write("compositions", ((n, *pair, value) for pair, value in accuracy.items()))
        self._write("traffic", ((n, *entry) for entry in traffic))
        self._write("metrics", ((n, *pair, *values) for pair, values in (metrics or {}).items()))
        self._write("rounds", [asdict(row).values()])

    def _write(self, name: str, rows: Iterable[Iterable[Any]]) -> None:
        with self.writing():
            csv.writer(self._tables[name], lineterminator="\n").writerows(rows)
            self._tables[name].flush()


def read_about(path: Path) -> dict[str, Any] | None:
    """Return a run folder's run.json; None where there is no whole one."""
    try:
        about = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def read_rounds(path: Path) -> list[Round]:
    """Return the whole rows of a run folder's rounds.csv; none where there is no such table."""
    rows: list[Round] = []
    whole = {"round", "uplink_bytes", "downlink_bytes", "clients", "refused"}
    kinds: Mapping[str, Any] = {name: int if name in whole else float for name in TABLES["rounds"]}
    with suppress(OSError), (path / "rounds.csv").open(newline="", encoding="utf-8") as file:
        for cells in csv.DictReader(file):
            with suppress(ValueError, TypeError):  # torn where a process was killed
                values: dict[str, Any] = {
                    name: kind(cells[name]) if cells[name] else None for name, kind in kinds.items()
                }
                rows.append(Round(**values))
    return rows


def attempts(path: Path) -> list[Path]:
    """Return the folders of one configuration that exist, PATH, PATH-2, ..., and the next free.

    The second and later ones are those of ``fresh=true``.

    >>> attempts(Path("nowhere/run"))
    [PosixPath('nowhere/run')]
    """
    found = [path]
    while (found[-1] / "run.json").exists():
        found.append(path.with_name(f"{path.name}-{len(found) + 1}"))
    return found

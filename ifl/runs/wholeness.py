"""Checks that the tables of a finished run are those that it wrote.

A run notes a digest of every table in its run.json when it ends. The tables of a run of before it
did are compared with run.json and with each other, as far as run.json says something.
"""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any

from ifl.runs.folder import TABLES

WAYS = {"up": "uplink_bytes", "down": "downlink_bytes"}
Rows = list[dict[str, str]]


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every table of a run by its name, but for the seconds of rounds.csv.

    Neither how lines end nor a mark of the encoding counts: some tools change these alone.
    """
    paths = {name: folder / f"{name}.csv" for name in (*TABLES, "partition", "classes")}
    return {name: _digest(path) for name, path in paths.items() if path.exists()}


def spoilt(folder: Path, about: Mapping[str, Any]) -> str | None:
    """Return in a sentence how a finished run's tables are not those that it wrote; None if whole.

    Args:
        about: its run.json.
    """
    try:
        kept = about.get("tables")
        return _changed(folder, about, kept) if kept else _contradicted(folder, about)
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        return f"a table is missing or damaged ({str(error).strip() or type(error).__name__})"


def _digest(path: Path) -> str:
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    if path.stem == "rounds":  # seconds are its last column
        lines = [line.rpartition(b",")[0] for line in lines]
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def _changed(folder: Path, about: Mapping[str, Any], kept: Mapping[str, str]) -> str | None:
    """Compare the tables with the digests that run.json keeps of them."""
    for name, digest in kept.items():
        path = folder / f"{name}.csv"
        if not path.exists():
            return f"{path.name} is missing"
        if _digest(path) != digest:
            if name == "rounds" and (cut := _cut(_rows(path), about)):
                return cut
            return f"{path.name} is not as the run wrote it, but cut or edited since"
    return _misquoted(_rows(folder / "rounds.csv"), about)


def _contradicted(folder: Path, about: Mapping[str, Any]) -> str | None:
    """Compare the tables with what run.json says of the end, and with each other."""
    totals, result = about.get("totals"), about.get("result")
    if not totals and not result:
        return None
    rounds = _rows(folder / "rounds.csv")
    if totals:
        if cut := _cut(rounds, about):
            return cut
        if wrong := _misquoted(rounds[-1:], {"totals": totals}):
            return wrong
        if wrong := _unsent(folder / "traffic.csv", rounds):
            return wrong
    if result:
        return _misquoted(rounds, about) or _uncomposed(folder / "compositions.csv", rounds)
    return None


def _misquoted(rounds: Rows, about: Mapping[str, Any]) -> str | None:
    """Compare the last round with the bytes and the result that run.json quotes of it."""
    quoted = {**(about.get("totals") or {}), **(about.get("result") or {})}
    for column, value in quoted.items():
        if column not in TABLES["rounds"] or column in ("rounds", "seconds"):
            continue
        found = rounds[-1].get(column, "")
        if (float(found) if found else None) != value:
            return f"rounds.csv ends with {column} {found or 'empty'}, run.json says {value}"
    return None


def _cut(rounds: Rows, about: Mapping[str, Any]) -> str | None:
    """Return how the rounds are not 1, 2, ... to the last that run.json says."""
    last = (about.get("totals") or {}).get("rounds")
    numbers = [int(row["round"]) for row in rounds]
    if last is None or numbers == [*range(1, last + 1)]:
        return None
    if numbers == [*range(1, len(numbers) + 1)]:
        return f"rounds.csv ends with round {len(numbers)}, run.json says {last}"
    return f"rounds.csv does not hold the rounds 1 to {last}, each once and in order"


def _unsent(path: Path, rounds: Rows) -> str | None:
    """Compare the bytes of every round with what traffic.csv says was sent until then."""
    if not path.exists():
        return None
    sent: dict[tuple[str, str], int] = defaultdict(int)
    for row in _rows(path):
        sent[row["round"], row["direction"]] += int(row["bytes"])
    for way, column in WAYS.items():
        total = 0
        for row in rounds:
            total += sent[row["round"], way]
            if total != int(row[column]):
                return (
                    f"rounds.csv says {column} {row[column]} in round {row['round']}, traffic.csv "
                    f"{total}"
                )
    return None


def _uncomposed(path: Path, rounds: Rows) -> str | None:
    """Compare the mean of every tested round with its compositions."""
    tested: dict[str, list[float]] = defaultdict(list)
    for row in _rows(path):
        tested[row["round"]].append(float(row["accuracy"]))
    for row in rounds:
        found, said = tested.get(row["round"], []), row["accuracy_mean"]
        mean = sum(found) / len(found) if found else None
        if bool(said) != bool(found) or (
            mean is not None and not isclose(mean, float(said), abs_tol=1e-9)
        ):
            return (
                f"rounds.csv says accuracy_mean {said or 'empty'} in round {row['round']}, the "
                f"compositions {'are not there' if mean is None else f'have {mean}'}"
            )
    return None


def _rows(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))

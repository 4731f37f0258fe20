"""Compares two finished folders of one run, but for times and places."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from ifl.runs.checkpoint import FOLDER, TENSORS
from ifl.runs.folder import TABLES, read_about

PLACES = ("started", "resumed", "ended", "recipe", "commit", "command")  # time, folders, history


class Difference(NamedTuple):
    """Between a run and one that was disturbed."""

    bytes: int  # in places where the files differ, and in what one has beyond the other
    rows: int  # of the tables that the disturbed one lacks


def differences(whole: Path, other: Path) -> Difference:
    """Compare tables, networks, optimisers, random streams and run.json, but for times."""
    pairs = [(content(whole, name), content(other, name)) for name in names(whole)]
    different = sum(differing(*pair) for pair in pairs)
    lost = 0
    for name in TABLES:
        rows = [Counter(content(f, f"{name}.csv").splitlines()) for f in (whole, other)]
        lost += (rows[0] - rows[1]).total()
    return Difference(different, lost)


def names(whole: Path) -> list[str]:
    """Return the files to compare, by their path in the folder of a run."""
    kept = [str(p.relative_to(whole)) for p in (whole / FOLDER).glob(f"*/{TENSORS}")]
    return [*(f"{name}.csv" for name in TABLES), "partition.csv", "run.json", *kept]


def content(folder: Path, name: str) -> bytes:
    """Return the bytes of a file without times and places; none of one that is not there."""
    path = folder / name
    if not path.exists():
        return b""
    if name == "rounds.csv":  # seconds are the last column
        lines = path.read_bytes().splitlines()
        return b"\n".join(line.rpartition(b",")[0] for line in lines)
    if name == "run.json":
        about: dict[str, Any] = read_about(folder) or {}
        kept = {key: value for key, value in about.items() if key not in PLACES}
        totals = {**kept.get("totals", {}), "seconds": None}
        config = {**kept.get("config", {}), "outputs": None}
        return json.dumps({**kept, "totals": totals, "config": config}, indent=1).encode()
    return path.read_bytes()


def differing(first: bytes, second: bytes) -> int:
    """Return in how many bytes two contents differ."""
    unequal = 0 if first == second else sum(a != b for a, b in zip(first, second, strict=False))
    return unequal + abs(len(first) - len(second))

"""Reads what a server says to a vendor beside the conversation, without trust."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ifl.engines.base import Packet
from ifl.engines.strict import counts, cut, floats, tensors, text, whole
from ifl.errors import MessageError
from ifl.runs.folder import TABLES


@dataclass(frozen=True)
class Results:
    """The outcome of a run.

    Args:
        row: the last of rounds.csv.
        compositions: owners of base and modular block, and their accuracy.
        traffic: by party, whether its own table of bytes is the server's.
    """

    row: Mapping[str, float | None]
    compositions: list[tuple[str, str, float]]
    traffic: Mapping[str, str]


def results(head: Mapping[str, Any]) -> Results:
    """Return the results in a head.

    Raises:
        MessageError: it holds none.
    """
    row, pairs, traffic = (head.get(name) for name in ("row", "compositions", "traffic"))
    if not isinstance(row, Mapping) or not isinstance(traffic, Mapping):
        raise MessageError(f"its results are {cut(row)} and {cut(traffic)}, expected are tables")
    whole(row, "round", 1)
    for name in TABLES["rounds"]:
        if row.get(name) is not None and not _finite(row[name]):
            raise MessageError(f"its {name} is {cut(row[name])}, expected a finite number")
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
        raise MessageError(f"its compositions are {cut(pairs)}, expected pairs and accuracies")
    return Results(
        {name: row.get(name) for name in TABLES["rounds"]},
        [(base, modular, float(accuracy)) for base, modular, accuracy in pairs],
        {name: text(traffic, name) for name in traffic},
    )


def shown(said: Packet, dim: int, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Return z (n, d) float32, finite, of a packet.

    Raises:
        MessageError: it holds others.
    """
    found = tensors(said.body, names)
    for name, z in floats(found).items():
        if z.dim() != 2 or z.shape[1] != dim or not len(z):
            raise MessageError(f"{name} has the shape {(*z.shape,)}, expected (n, {dim})")
        if not z.isfinite().all():
            raise MessageError(f"{name} is not finite")
    return found


def guessed(asked: Packet, rows: int, classes: int) -> dict[str, Tensor]:
    """Return others' guesses (n,) int64 at the own test images.

    Raises:
        MessageError: it holds others.
    """
    found = tensors(asked.body, None, (rows,))
    counts(found, classes - 1)
    return found


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(isinstance(name, str) and name.isdecimal() for name in value[:2])
        and _finite(value[2])
    )

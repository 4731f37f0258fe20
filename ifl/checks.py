"""Checks the ranges of settings; raises one sentence for each value out of range."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from ifl.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_whole(field: str, value: object, low: int) -> None:
    """Raise ConfigError unless the value is a whole number >= low."""
    if not _is_whole(value, low):
        raise ConfigError(f"{field} must be a whole number >= {low}, got {typed(value)}")


def check_wholes(field: str, values: object, low: int) -> None:
    """Raise ConfigError unless the value is a list of whole numbers >= low."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigError(f"{field} must be a list such as [64, 32], got {typed(values)}")
    if not all(_is_whole(value, low) for value in values):
        raise ConfigError(f"{field} must hold whole numbers >= {low}, got {list(values)}")


def check_above(field: str, value: object, low: float, way_out: str = "") -> None:
    """Raise ConfigError unless the value is a finite number > low."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low < value < inf:
        raise ConfigError(f"{field} must be a number > {low}, got {typed(value)}{way_out}")


def check_at_least(field: str, value: object, low: float, way_out: str = "") -> None:
    """Raise ConfigError unless the value is a finite number >= low."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value < inf:
        raise ConfigError(f"{field} must be a number >= {low}, got {typed(value)}{way_out}")


def check_number(field: str, value: object) -> None:
    """Raise ConfigError unless the value is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -inf < value < inf:
        raise ConfigError(f"{field} must be a finite number, got {typed(value)}")


def check_one_of(field: str, value: object, *allowed: str) -> None:
    """Raise ConfigError unless the value is one of those allowed."""
    if value not in allowed:
        raise ConfigError(f"{field} must be one of {', '.join(allowed)}, got {typed(value)}")


def check_made_of(field: str, value: object, settings: "type[DataclassInstance]") -> None:
    """Raise ConfigError unless the value was made from the settings of this dataclass."""
    if not isinstance(value, settings):
        names = ", ".join(f.name for f in fields(settings))
        raise ConfigError(
            f"{field} must have the settings {names}, got {typed(value)}; set these, not {field} "
            "itself"
        )


def check_flag(field: str, value: object) -> None:
    """Raise ConfigError unless the value is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{field} must be true or false, got {typed(value)}")


def check_text(field: str, value: object) -> None:
    """Raise ConfigError unless the value is text and not empty."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{field} must be text that is not empty, got {typed(value)}")


def positive(argument: str) -> int:
    """Return the whole number >= 1 that an argument of argparse stands for.

    Raises:
        argparse.ArgumentTypeError: it stands for none.
    """
    if not argument.isdecimal() or int(argument) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, got {argument}")
    return int(argument)


def place(argument: str) -> Path:
    """Return the path that an argument of argparse stands for, ~ being the user's home.

    Raises:
        argparse.ArgumentTypeError: nobody here has this name.
    """
    try:
        return Path(argument).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"there is no such home folder: {argument}") from None


def typed(value: object) -> str:
    """Return a value as a user would type it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value) or "''"


def _is_whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low

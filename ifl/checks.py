"""Ranges that settings keep, each a sentence when broken."""

from math import inf

from ifl.errors import ConfigError


def whole(field: str, value: object, low: int) -> None:
    """Raise ConfigError unless the value is a whole number >= low."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{field} must be a whole number >= {low}, got {value}")


def above(field: str, value: object, low: float, way_out: str = "") -> None:
    """Raise ConfigError unless the value is a finite number > low."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low < value < inf:
        raise ConfigError(f"{field} must be a number > {low}, got {value}{way_out}")


def one_of(field: str, value: str, *allowed: str) -> None:
    """Raise ConfigError unless the value is one of those allowed."""
    if value not in allowed:
        raise ConfigError(f"{field} must be one of {', '.join(allowed)}, got {value}")

"""Keeps what a client's half of a method remembers from one round to the next.

Each part of a method that keeps something declares a kind of its own: a dataclass whose fields have
defaults, None for what is not there yet. A checkpoint holds the fields of all kinds side by side.
"""

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ifl.runs.checkpoint import State


@dataclass
class Kept:
    """Base of all kinds; what fields hold may stand in a checkpoint (``runs.checkpoint.State``)."""


Kind = TypeVar("Kind", bound=Kept)


class Memory:
    """Holds one of each kind that a client keeps."""

    def __init__(self) -> None:
        self._kept: dict[type[Kept], Kept] = {}
        self._loaded: dict[str, Any] = {}  # of a checkpoint: fields of kinds not asked for since

    def of(self, kind: type[Kind]) -> Kind:
        """Return what is kept of a kind, to read it and to change it; fresh at first.

        Raises:
            TypeError: another kind has a field of the same name.
        """
        kept = self._kept.get(kind)
        if not isinstance(kept, kind):
            kept = kind()
            for name in _names(kept):
                for other in self._kept.values():
                    if name in _names(other):
                        raise TypeError(f"{type(other).__name__} keeps {name!r} already")
                if name in self._loaded:
                    setattr(kept, name, self._loaded.pop(name))
            self._kept[kind] = kept
        return kept

    def state(self) -> State:
        """Return all fields that are there, by name."""
        held = dict(self._loaded)
        for kept in self._kept.values():
            values = {name: getattr(kept, name) for name in _names(kept)}
            held |= {name: value for name, value in values.items() if value is not None}
        return dict(sorted(held.items()))

    def load_state(self, state: State) -> None:
        """Go on from such a state, and forget all else."""
        self._kept, self._loaded = {}, dict(state)


def _names(kept: Kept) -> list[str]:
    return [field.name for field in fields(kept)]

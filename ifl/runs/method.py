"""Reads the entry "method" of run.json: title, when clients send, words for what they send."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from ifl.runs.legacy import method_of_before, title_of_now

Sends = Literal["each round", "never", "once"]  # in the order of figures and tables
PAPER_TITLE = "IFL"  # how the titles of the paper's method, and of what became of it, begin


@dataclass(frozen=True)
class MethodEntry:
    """A run's method, as figures and tables know it.

    Args:
        choice: the option of conf/method.
        title: its name.
        sends: in which rounds clients upload.
        kinds: words for what messages hold, by kind as traffic.csv has them.
    """

    choice: str
    title: str
    sends: Sends
    kinds: Mapping[str, str]

    @property
    def place(self) -> tuple[int, bool, str]:
        """The key that figures and tables sort methods by.

        Who sends comes first; of these the paper's method and its kin; then titles decide.
        """
        kin = self.title.startswith(PAPER_TITLE)
        return get_args(Sends).index(self.sends), not kin, self.title.casefold()


def method_entry(about: Mapping[str, Any]) -> MethodEntry:
    """Return what a run.json says of the method; of one of before, what it would have said.

    Raises:
        LookupError: there is no choice of a method.
        TypeError: the entry "method" is damaged.
        ValueError: likewise.
    """
    choice = str(about["choices"]["method"])
    entry = MethodEntry(choice, **(about.get("method") or method_of_before(choice)))
    config = about.get("config")
    settings = config.get("method") if isinstance(config, Mapping) else None
    if isinstance(settings, Mapping):
        entry = replace(entry, title=title_of_now(entry.title, settings))
    if not isinstance(entry.title, str) or not isinstance(entry.kinds, Mapping):
        raise TypeError("method.title or method.kinds is damaged")
    if entry.sends not in get_args(Sends):
        raise ValueError(f"method.sends is {entry.sends!r}")
    return entry

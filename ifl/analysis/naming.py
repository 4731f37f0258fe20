"""Names configurations by the settings in which they differ."""

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple, Protocol


class Named(Protocol):
    """A configuration that has a name."""

    @property
    def choices(self) -> Mapping[str, str | None]:
        """Return the option of every group."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the configuration by dotted key, without what tells no run from another."""


class Described(NamedTuple):
    """A configuration, as ``names_of`` takes it."""

    choices: Mapping[str, str | None]
    config: Mapping[str, Any]


def names_of(runs: Sequence[Named]) -> list[str]:
    """Name each configuration by what tells it from the others: "ifl, local.tau=5"."""
    return [", ".join(words) for words in words_of(runs)]


def words_of(runs: Sequence[Named]) -> list[list[str]]:
    """Return the words of each configuration's name.

    First the method, then other choices that differ, then values that differ between runs of
    the same choice. Plain values (local, fusion) stand for themselves: a choice's name may not
    hold for them. What is built (``_target_``) repeats no value that it may interpolate.
    """
    built = {_section(key) for run in runs for key in run.config if "_target_" in key}
    return [_words(run, runs, built) for run in runs]


def _words(run: Named, runs: Sequence[Named], built: Set[str]) -> list[str]:
    alike = {}  # the runs of the same choice, by group
    for group in built:
        alike[group] = [other for other in runs if _choice(other, group) == _choice(run, group)]
    words = [str(_choice(run, "method"))]
    for group in sorted(built - {"method"}):
        if len(alike[group]) < len(runs):
            words.append(str(_choice(run, group)))
    named: list[str] = []
    for key in sorted(run.config, key=lambda key: (_section(key) in built, key.count("."))):
        group, value = _section(key), run.config[key]
        compared = alike.get(group, runs)
        if all(key in other.config and other.config[key] == value for other in compared):
            continue
        if group in built and any(_repeats(runs, key, other) for other in named):
            continue
        named.append(key)
        words.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    return words


def _section(key: str) -> str:
    return key.split(".")[0]


def _choice(run: Named, group: str) -> str | None:
    return run.choices.get(group)


def _repeats(runs: Sequence[Named], key: str, other: str) -> bool:
    """Return whether two keys have one value in every run that has the first."""
    for run in runs:
        if key in run.config and (other not in run.config or run.config[other] != run.config[key]):
            return False
    return True

"""Names configurations by the settings in which they differ."""

import json
from collections.abc import Mapping, Sequence
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
    """Name each configuration by what tells it from the others: "ifl, local.tau=5".

    First the method, then other choices that differ, then values that differ between runs of
    the same choice. Plain values (local, fusion) stand for themselves: a choice's name may not
    hold for them. What is built (``_target_``) repeats no value that it may interpolate.
    """
    built = sorted({key.split(".")[0] for run in runs for key in run.config if "_target_" in key})
    names = []
    for run in runs:
        alike = {s: [r for r in runs if r.choices.get(s) == run.choices.get(s)] for s in built}
        words = [str(run.choices.get(s)) for s in built if s != "method" and alike[s] != [*runs]]
        named: list[str] = []
        for key in sorted(run.config, key=lambda key: (key.split(".")[0] in built, key.count("."))):
            section, value = key.split(".")[0], run.config[key]
            differs = any((key, value) not in r.config.items() for r in alike.get(section, runs))
            having = [r.config for r in runs if key in r.config]
            echoes = [all((other, c[key]) in c.items() for c in having) for other in named]
            if differs and not (section in built and any(echoes)):
                named.append(key)
                words.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
        names.append(", ".join([str(run.choices["method"]), *words]))
    return names

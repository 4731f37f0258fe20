"""Reads a command line: puts it in order, and lists the jobs that it spans with a grid."""

import os
import re
from argparse import Action
from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep

from ifl.cli.unread import OPTIMIZER
from ifl.data.contents import OWN_FILES
from ifl.errors import ConfigError

PLACES = ("outputs", "hydra.run.dir", "hydra.sweep.dir", *OWN_FILES)
MANY = 100_000  # values of one sweep, more than anybody runs
SPECIAL = re.compile(r"([\\()\[\]{}:=,\s])")  # what Hydra's grammar takes for its own


def arranged(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command as Hydra takes them: overrides before its flags.

    Its parser refuses or forgets overrides that stand on both sides of a flag.
    """
    overrides, flags = parted(arguments)
    return [*map(ready, overrides), *flags]


def ready(override: str) -> str:
    """Return an override as Hydra takes it."""
    return addable(quoted(at_home(override)))


def quoted(override: str) -> str:
    """Return an override with its value in quotes if it has letters that Hydra reads only there.

    >>> quoted("outputs=./größer"), quoted("seed=3")
    ("outputs='./größer'", 'seed=3')
    """
    key, _, value = override.partition("=")
    if key.lstrip("+") not in PLACES:
        value = true_text(value)
        override = f"{key}={value}" if "=" in override else override
    plain = value.isascii() or re.search(r"['\"\\$,=()\[\]{}]", value)
    return override if plain else f"{key}='{value}'"


def parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of a command line, and its flags with their values.

    >>> parted(["seed=0,1", "-m", "rounds=3", "--config-name", "mine"])
    (['seed=0,1', 'rounds=3'], ['-m', '--config-name', 'mine'])
    """
    overrides, flags, rest = list[str](), list[str](), list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*overrides, *rest], flags
        if not word.startswith("-"):
            overrides.append(word)
            continue
        flags.append(word)
        action = _action(word)
        if action is None or not rest or action.nargs not in (None, "?"):
            continue
        if action.nargs is None or (action.choices and rest[0] in action.choices):
            flags.append(rest.pop(0))
    return overrides, flags


def _action(word: str) -> Action | None:
    """Return what Hydra's parser does with a flag that has no value in its word, if it knows it."""
    actions = {flag: a for a in get_args_parser()._actions for flag in a.option_strings}
    if word in actions:
        return actions[word]
    alike = {id(a): a for flag, a in actions.items() if flag.startswith(word)}
    return next(iter(alike.values())) if word.startswith("--") and len(alike) == 1 else None


def at_home(override: str) -> str:
    """Return an override with ``~`` at the beginning of its values replaced by the home folder.

    Hydra reads no bare ``~``; one in quotes is replaced where a place is expected.
    """
    key, equals, values = override.partition("=")
    quotes = "['\"]?" if key.lstrip("+") in PLACES else ""

    def home(match: re.Match[str]) -> str:
        before, path = match[1], os.path.expanduser(match[2])
        return before + (path if before[-1:] in ("'", '"') else SPECIAL.sub(r"\\\1", path))

    return (
        key + equals + re.sub(rf"((?:^|[,(\[]\s*){quotes})(~[\w.-]*)(?=[/,)\]'\"]|$)", home, values)
    )


def true_text(argument: str) -> str:
    """Return the letters that an argument has; in the locale C Python keeps their bytes apart."""
    return os.fsencode(argument).decode(errors="replace")


def addable(override: str) -> str:
    """Return an override as Hydra takes it: what both optimisers share need not be there before.

    >>> addable("optimizer.weight_decay=0.1")
    '++optimizer.weight_decay=0.1'
    """
    key = re.match(r"optimizer\.(\w+)=", override)
    return f"++{override}" if key and key[1] not in OPTIMIZER else override


def spanned(
    grids: Sequence[Mapping[str, Any]], arguments: list[str], loader: ConfigLoader | None = None
) -> list[list[str]]:
    """Return the overrides of every job of these grids with what is typed.

    What is typed replaces its key, and what is below, so that ``method=fl`` replaces
    ``method: centralized`` together with its ``method.architecture``.

    Raises:
        ConfigError: a sweep has no value, or no end.
    """
    parser = OverridesParser.create(config_loader=loader)
    typed = parser.parse_overrides(arguments)
    replaced = tuple(f"{override.key_or_group}." for override in typed)
    jobs: dict[frozenset[str], list[str]] = {}
    for grid in grids:
        kept = {k: v for k, v in grid.items() if not f"{k}.".startswith(replaced)}
        own = [ready(f"{k}={'null' if v is None else v}") for k, v in kept.items()]
        overrides = [*parser.parse_overrides(own), *typed]
        check_spans(overrides)
        (split,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        for job in split:
            jobs.setdefault(frozenset(job), job)
    return list(jobs.values())


def check_spans(overrides: Iterable[Override]) -> None:
    """Raise ConfigError unless each sweep is of values that can be listed, at least one."""
    for override in (o for o in overrides if o.is_sweep_override()):
        sweep, line = override.value(), override.input_line
        if isinstance(sweep, IntervalSweep):
            raise ConfigError(
                f"{line} holds endlessly many values, and a grid runs each; hydra/sweeper=optuna "
                "searches in it, and range(a,b,step) or choice(a,b,c) lists some"
            )
        if isinstance(sweep, RangeSweep):
            check_range(sweep, line or "")
        if isinstance(sweep, Glob) and next(override.sweep_string_iterator(), None) is None:
            raise ConfigError(f"{line} fits no option of its group; --help lists the options")


def check_range(sweep: RangeSweep, line: str) -> None:
    """Raise ConfigError unless a range holds numbers, and no more than can be listed."""
    if _size(sweep) > MANY:
        raise ConfigError(
            f"{line} holds more than {MANY} numbers, or has no end; range(a,b,step) has those "
            "from a to below b"
        )
    if _size(sweep) <= 0:
        raise ConfigError(
            f"{line} holds no number; range(a,b) has those from a to below b, range(b) those from 0"
        )


def _size(sweep: RangeSweep) -> float:
    """Return how many steps a range has, about; at most 0 if it holds no number."""
    start, stop, step = sweep.start or 0, sweep.stop or 0, sweep.step
    if step == 0 or not (isfinite(start) and isfinite(stop) and isfinite(step)):
        return inf
    return (stop - start) / step

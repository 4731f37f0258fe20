"""Lists the jobs that the grids of an experiment and a command line span."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser

from ifl.cli.unread import addable


def spanned(
    grids: Sequence[Mapping[str, Any]], arguments: list[str], loader: ConfigLoader | None = None
) -> list[list[str]]:
    """Return the overrides of every job of these grids with what is typed.

    What is typed replaces its key, and what is below, so that ``method=fl`` replaces
    ``method: centralized`` together with its ``method.architecture``.
    """
    parser = OverridesParser.create(config_loader=loader)
    typed = parser.parse_overrides(arguments)
    replaced = tuple(f"{override.key_or_group}." for override in typed)
    jobs: dict[frozenset[str], list[str]] = {}
    for grid in grids:
        kept = {k: v for k, v in grid.items() if not f"{k}.".startswith(replaced)}
        own = [addable(f"{k}={'null' if v is None else v}") for k, v in kept.items()]
        overrides = [*parser.parse_overrides(own), *typed]
        (split,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        for job in split:
            jobs.setdefault(frozenset(job), job)
    return list(jobs.values())

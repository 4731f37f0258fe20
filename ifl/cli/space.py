"""Reads a space to search in from Hydra's syntax of sweeps: intervals, ranges and choices."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from ifl.cli.arguments import check_range
from ifl.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def split(
    params: Mapping[str, Any], arguments: list[str], loader: ConfigLoader | None = None
) -> tuple[list[str], dict[str, Override]]:
    """Return the overrides that every trial shares, and by key those that are searched for.

    What is typed replaces its key in ``params``.

    Raises:
        ConfigError: nothing is searched for, or the seed is.
    """
    parser = OverridesParser.create(config_loader=loader)
    typed = parser.parse_overrides(arguments)
    replaced = {override.key_or_group for override in typed}
    own = [f"{k}={'null' if v is None else v}" for k, v in params.items() if k not in replaced]
    overrides = [*parser.parse_overrides(own), *typed]
    searched = {o.get_key_element(): o for o in overrides if o.is_sweep_override()}
    if not searched:
        raise ConfigError(
            "hydra/sweeper=optuna has nothing to search for; write for example "
            "'optimizer.lr=tag(log,interval(1e-4,1))' or 'local.tau=choice(1,5,10)'"
        )
    if "seed" in searched:
        raise ConfigError(
            "seed is nothing to search for: the best would be luck; set one seed, and run what "
            "is found with several"
        )
    kept = [o for o in overrides if not o.is_sweep_override()]
    (fixed,) = BasicSweeper.split_arguments(kept, max_batch_size=None)[0]
    return fixed, searched


def distribution(override: Override) -> "BaseDistribution":
    """Return what Optuna draws values of an override from: numbers, or text as one types it.

    Raises:
        ConfigError: there is no such interval or range.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep, line = override.value(), override.input_line
    log = "log" in getattr(sweep, "tags", ())
    step: float | None = None
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None
        assert sweep.end is not None
        low, high = sweep.start, sweep.end
        if not low < high:
            raise ConfigError(f"{line} must go from a smaller number to a larger one")
    elif isinstance(sweep, RangeSweep):
        check_range(sweep, line or "")
        numbers = sorted(sweep.range())
        low, high, step = numbers[0], numbers[-1], abs(sweep.step)
        if log and step != 1:
            raise ConfigError(f"{line} must have steps of 1, or be an interval, for tag(log,...)")
    else:
        return CategoricalDistribution([*override.sweep_string_iterator()])
    if log and low <= 0:
        raise ConfigError(f"{line} must begin above 0 for tag(log,...)")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=int(step or 1))
    return FloatDistribution(
        float(low), float(high), log=log, step=None if step is None else float(step)
    )


def text(value: object) -> str:
    """Return a value of a distribution as one types it.

    >>> text(1e-05), text(3), text("ifl")
    ('1e-05', '3', 'ifl')
    """
    return repr(value) if isinstance(value, float) else str(value)

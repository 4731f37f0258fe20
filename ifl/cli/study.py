"""Keeps the study of a search: opens it, and tells it how its trials ended."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ifl.cli.build import make
from ifl.errors import ConfigError
from ifl.runs.objective import value_of

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Waiting = list[tuple[int, dict[str, Any]]]  # number and values of trials


def opened(
    storage: str | None,
    name: str | None,
    direction: str,
    sampler: Mapping[str, Any],
    space: Mapping[str, "BaseDistribution"],
) -> tuple["optuna.Study", Waiting]:
    """Return a study, and those of its trials that have no end yet.

    Args:
        storage: URL of its database; None for this process's memory.
        name: in the database.
        direction: "maximize" or "minimize".
        sampler: a ``_target_``, with a "seed" where it takes one.
        space: what is searched. Trials of other keys are given up.

    Raises:
        ConfigError: the storage or the sampler cannot be used, or the study has another direction.
    """
    import optuna

    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name if storage else None,
            direction=optuna.study.StudyDirection[direction.upper()],
            load_if_exists=True,
        )
    except Exception as error:
        raise ConfigError(
            f"hydra.sweeper.storage={storage} cannot be used ({' '.join(str(error).split())}); "
            "write for example sqlite:///search.db"
        ) from error
    there = study.direction.name.lower()
    if there != direction:
        raise ConfigError(
            f"hydra.sweeper.study_name={name} is there, to {there}, not to {direction}; name "
            "another one"
        )
    seed = sampler.get("seed")
    later = {} if seed is None else {"seed": int(seed) + len(study.trials)}  # other draws now
    study.sampler = make(sampler, **later)
    waiting = []
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        if trial.params.keys() == space.keys():
            waiting.append((trial.number, trial.params))
        else:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study, waiting


def tell(
    study: "optuna.Study", number: int, outcome: Mapping[str, Any], objective: str
) -> str | None:
    """Tell a study how a trial ended; return why, if it failed.

    What diverged is bad: the sampler keeps away from there. What failed says nothing, and what
    another process executes has no end yet.
    """
    from optuna.trial import TrialState

    if "busy" in outcome:
        return None
    value, diverged = value_of(outcome, objective), bool(outcome.get("diverged"))
    known = value == value
    state = {known: TrialState.COMPLETE, diverged: TrialState.PRUNED}.get(True, TrialState.FAIL)
    with suppress(RuntimeError):  # a sampler that has tried everything wants to stop a loop
        study.tell(number, value if known else None, state)
    if state == TrialState.FAIL:
        return str(outcome.get("error") or f"the run has no {objective}")
    return None


def complete(study: "optuna.Study") -> bool:
    """Return whether any trial has a value."""
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))

"""Searches for settings: an optimising sweeper, by Optuna, whose trials are ordinary runs.

Goes on by itself after an interruption: trials are drawn from a seed, in batches that do not
depend on the clock, so the same command asks for the same runs again, and what is finished is
found in its folder. A ``storage`` of Optuna's is only needed for its dashboard. Only
``hydra_plugins/ifl_optuna.py`` imports this module, see ``ifl.cli.sweep``.
"""

import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ifl.checks import check_one_of, check_whole
from ifl.cli.console import CLOSING
from ifl.cli.run import SPELLED
from ifl.cli.space import distribution, split, text
from ifl.cli.study import complete, opened, tell
from ifl.cli.sweep import GridSweeper
from ifl.cores import available_cores
from ifl.errors import ConfigError, IFLError, OutputError
from ifl.runs.journal import Journal
from ifl.runs.objective import check_objective, direction_of

if TYPE_CHECKING:
    import optuna

RESULTS = "optimization_results.yaml"  # as Hydra's own sweepers of this kind call it
HOPELESS = 3  # trials that fail, and none that does not: it is not the values that are wrong


class OptunaSweeper(GridSweeper):
    """Runs trials until there are so many, each by what those before it have brought.

    Args:
        params: values by key, in Hydra's syntax of sweeps.
        n_trials: in all, with those that are found.
        n_jobs: at a time; None for as many as ``launcher=local`` runs, and one elsewhere.
        direction: "maximize" or "minimize"; None for what the objective needs.
        sampler: of Optuna's, a ``_target_`` with a seed.
        storage: URL of a database of Optuna's; None for none.
        study_name: in that database.
        grids: none; what an experiment sets for the grid sweeper.
    """

    def __init__(
        self,
        params: Mapping[str, Any] | None = None,
        n_trials: int = 20,
        n_jobs: int | None = None,
        direction: str | None = None,
        sampler: DictConfig | None = None,
        storage: str | None = None,
        study_name: str | None = None,
        grids: object = None,
    ) -> None:
        super().__init__()
        self.space: Mapping[str, Any] = params or {}
        self.n_trials, self.n_jobs = n_trials, n_jobs
        self.direction, self.several = direction, grids
        self.sampler: Mapping[str, Any] = sampler or {}
        self.storage, self.study_name = storage, study_name

    def sweep(self, arguments: list[str]) -> None:
        """Search, and write and say what is best.

        Raises:
            ConfigError: a setting of the search is wrong, or every trial fails.
            LauncherError, Terminated: as in a grid.
        """
        self.check()
        self.fixed, self.searched = split(self.space, arguments, self.loader)
        objective = self.settings.objective
        direction = self.direction or direction_of(objective)
        space = {key: distribution(override) for key, override in self.searched.items()}
        study, waiting = opened(self.storage, self.study_name, direction, self.sampler, space)
        self.warn()
        before = [trial.params for trial in study.trials if trial.state.is_finished()]
        jobs = [[*self.fixed, *self.values(p)] for p in before if p.keys() == space.keys()]
        self.known = self.finished()
        self.found = [self.known[r] for r in self.recipes(jobs) if r in self.known]
        self.shown_ones, self.total = {*self.recipes(jobs)}, self.n_trials
        self.number, self.errors, done = 0, list[str](), len(before)
        with ExitStack() as watched:
            while done < self.n_trials:
                size = min(self.at_once(), self.n_trials - done)
                batch, waiting = waiting[:size], waiting[size:]
                for _ in range(size - len(batch)):
                    trial = study.ask(space)
                    batch.append((trial.number, trial.params))
                for (number, _), outcome in zip(batch, self.outcomes(batch, watched), strict=True):
                    if error := tell(study, number, outcome, objective):
                        self.errors.append(error)
                done += len(batch)
                if len(self.errors) >= max(HOPELESS, size) and not complete(study):
                    break
            if self.number == 0:
                watched.enter_context(self.shown(self.found))
        self.conclude(study)

    def check(self) -> None:
        """Raise ConfigError unless the settings hold; load Optuna, which takes a second."""
        super().check()
        check_objective(self.settings.objective)
        check_whole("hydra.sweeper.n_trials", self.n_trials, 1)
        if self.n_jobs is not None:
            check_whole("hydra.sweeper.n_jobs", self.n_jobs, 1)
        if self.direction is not None:
            check_one_of("hydra.sweeper.direction", self.direction, "maximize", "minimize")
        if self.several is not None:
            raise ConfigError(
                "hydra.sweeper.grids are for hydra/sweeper=grid; hydra/sweeper=optuna searches in "
                "hydra.sweeper.params and what is typed"
            )
        if self.storage is None and self.sampler.get("seed") is None:
            raise ConfigError(
                "hydra.sweeper.sampler.seed is needed, since the trials of before are found again "
                "by it; or set hydra.sweeper.storage=sqlite:///search.db"
            )
        try:
            import optuna
        except ImportError:
            raise ConfigError(
                "hydra/sweeper=optuna needs Optuna, which is not installed: pip install optuna"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    def warn(self) -> None:
        """Say so if the search chooses by the test set."""
        own = [o.partition("=")[2] for o in self.fixed if o.startswith("validation=")]
        held_out = own[-1] if own else str(self.settings.validation)
        if held_out in ("0", "0.0") and "validation" not in self.searched:
            print(
                "Note: validation=0, so the settings are chosen by the test set, on which they "
                "will look better than they are; validation=0.2 chooses by held-out training data",
                file=sys.stderr,
            )

    def at_once(self) -> int:
        """Return how many trials are drawn before the first of them has ended."""
        if self.n_jobs is not None or not self.many_at_once:
            return self.n_jobs or 1
        jobs = int(self.settings.hydra.launcher.n_jobs)
        return jobs if jobs > 0 else available_cores()

    def outcomes(
        self, batch: list[tuple[int, dict[str, Any]]], watched: ExitStack
    ) -> list[Mapping[str, Any]]:
        """Return the outcomes of trials, run or found; equal ones are run once."""
        jobs = [[*self.fixed, *self.values(params)] for _, params in batch]
        recipes = self.recipes(jobs)
        missing = {r: job for r, job in zip(recipes, jobs, strict=True) if r not in self.known}
        new = {recipe for recipe in recipes if recipe not in self.shown_ones}
        found = [self.known[r] for r in dict.fromkeys(recipes) if r in new and r in self.known]
        self.shown_ones |= new
        self.total -= len(batch) - len(new)  # equal trials are one run
        if missing and self.number == 0:
            self.validate_batch_is_legal([*missing.values()])
            watched.enter_context(self.watched([*self.found, *found], self.total))
        elif self.number:
            self.progress.total = self.total
            for about in found:
                Journal.current().note(self.number, about)
                self.number += 1
        self.found += found
        returned = self.launch([*missing.values()], self.number)
        journal = Journal.current()
        for number, (recipe, value) in enumerate(zip(missing, returned, strict=True), self.number):
            told = {"result": {self.settings.objective: value}}  # another machine's may come later
            outcome = self.known[recipe] = journal.outcome(number) or told
            if outcome.get("diverged"):
                journal.note(number, {**outcome, "expected": True})
        self.number += len(missing)
        return [self.known[recipe] for recipe in recipes]

    def values(self, params: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a trial that are its own."""
        return [f"{key}={text(params[key])}" for key in self.searched]

    def conclude(self, study: "optuna.Study") -> None:
        """Write the best values, and have them said below the table.

        Raises:
            IFLError: there are none.
            OutputError: they cannot be written.
        """
        objective = self.settings.objective
        if not complete(study):
            why = self.errors[-1] if self.errors else "they diverged, or run elsewhere"
            raise IFLError(f"none of {len(study.trials)} trials has an {objective}: {why}")
        best = study.best_trial
        own = self.values(best.params)
        shared = [o for o in self.fixed if not o.startswith("launcher=")]
        sources = self.settings.hydra.runtime.config_sources
        mine = [f"--config-dir={s.path}" for s in sources if s.provider == "command-line"]
        command = [*SPELLED.get(Path(sys.argv[0]).name, ["ifl"]), *mine, *shared, *own]
        CLOSING.append(
            f"Best of {len(study.trials)} trials: {objective}={best.value:.6g} with "
            f"{' '.join(own)}\n{shlex.join(command)}"
        )
        values = {key: plain(best.params[key]) for key in self.searched}
        results = {"name": "optuna", "best_params": values, "best_value": best.value}
        content = OmegaConf.to_yaml(OmegaConf.create(results))
        path = Path(self.settings.hydra.sweep.dir) / RESULTS
        try:
            if not path.exists() or path.read_text(encoding="utf-8") != content:
                path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written ({error.strerror}); choose another folder with "
                "outputs=..."
            ) from error


def plain(value: object) -> object:
    r"""Return what a value is in yaml: the number that a choice such as "5" stands for.

    >>> plain("5"), plain("adam"), plain(r"a\ b"), plain(0.1)
    (5, 'adam', 'a b', 0.1)
    """
    if not isinstance(value, str):
        return value
    return OverridesParser.create().parse_override(f"value={value}").value()

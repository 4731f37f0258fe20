"""Conducts a sweep from the process that started it.

Hydra's own sweeper, which besides joins several grids, leaves out what is finished, shows the
progress and says in a sentence what a launcher could not do. Only ``hydra_plugins/ifl_grid.py``
imports this module: Hydra loads its own sweeper anew when it looks for plugins, and a class made
of the one before no longer fits.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ifl.cli import ending
from ifl.cli.arguments import spanned
from ifl.cli.config import check_place, same_files
from ifl.cli.console import GridProgress
from ifl.errors import ConfigError, LauncherError
from ifl.runs.identity import finished, recipe
from ifl.runs.journal import JOURNAL, Journal

POLL_SECONDS = 0.5


class GridSweeper(BasicSweeper):
    """Runs every combination of the swept values that is not finished yet.

    Args:
        params: values by key, in Hydra's syntax of sweeps; part of every grid.
        grids: more of these, each a grid of its own; what is in two is run once.
    """

    def __init__(
        self,
        params: Mapping[str, Any] | None = None,
        grids: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(max_batch_size=None, params=None)
        self.grids = [{**(params or {}), **grid} for grid in grids or [{}]]
        self.run_ended: Callable[[], None] = lambda: None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take Hydra's parts; where runs go on in this process, notice each that ends."""

        def noticed(job: DictConfig) -> Any:
            try:
                return task_function(job)
            finally:
                self.run_ended()

        self.settings, self.loader = config, hydra_context.config_loader
        launcher = config.hydra.runtime.choices["hydra/launcher"]
        self.one_by_one, self.many_at_once = launcher == "basic", launcher == "joblib"
        function = noticed if self.one_by_one else task_function
        super().setup(hydra_context=hydra_context, task_function=function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the grid that the arguments span.

        Raises:
            ConfigError: the launcher cannot be used on this machine, or outputs is no place.
            LauncherError: it refused a run, or lost one.
        """
        self.check()
        jobs = self.jobs(arguments)
        found, missing = self.sort_out(jobs)
        if found:
            print(f"Already finished: {len(found)} of {len(jobs)} runs (fresh=true runs them anew)")
        self.validate_batch_is_legal(missing)
        with self.watched(found, len(jobs)) if missing else self.shown(found):
            self.launch(missing, 0)

    def check(self) -> None:
        """Raise ConfigError unless runs can be started on this machine, and kept."""
        check_place(self.settings)
        slurm = self.settings.hydra.runtime.choices["hydra/launcher"] == "submitit_slurm"
        if slurm and shutil.which("sbatch") is None:
            raise ConfigError(
                "launcher=slurm needs Slurm's command sbatch, which is not on this machine; "
                "launcher=local runs the grid on the cores of this one"
            )

    def launch(self, jobs: list[list[str]], first: int) -> list[Any]:
        """Do jobs, numbered from ``first``, and return what they return.

        Raises:
            LauncherError: the launcher refused a run, or lost one.
            Terminated: this process was told to end, and runs are left; they keep checkpoints.
        """
        if not jobs:
            return []
        launcher: Any = self.launcher
        journal = Journal.current()

        def end() -> None:
            with suppress(OSError):
                journal.stop()

        if self.many_at_once:  # no more processes than jobs: an idle one follows nobody
            most = int(self.settings.hydra.launcher.n_jobs)
            launcher.joblib["n_jobs"] = min(most, len(jobs))
            os.environ[ending.SWEEP] = str(os.getpid())
        try:
            with ending.noted(end) if self.many_at_once else nullcontext():
                results = launcher.launch(jobs, initial_job_idx=first)
        except OmegaConfBaseException:  # of a job's configuration, before it is a run
            raise
        except (RuntimeError, ValueError) as error:  # its own; what runs raise is in the results
            ending.check()
            raise LauncherError(
                f"{' '.join(str(error).split())}; the same command does what is missing, "
                "once what still runs has ended"
            ) from error
        returned = [result.return_value for result in results]  # raises what the run raised
        left = [n for n in range(first, first + len(jobs)) if journal.outcome(n) is None]
        if left and (self.many_at_once or self.one_by_one):
            ending.check()
            raise LauncherError(
                f"{len(left)} of {len(jobs)} runs are left, since their processes were told to "
                "end; the same command does what is missing"
            )
        return returned

    @contextmanager
    def shown(self, found: Sequence[dict[str, Any]]) -> Iterator[None]:
        """Note what was found where nothing is left to run: nothing is written."""
        for number, about in enumerate(found):
            Journal.current().note(number, about)
        yield

    def jobs(self, arguments: list[str]) -> list[list[str]]:
        """Return the overrides of every job."""
        return spanned(self.grids, arguments, self.loader)

    def sort_out(self, jobs: Sequence[list[str]]) -> tuple[list[dict[str, Any]], list[list[str]]]:
        """Return what run.json holds of finished runs, and the jobs that are to be run.

        Composing a configuration takes Hydra a tenth of a second; of a run that says what
        it was composed from, this need not be done again.
        """
        known, recipes = self.finished(), self.recipes(jobs)
        found = [known[r] for r in recipes if r in known]
        return found, [job for job, r in zip(jobs, recipes, strict=True) if r not in known]

    def finished(self) -> dict[str, dict[str, Any]]:
        """Return what run.json holds of the study's finished runs, by recipe."""
        known = {} if self.settings.fresh else finished(Path(self.settings.hydra.sweep.dir))
        return {
            r: about
            for r, about in known.items()
            if not about["config"].get("fresh") and same_files(about["config"])
        }

    def recipes(self, jobs: Sequence[list[str]]) -> list[str]:
        """Return what tells each job, before its configuration is composed."""
        sources = self.settings.hydra.runtime.config_sources
        folders = [source.path for source in sources if source.schema == "file"]
        return [recipe(job, self.settings.hydra.job.config_name, folders) for job in jobs]

    @contextmanager
    def watched(self, found: Sequence[dict[str, Any]], total: int) -> Iterator[None]:
        """Show the grid's progress meanwhile; the runs write a journal below outputs."""
        started = time.monotonic()
        journal = Journal.begin(Path(self.settings.hydra.sweep.dir).resolve())
        os.environ[JOURNAL] = str(journal.folder)
        for number, about in enumerate(found, -len(found)):
            journal.note(number, about)
        progress = self.progress = GridProgress(
            total, len(found), live=False if self.one_by_one else None
        )

        def show() -> None:
            progress(*journal.read(), time.monotonic() - started)

        def follow() -> None:
            while not ended.wait(POLL_SECONDS):
                with suppress(OSError):  # nobody reads it any more
                    show()
                ending.leave_if_overdue(journal)

        if self.one_by_one:
            self.run_ended = show  # between two runs, whose own progress is shown too
            yield
            return
        ended, follower = Event(), Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()
            show()
            progress.close()

"""Runs a configuration or a sweep: composes it, builds the federation, trains, reports."""

import io
import os
import shlex
import sys
import traceback
from contextlib import redirect_stdout
from math import nan
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from ifl.cli import ending
from ifl.cli.again import repeated
from ifl.cli.arguments import arranged, true_text
from ifl.cli.config import CONF, check_chosen, check_runtime, checked, choices, plain, recipe_of_job
from ifl.cli.console import CLOSING, Progress, class_table, spell_out, summary
from ifl.errors import BusyError, ConfigError, DivergenceError, IFLError, Terminated
from ifl.runs.comparison import beginnings, check_folder, holds
from ifl.runs.folder import RunFolder, attempts, read_about
from ifl.runs.journal import JOURNAL, Journal
from ifl.runs.objective import value_of
from ifl.runs.wholeness import spoilt

COMMAND = "IFL_COMMAND"  # the environment variable that tells every run of a sweep what was typed
# What ends a command early and is said in a sentence.
TOLD = (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError, IFLError)
SPELLED = {"run.py": ["python", "scripts/run.py"], "__main__.py": ["python", "-m", "ifl"]}


def execute(config: DictConfig, path: Path) -> dict[str, Any]:
    """Run one configuration in its folder, unless it has ended there; go on if it was killed.

    Returns:
        What run.json holds, and the folder as "folder".

    Raises:
        IFLError: it cannot be run, diverges or has diverged, (BusyError) is being run, or its
            folder holds another run.
    """
    described = checked(config, cast(DictConfig, HydraConfig.get()))
    check_folder(path, described)
    *existing, free = attempts(path)
    mine = [folder for folder in existing if holds(folder, described)]
    if not config.fresh:
        for folder in mine:
            if about := finished(folder):
                return about
    folder = free if config.fresh or not mine else mine[-1]
    with RunFolder(folder) as record:
        check_folder(folder, described)  # anew: another process may have been there
        if about := finished(folder):
            return about
        reason = str((read_about(folder) or {}).get("stop_reason"))
        if reason.startswith("diverged: "):
            raise DivergenceError(f"this run has {reason} (fresh=true tries again beside {folder})")
        return train(config, record)


def finished(folder: Path) -> dict[str, Any] | None:
    """Return what run.json holds, and the folder, if the run is finished, and say so."""
    about = read_about(folder)
    if not about or not about.get("finished"):
        return None
    print(f"Already finished: {folder} (fresh=true runs it anew beside it)")
    if why := spoilt(folder, about):
        print(f"Note: its result is shown as run.json has it, and plots leave it out: {why}")
    return {**about, "folder": str(folder)}


def train(config: DictConfig, record: RunFolder) -> dict[str, Any]:
    """Build the federation and run it, from its checkpoint if there is one."""
    from ifl.cli.build import assemble, make
    from ifl.federation.runner import run  # seconds to import: not needed for what is finished
    from ifl.federation.schedule import Schedule
    from ifl.methods.base import described

    schedule = Schedule(
        config.rounds,
        config.eval_every,
        checkpoint_every=config.checkpoint_every,
        keep_state=config.keep_state,
        keep_predictions=config.keep_predictions,
        **config.stop,
    )
    federation = assemble(config, HydraConfig.get().overrides.task)
    chosen = choices()
    about = {
        "data": federation.data.name,
        "seed": config.seed,
        "choices": chosen,
        "method": described(federation.engine.method, chosen["method"]),
        "config": plain(config),
        "recipe": recipe_of_job(),
        "command": (read_about(record.path) or {}).get("command") or command(),
    }
    logger = make(config.logger)
    told = {"owners": federation.owners(), "class_names": [*federation.data.class_names]}
    about |= {key: value for key, value in told.items() if value}
    folder = record.path

    def begin(number: int) -> None:
        _write_hydra(folder, config)

    print(class_table(federation.class_table()))
    after = [] if config.fresh else beginnings(folder, about["config"])
    progress = Progress(config.rounds)
    try:
        with ending.noted() as stop:
            final = run(
                federation, record, about, schedule, progress, begin, print, after, stop, logger
            )
    finally:
        progress.close()
        federation.engine.close()
    return {**final, "folder": str(folder)}


def command() -> str | None:
    """Return what was typed, if it was."""
    return true_text(os.environ[COMMAND]) if COMMAND in os.environ else None


def _write_hydra(path: Path, config: DictConfig) -> None:
    """Keep the configuration and the overrides where Hydra would."""
    hydra_config = HydraConfig.get()
    (path / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(config, path / ".hydra" / "config.yaml")
    OmegaConf.save(hydra_config.overrides.task, path / ".hydra" / "overrides.yaml")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(config: DictConfig) -> float:
    """Run one configuration and note its outcome in the journal; return its objective, or NaN."""
    spell_out()  # also in a process that a sweep has started
    hydra_config = HydraConfig.get()
    journal = Journal.current()
    number = 0 if OmegaConf.is_missing(hydra_config.job, "num") else hydra_config.job.num
    journal.note(number, None)
    overrides = list(hydra_config.overrides.task)
    quiet = OmegaConf.select(config, "runtime.quiet") is True
    try:
        check_chosen(cast(DictConfig, hydra_config))
        check_runtime(config)
        check_mode(hydra_config)
        threads = str(config.runtime.threads)
        os.environ |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}  # before torch loads
        with ending.following(), redirect_stdout(io.StringIO() if quiet else sys.stdout):
            ending.check()
            outcome = execute(config, Path(hydra_config.runtime.output_dir))
    except Terminated:
        journal.forget(number)
        if ending.in_sweep():  # which tells by what is lacking
            return nan
        raise
    except BusyError as error:
        outcome = {"busy": str(error)}
    except (IFLError, OSError, OmegaConfBaseException, SystemExit) as error:
        from ifl.cli.explain import without_place

        said = without_place(error) or str(error)
        if not quiet:
            print(f"Error: {said}", file=sys.stderr)
        outcome = {"error": said, "overrides": overrides, "said": not quiet}
        outcome |= {"diverged": True} if isinstance(error, DivergenceError) else {}
    except Exception as error:  # a defect: shown where it happened, maybe on another machine
        traceback.print_exc()
        journal.note(number, {"error": repr(error), "overrides": overrides})
        raise
    journal.note(number, outcome)
    return value_of(outcome, OmegaConf.select(config, "objective"))


def check_mode(hydra_config: Any) -> None:
    """Raise ConfigError if a sweeper was chosen for what is no sweep."""
    chosen = [o for o in hydra_config.overrides.hydra if o.startswith("hydra/sweeper=")]
    if chosen and hydra_config.mode != RunMode.MULTIRUN:
        raise ConfigError(f"{chosen[0]} is for sweeps and searches; add -m, or leave it out")


def main() -> int:
    """Run the job or the sweep of the command line; return the exit code."""
    spell_out()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let Hydra's errors reach the lines below
    words = [*SPELLED.get(Path(sys.argv[0]).name, ["ifl"]), *sys.argv[1:]]
    os.environ[COMMAND] = shlex.join(words)
    typed = arranged(sys.argv[1:])
    for name in (JOURNAL, ending.SWEEP):  # those of a sweep that began this process are not its own
        os.environ.pop(name, None)
    Journal.current().remove()
    CLOSING.clear()
    try:
        code = conducted(typed)
    finally:
        outcomes = Journal.current().remove()
        print(summary(outcomes), *(f"{line}\n" for line in CLOSING), sep="", end="")
    lacking = ("busy" in o or ("error" in o and not o.get("expected")) for o in outcomes)
    return code or int(any(lacking))


def conducted(typed: list[str]) -> int:
    """Let Hydra run what is typed; say what ends it early, and return the exit code."""
    anew = " without fresh=true" if "fresh=true" in typed else ""
    try:
        sys.argv[1:] = repeated(typed)
        with ending.listening():
            job()
    except BrokenPipeError:  # whoever read the output has left, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except TOLD as error:
        from ifl.cli.explain import explained

        print(f"Error: {explained(error, CONF, sys.argv[1:])}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. Run the same command{anew} again to resume.", file=sys.stderr)
        return 130
    except Terminated:
        print(f"\nTerminated. Run the same command{anew} again to resume.", file=sys.stderr)
        return ending.exit_code()
    return 0

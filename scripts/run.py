"""Compose a configuration, build the federation, run it, report.

python scripts/run.py [group=option ...] [key=value ...]; -m sweeps; --help lists the groups.
"""

import io
import os
import shlex
import sys
import tempfile
import traceback
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ifl.errors import BusyError, ConfigError, DivergenceError, IFLError
from ifl.report import Progress, class_table, summary
from ifl.runs.folder import RunFolder, attempts, read_about
from ifl.runs.identity import MOVED, fingerprint, recipe
from ifl.runs.journal import JOURNAL, Journal
from ifl.settings import check_cores, check_keys, check_place, check_runtime

if TYPE_CHECKING:
    from ifl.federation.build import Federation

CONF = Path(__file__).resolve().parent.parent / "conf"
COMMAND = "IFL_COMMAND"  # the environment variable that tells every run of a sweep what was typed
GROUPS = {"local": {"tau"}, "fusion": {"dim"}, "clients": {"count", "members"}}  # no _target_


def run_name(*, _root_: DictConfig) -> str:
    """Return the folder name of a configuration: readable choices, then what tells it apart."""
    config = _plain(_root_)
    check_keys(config, known_keys())
    check_place(config)
    choices = OmegaConf.to_container(_root_.hydra.runtime.choices)
    assert isinstance(choices, dict)
    readable = "-".join(str(choices[group]) for group in ("data", "clients", "method"))
    return f"{readable}-seed{config['seed']}-{fingerprint(config)}"


def known_keys() -> dict[str, set[str]]:
    """Return the keys of the configuration by section, the empty name for the whole."""
    base = OmegaConf.load(CONF / "config.yaml")
    assert isinstance(base, DictConfig)
    groups = {str(k) for entry in base.defaults if isinstance(entry, DictConfig) for k in entry}
    own = {str(k): v for k, v in base.items() if k not in ("defaults", "hydra")}
    sections = {k: {*map(str, v)} for k, v in own.items() if isinstance(v, DictConfig)}
    built = {g for g in groups if " " not in g} - {"launcher", "experiment"}  # these leave no key
    return {"": {*own, *built}, **sections, **GROUPS}


def _plain(config: DictConfig) -> dict[str, Any]:
    """Return the job's part of a configuration with every interpolation resolved."""
    job = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain = OmegaConf.to_container(job, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def cores_of_run(workers: int | None, threads: int) -> int:
    """Return how many cores a run keeps busy; no number of workers is one per core."""
    from joblib import cpu_count

    check_cores(workers, threads)
    cores: int = cpu_count()
    return (workers or cores) * threads


def runs_at_once(workers: int | None, threads: int) -> int:
    """Return how many such runs this machine has cores for, at least one."""
    return max(1, cores_of_run(None, 1) // cores_of_run(workers, threads))


for resolver in (run_name, cores_of_run, runs_at_once):
    OmegaConf.register_new_resolver(resolver.__name__, resolver)


def make(config: Any, **kwargs: Any) -> Any:
    """Instantiate a ``_target_``; what its constructor refuses comes out as its own sentence.

    An address of before (``runs.identity.MOVED``) works, with one line that names the new one.
    """
    try:
        return instantiate(moved(config), **kwargs)
    except InstantiationException as error:
        if isinstance(error.__cause__, IFLError):
            raise error.__cause__ from None
        reason = str(error).replace(
            ", set env var HYDRA_FULL_ERROR=1 to see chained exception.", ""
        )
        raise ConfigError(" ".join(reason.split())) from error


def moved(config: Any) -> Any:
    """Return a copy of a configuration with the present address of every class that has moved."""
    if isinstance(config, DictConfig | ListConfig):
        config = OmegaConf.to_container(config, resolve=True)
    if isinstance(config, dict):
        fresh = {key: moved(value) for key, value in config.items()}
        if new := MOVED.get(str(fresh.get("_target_"))):
            print(f"{fresh['_target_']} has moved: write _target_: {new}")
            fresh["_target_"] = new
        return fresh
    return [moved(value) for value in config] if isinstance(config, list) else config


def assemble(config: DictConfig) -> "Federation":
    """Build the federation that a configuration describes; every setting is checked here."""
    from ifl.client.privacy import Privacy
    from ifl.client.settings import Optimizers, Training
    from ifl.data.dataset import hold_out
    from ifl.federation.build import Member, build
    from ifl.federation.participation import Participation
    from ifl.federation.workers import Workers, available_device

    members = config.clients.members
    whole_ones = isinstance(members, ListConfig) and all(
        isinstance(member, DictConfig) and set(member) == {"name", "base", "modular"}
        for member in members
    )
    if not whole_ones:
        raise ConfigError(
            f"clients.members must be a list of {{name, base, modular}}, got {members}; see "
            "conf/clients/paper.yaml"
        )
    device, remark = available_device(config.runtime.device)
    if remark:
        print(remark)
    optimizers = Optimizers(
        make(config.optimizer.base),
        make(config.optimizer.modular),
        config.optimizer.get("decay_rounds"),
    )
    return build(
        partition=make(config.partition),
        method=make(config.method),
        codec=make(config.codec),
        members=[
            Member(member.name, partial(make, member.base), partial(make, member.modular))
            for member in members
        ],
        count=config.clients.count,
        training=Training(optimizers, config.batch_size, config.seed, device, make(config.augment)),
        fusion_dim=config.fusion.dim,
        data=hold_out(make(config.data), config.validation),
        workers=Workers(config.runtime.workers, config.runtime.threads),
        participation=Participation(**config.participation),
        on_bad_upload=config.on_bad_upload,
        privacy=Privacy(**config.privacy),
    )


def execute(config: DictConfig, path: Path) -> dict[str, Any]:
    """Run one configuration in its folder, unless it has ended there; go on if it was killed.

    Returns:
        What run.json holds, and the folder as "folder".

    Raises:
        IFLError: it cannot be run, diverges or has diverged, or (BusyError) is being run.
    """
    *existing, free = attempts(path)
    if not config.fresh:
        for folder in existing:
            if about := finished(folder):
                return about
    folder = free if config.fresh or not existing else existing[-1]
    with RunFolder(folder) as record:
        if about := finished(folder):  # a moment ago, by another process
            return about
        reason = str((read_about(folder) or {}).get("stop_reason"))
        if reason.startswith("diverged: "):
            raise DivergenceError(f"this run has {reason} (fresh=true tries again beside {folder})")
        return train(config, record)


def finished(folder: Path) -> dict[str, Any] | None:
    """Return what run.json holds, and the folder, if the run is finished, and say so."""
    about = read_about(folder)
    if not about or not about["finished"]:
        return None
    print(f"Already finished: {folder} (fresh=true runs it anew beside it)")
    return {**about, "folder": str(folder)}


def train(config: DictConfig, record: RunFolder) -> dict[str, Any]:
    """Build the federation and run it, from its checkpoint if there is one."""
    from ifl.federation.runner import run  # seconds to import: not needed for what is finished
    from ifl.federation.schedule import Schedule

    schedule = Schedule(
        config.rounds,
        config.eval_every,
        checkpoint_every=config.checkpoint_every,
        **config.stop,
    )
    federation = assemble(config)
    plain = _plain(config)
    about = {
        "data": federation.data.name,
        "seed": config.seed,
        "choices": _choices(),
        "config": plain,
        "recipe": _recipe(),
        "command": os.environ.get(COMMAND),
    }
    folder, interrupted = record.path, (record.path / "run.json").exists()

    def begin(number: int) -> None:
        if number:
            print(f"Going on from round {number}: {folder}")
        elif interrupted:
            print(f"Starting again, no checkpoint to go on from: {folder}")
        _write_hydra(folder, config)

    print(class_table(federation.class_table()))
    progress = Progress(config.rounds)
    try:
        final = run(federation, record, about, schedule, progress, begin)
    finally:
        progress.close()
    return {**final, "folder": str(folder)}


def _choices() -> dict[str, str]:
    """Return the option of every group that can change a result."""
    choices = OmegaConf.to_container(HydraConfig.get().runtime.choices)
    assert isinstance(choices, dict)
    neutral = ("launcher", "hydra/")
    return {str(k): str(v) for k, v in choices.items() if not str(k).startswith(neutral)}


def _recipe() -> str:
    hydra_config = HydraConfig.get()
    sources = [s.path for s in hydra_config.runtime.config_sources if s.schema == "file"]
    return recipe(hydra_config.overrides.task, str(hydra_config.job.config_name), sources)


def _write_hydra(path: Path, config: DictConfig) -> None:
    """Keep the configuration and the overrides where Hydra would."""
    hydra_config = HydraConfig.get()
    (path / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(config, path / ".hydra" / "config.yaml")
    OmegaConf.save(hydra_config.overrides.task, path / ".hydra" / "overrides.yaml")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(config: DictConfig) -> None:
    """Run one configuration and note its outcome in the journal."""
    hydra_config = HydraConfig.get()
    journal = Journal(Path(os.environ[JOURNAL]))
    number = 0 if OmegaConf.is_missing(hydra_config.job, "num") else hydra_config.job.num
    journal.note(number, None)
    overrides = list(hydra_config.overrides.task)
    quiet = config.runtime.quiet is True
    try:
        check_runtime(config)
        threads = str(config.runtime.threads)
        os.environ |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}  # before torch loads
        with redirect_stdout(io.StringIO() if quiet else sys.stdout):
            outcome = execute(config, Path(hydra_config.runtime.output_dir))
    except BusyError as error:
        outcome = {"busy": str(error)}
    except (IFLError, OSError, OmegaConfBaseException) as error:
        if not quiet:
            print(f"Error: {error}", file=sys.stderr)
        outcome = {"error": str(error), "overrides": overrides, "said": not quiet}
    except Exception as error:  # a defect: shown where it happened, maybe on another machine
        traceback.print_exc()
        journal.note(number, {"error": repr(error), "overrides": overrides})
        raise
    journal.note(number, outcome)


def main() -> int:
    """Run the job or the sweep of the command line; return the exit code."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let Hydra's errors reach the lines below
    os.environ[COMMAND] = shlex.join(["python", "scripts/run.py", *sys.argv[1:]])
    os.environ[JOURNAL] = tempfile.mkdtemp(prefix="ifl-")
    try:
        job()
    except (CompactHydraException, OmegaConfBaseException, OSError, ValueError, IFLError) as error:
        from explanations import explained

        print(f"Error: {explained(error, CONF, sys.argv[1:])}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        anew = " without fresh=true" * ("fresh=true" in sys.argv)
        print(f"\nInterrupted; the same command{anew} goes on with it.", file=sys.stderr)
        return 130
    finally:
        outcomes = Journal(Path(os.environ[JOURNAL])).remove()
        print(summary(outcomes), end="")
    return 1 if any("error" in outcome for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Compose a configuration, build the federation, run it, report.

python scripts/run.py [group=option ...] [key=value ...]; -m sweeps; --help lists the groups.
"""

import io
import os
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

from ifl.errors import ConfigError, IFLError
from ifl.journal import JOURNAL, Journal
from ifl.report import Progress, class_table, summary
from ifl.results import RunFolder, attempts, fingerprint, read_about, recipe

if TYPE_CHECKING:
    from ifl.federation import Federation


def run_name(*, _root_: DictConfig) -> str:
    """Return the folder name of a configuration: readable choices, then what tells it apart."""
    config = _plain(_root_)
    choices = OmegaConf.to_container(_root_.hydra.runtime.choices)
    assert isinstance(choices, dict)
    readable = "-".join(str(choices[group]) for group in ("data", "clients", "method"))
    return f"{readable}-seed{config['seed']}-{fingerprint(config)}"


def _plain(config: DictConfig) -> dict[str, Any]:
    """Return the job's part of a configuration with every interpolation resolved."""
    job = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain = OmegaConf.to_container(job, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def workers(threads: int | None) -> int:
    """Return how many runs of so many threads (None: one per core) this machine has cores for."""
    from joblib import cpu_count

    cores: int = cpu_count()
    return max(1, cores // (threads or cores))


OmegaConf.register_new_resolver("run_name", run_name)
OmegaConf.register_new_resolver("workers", workers)


def make(config: Any, **kwargs: Any) -> Any:
    """Instantiate a ``_target_``; what its constructor refuses comes out as its own sentence."""
    try:
        return instantiate(config, **kwargs)
    except InstantiationException as error:
        if isinstance(error.__cause__, IFLError):
            raise error.__cause__ from None
        raise ConfigError(" ".join(str(error).split())) from error


def assemble(config: DictConfig) -> "Federation":
    """Build the federation that a configuration describes; every setting is checked here."""
    from ifl.client import Optimizers, Training
    from ifl.federation import Member, build

    if not isinstance(config.clients.members, ListConfig):
        raise ConfigError(
            f"clients.members must be a list of {{name, base, modular}}, got "
            f"{config.clients.members}; see conf/clients/paper.yaml"
        )
    optimizers = Optimizers(make(config.optimizer.base), make(config.optimizer.modular))
    members = [
        Member(member.name, partial(make, member.base), partial(make, member.modular))
        for member in config.clients.members
    ]
    return build(
        partition=make(config.partition),
        method=make(config.method),
        codec=make(config.codec),
        members=members,
        count=config.clients.count,
        training=Training(optimizers, config.batch_size, config.seed, config.runtime.device),
        fusion_dim=config.fusion.dim,
        data=make(config.data),
    )


def execute(config: DictConfig, path: Path) -> dict[str, Any]:
    """Run one configuration in its folder, unless it is finished there.

    Returns:
        What run.json holds, and the folder as "folder".
    """
    *existing, free = attempts(path)
    for folder in existing:
        about = read_about(folder)
        if about and about["finished"] and not config.fresh:
            print(f"Already finished: {folder} (fresh=true runs it anew beside it)")
            return {**about, "folder": str(folder)}

    import torch  # seconds to import: not needed for --help or for what is finished

    from ifl.checks import whole
    from ifl.runner import Schedule, run

    if config.runtime.threads is not None:
        whole("runtime.threads", config.runtime.threads, 1)
        torch.set_num_threads(config.runtime.threads)
    schedule = Schedule(config.rounds, config.eval_every, **config.stop)
    federation = assemble(config)
    plain = _plain(config)
    about = {
        "data": federation.data.name,
        "seed": config.seed,
        "choices": _choices(),
        "config": plain,
        "recipe": _recipe(),
        "group": fingerprint(plain, "seed"),
    }
    record = RunFolder.claim(free, about)
    _write_hydra(free, config)
    print(class_table(federation.class_table()))
    progress = Progress(config.rounds)
    try:
        final = run(federation, record, about, schedule, progress)
    finally:
        progress.close()
        record.close()
    return {**final, "folder": str(free)}


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
    (path / ".hydra").mkdir()
    OmegaConf.save(config, path / ".hydra" / "config.yaml")
    OmegaConf.save(hydra_config.overrides.task, path / ".hydra" / "overrides.yaml")


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def job(config: DictConfig) -> None:
    """Run one configuration and note its outcome in the journal."""
    hydra_config, threads = HydraConfig.get(), config.runtime.threads
    journal = Journal(Path(os.environ[JOURNAL]))
    number = 0 if OmegaConf.is_missing(hydra_config.job, "num") else hydra_config.job.num
    journal.note(number, None)
    if threads is not None:  # read as torch is loaded
        os.environ |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    overrides = list(hydra_config.overrides.task)
    try:
        with redirect_stdout(io.StringIO() if config.runtime.quiet else sys.stdout):
            outcome = execute(config, Path(hydra_config.runtime.output_dir))
    except IFLError as error:
        if not config.runtime.quiet:
            print(f"Error: {error}", file=sys.stderr)
        outcome = {"error": str(error), "overrides": overrides, "said": not config.runtime.quiet}
    except Exception as error:  # a defect: shown where it happened, maybe on another machine
        traceback.print_exc()
        journal.note(number, {"error": repr(error), "overrides": overrides})
        raise
    journal.note(number, outcome)


def main() -> int:
    """Run the job or the sweep of the command line; return the exit code."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let Hydra's errors reach the lines below
    os.environ[JOURNAL] = tempfile.mkdtemp(prefix="ifl-")
    try:
        job()
    except (CompactHydraException, OmegaConfBaseException, OSError, IFLError) as error:
        print(f"Error: {_explained(error)}", file=sys.stderr)
        return 1
    finally:
        outcomes = Journal(Path(os.environ[JOURNAL])).remove()
        print(summary(outcomes), end="")
    return 1 if any("error" in outcome for outcome in outcomes) else 0


def _explained(error: Exception) -> str:
    """Return an error's sentence; of a launcher that is not installed, how to get it."""
    for launcher, package in {"submitit_slurm": "submitit", "joblib": "joblib"}.items():
        if f"'hydra/launcher/{launcher}'" in str(error):
            return (
                "this launcher is a plugin of Hydra's that is not installed: "
                f"pip install hydra-{package}-launcher"
            )
    return str(error)


if __name__ == "__main__":
    sys.exit(main())

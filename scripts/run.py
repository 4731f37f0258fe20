"""Compose a configuration, build the federation, run it, report.

python scripts/run.py [group=option ...] [key=value ...]; -m sweeps; --help lists the groups.
"""

import json
import os
import sys
import tempfile
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
from ifl.results import RunFolder, attempts, fingerprint, read_about

if TYPE_CHECKING:
    from ifl.federation import Federation

# Every job of a sweep, in whatever process, appends its outcome to this file.
JOURNAL = "IFL_JOURNAL"
CONF = Path(__file__).resolve().parent.parent / "conf"


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


OmegaConf.register_new_resolver("run_name", run_name)


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
    from ifl.runtime import Workers, available_device

    if not isinstance(config.clients.members, ListConfig):
        raise ConfigError(
            f"clients.members must be a list of {{name, base, modular}}, got "
            f"{config.clients.members}; see conf/clients/paper.yaml"
        )
    device, remark = available_device(config.runtime.device)
    if remark:
        print(remark)
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
        training=Training(optimizers, config.batch_size, config.seed, device),
        fusion_dim=config.fusion.dim,
        data=make(config.data),
        workers=Workers(config.runtime.workers, config.runtime.threads),
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
    from ifl.runner import Schedule, run  # seconds to import: not needed for what is finished

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
        "choices": {k: v for k, v in _choices().items() if not k.startswith("hydra/")},
        "config": plain,
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
    choices = OmegaConf.to_container(HydraConfig.get().runtime.choices)
    assert isinstance(choices, dict)
    return {str(group): str(option) for group, option in choices.items()}


def _write_hydra(path: Path, config: DictConfig) -> None:
    """Keep the configuration and the overrides where Hydra would."""
    hydra_config = HydraConfig.get()
    (path / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(config, path / ".hydra" / "config.yaml")
    OmegaConf.save(hydra_config.overrides.task, path / ".hydra" / "overrides.yaml")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(config: DictConfig) -> None:
    """Run one configuration and note its outcome in the journal."""
    try:
        outcome = execute(config, Path(HydraConfig.get().runtime.output_dir))
    except BusyError as error:
        outcome = {"busy": str(error)}
    except IFLError as error:
        print(f"Error: {error}", file=sys.stderr)
        outcome = {"error": str(error), "overrides": list(HydraConfig.get().overrides.task)}
    with open(os.environ[JOURNAL], "a") as journal:
        journal.write(json.dumps(outcome) + "\n")


def main() -> int:
    """Run the job or the sweep of the command line; return the exit code."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let Hydra's errors reach the lines below
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as journal:
        os.environ[JOURNAL] = journal.name
        try:
            job()
        except (CompactHydraException, OmegaConfBaseException, OSError) as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            anew = " without fresh=true" * ("fresh=true" in sys.argv)
            print(f"\nInterrupted; the same command{anew} goes on with it.", file=sys.stderr)
            return 130
        finally:
            outcomes = [json.loads(line) for line in journal]
            print(summary(outcomes), end="")
    return 1 if any("error" in outcome for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Compose a configuration, build the federation, run it, report.

python scripts/run.py [group=option ...] [key=value ...]; -m sweeps; --help lists the groups.
"""

import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ifl.errors import ConfigError, IFLError
from ifl.report import Progress, class_table, summary
from ifl.results import RunFolder, attempts, fingerprint, read_about

# Every job of a sweep, in whatever process, appends its outcome to this file.
JOURNAL = "IFL_JOURNAL"


def run_name(*, _root_: DictConfig) -> str:
    """Return the folder name of a configuration: readable choices, then what tells it apart."""
    config = _plain(_root_)
    choices = OmegaConf.to_container(_root_.hydra.runtime.choices)
    assert isinstance(choices, dict)
    readable = "-".join(str(choices[group]) for group in ("data", "clients", "method"))
    return f"{readable}-seed{config['seed']}-{fingerprint(config)}"


def _plain(config: DictConfig) -> dict[str, Any]:
    """Return the job's part of a configuration with every interpolation resolved."""
    job = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
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
        where = str(error).strip().splitlines()
        raise ConfigError(f"{where[-1]}: {where[0]}") from error


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

    from ifl.client import Optimizers, Training
    from ifl.federation import Member, build
    from ifl.runner import Budget, run

    if config.runtime.threads is not None:
        torch.set_num_threads(config.runtime.threads)
    budget = Budget(rounds=config.rounds, **config.stop)
    optimizers = Optimizers(make(config.optimizer.base), make(config.optimizer.modular))
    training = Training(optimizers, config.batch_size, config.seed, config.runtime.device)
    members = [
        Member(m.name, partial(make, m.base), partial(make, m.modular))
        for m in config.clients.members
    ]
    partition, method, codec = make(config.partition), make(config.method), make(config.codec)
    federation = build(
        make(config.data), partition, members, config.clients.count, method, training, codec,
        config.fusion.dim,
    )  # fmt: skip
    choices = OmegaConf.to_container(HydraConfig.get().runtime.choices)
    assert isinstance(choices, dict)
    plain = _plain(config)
    about = {
        "data": federation.data.name,
        "seed": config.seed,
        "choices": {k: v for k, v in choices.items() if not k.startswith("hydra/")},
        "config": plain,
        "group": fingerprint(plain, "seed"),
    }
    folder = RunFolder.claim(free, about)
    _write_hydra(free, config)
    print(class_table(federation.class_table()))
    progress = Progress(config.rounds, len(federation.engine.clients))
    try:
        final = run(federation, folder, about, budget, config.eval_every, progress)
    finally:
        progress.close()
        folder.close()
    return {**final, "folder": str(free)}


def _write_hydra(path: Path, config: DictConfig) -> None:
    """Keep the configuration and the overrides where Hydra would."""
    hydra_config = HydraConfig.get()
    (path / ".hydra").mkdir()
    OmegaConf.save(config, path / ".hydra" / "config.yaml")
    OmegaConf.save(hydra_config.overrides.task, path / ".hydra" / "overrides.yaml")


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def job(config: DictConfig) -> None:
    """Run one configuration and note its outcome in the journal."""
    try:
        outcome = execute(config, Path(HydraConfig.get().runtime.output_dir))
    except IFLError as error:
        print(f"Error: {error}", file=sys.stderr)
        outcome = {"error": str(error), "overrides": list(HydraConfig.get().overrides.task)}
    with open(os.environ[JOURNAL], "a") as journal:
        journal.write(json.dumps(outcome) + "\n")


def main() -> int:
    """Run the job or the sweep of the command line; return the exit code."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as journal:
        os.environ[JOURNAL] = journal.name
        job()
        outcomes = [json.loads(line) for line in journal]
    if outcomes:
        print(summary(outcomes))
    return 1 if any("error" in outcome for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

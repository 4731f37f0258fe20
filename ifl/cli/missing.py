"""Finds the runs that a study lacks, by its experiment's grid as it was typed."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ifl.cli.arguments import parted, ready, spanned
from ifl.errors import IFLError
from ifl.runs.folder import read_about
from ifl.runs.identity import NOT_SETTINGS, flatten

SWEEPER = "hydra.sweeper."
ASIDE = tuple(f"{key}." for key in NOT_SETTINGS)


def absent(folder: Path, conf: Path, study: str, data: str) -> list[str]:
    """Return a sentence for every setting of a study that lacks runs on a data set.

    Args:
        folder: holds runs, at any depth. Unfinished ones count as there: they are named anyway.
        conf: holds the experiment of this name; without one nothing is missing.
        study: of these runs.
        data: name of the data set.
    """
    path = conf / "experiment" / f"{study}.yaml"
    if not path.is_file():
        return []
    there = []
    for file in sorted(folder.rglob("run.json")):
        about = read_about(file.parent) or {}
        config = about.get("config")
        known = isinstance(config, Mapping) and config.get("study") == study
        if known and about.get("data") == data:
            there.append(about)
    commands = {str(about["command"]) for about in there if about.get("command")} or {""}
    missing: dict[str, set[str]] = {}
    for job in wanted(path, commands):
        if not any(is_one(about, job) for about in there):
            setting = " ".join(f"{k}={v}" for k, v in job.items() if k != "seed")
            missing.setdefault(setting, set()).add(job.get("seed", "0"))
    return [
        f"{study}, {data}: missing is {setting or 'the only setting'}, seed "
        + ", ".join(sorted(seeds, key=lambda seed: (len(seed), seed)))
        for setting, seeds in missing.items()
    ]


def repeats(command: str) -> bool:
    """Return whether a command begins with a run's own configuration, not with the experiment."""
    flags = parted(shlex.split(command))[1]
    kept = [flag for flag in flags if Path(flag.rpartition("=")[2]).name == ".hydra"]
    return bool(kept) or any(flag.startswith(("--config-p", "-cp")) for flag in flags)


def wanted(path: Path, commands: Iterable[str]) -> list[dict[str, str]]:
    """Return the runs that commands ask of an experiment: key and value of what sets one apart.

    A command may replace the experiment's grids, hydra.sweeper.grids=[], or one of its lists.
    """
    its: Any = OmegaConf.select(OmegaConf.load(path), "hydra.sweeper") or {}
    jobs: dict[str, dict[str, str]] = {}
    for command in [c for c in commands if not repeats(c)] or [""]:
        words = [ready(word) for word in parted(shlex.split(command))[0] if "=" in word]
        typed = [word for word in words if not word.startswith(SWEEPER)]
        try:
            told = OmegaConf.from_dotlist([word for word in words if word.startswith(SWEEPER)])
            sweeper: Any = OmegaConf.merge(its, OmegaConf.select(told, SWEEPER[:-1]) or {})
            grids = [{**(sweeper.get("params") or {}), **g} for g in sweeper.get("grids") or [{}]]
            spans = spanned(grids, typed)
        except Exception as error:
            raise IFLError(f"{path}: its grid cannot be read ({error})") from error
        for overrides in spans:
            pairs = (override.lstrip("+~").split("=", 1) for override in overrides)
            job = {key: value for key, value in pairs if not f"{key}.".startswith(ASIDE)}
            jobs.setdefault(repr(sorted(job.items())), job)
    return list(jobs.values())


def is_one(about: Mapping[str, Any], job: Mapping[str, str]) -> bool:
    """Return whether a run is that of a job, by the values of all that the job sets."""
    config, choices = flatten(about["config"]), about.get("choices") or {}
    return all(
        same(choices[key] if key in choices else config[key], value)
        for key, value in job.items()
        if key in choices or key in config
    )


def same(value: object, text: str) -> bool:
    """Return whether a value of a configuration is what a command line says."""
    if isinstance(value, bool) or value is None:
        return text.lower() == {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        try:
            return float(text) == value
        except ValueError:
            return False
    return str(value) == text.strip("'\"")

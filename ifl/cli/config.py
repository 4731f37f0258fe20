"""Locates the configuration, checks its keys and names a run's folder.

Registers the resolvers that the yaml files use: run_name, cores_of_run, runs_at_once, contents,
name_of, home, typed_from. That of OmegaConf for the environment is replaced by one that tells
numbers.
"""

import os
import re
from collections.abc import Mapping, Set
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers.oc import env

from ifl.checks import check_flag, check_text, check_whole, typed
from ifl.cli.unread import alike, check_top, spread
from ifl.cores import available_cores
from ifl.data import contents as files
from ifl.errors import ConfigError
from ifl.runs.comparison import holds
from ifl.runs.identity import NAMING, NEUTRAL_CHOICES, fingerprint, flatten, recipe
from ifl.runs.objective import check_objective

PACKAGE = Path(__file__).resolve().parent.parent
# Installed, the configuration lies in the package; in a checkout, beside it.
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())
SCALAR = re.compile(  # as yaml reads numbers; 007 is a name
    r"true|false|null|[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+([eE][+-]?\d+)?",
    re.IGNORECASE,
)
GROUPS = {"local": {"tau"}, "fusion": {"dim"}, "clients": {"count", "members"}}  # no _target_


def run_name(folder: str | None = None, *, _root_: DictConfig) -> str:
    """Return the folder name of a configuration: readable choices, then what tells it apart.

    Args:
        folder: of a run that is repeated; where it is this one's, it keeps its name.
    """
    check_chosen(_root_.hydra)
    config = checked(_root_, _root_.hydra)
    if folder is not None and holds(Path(folder), config):
        return Path(folder).name
    choices = OmegaConf.to_container(_root_.hydra.runtime.choices)
    assert isinstance(choices, dict)
    readable = "-".join(str(choices[group]) for group in NAMING)
    return f"{readable}-seed{config['seed']}-{fingerprint(config)}"


def check_chosen(hydra: DictConfig) -> None:
    """Raise ConfigError unless the primary configuration chooses what names a run."""
    for group in NAMING:
        if hydra.runtime.choices.get(group) is None:
            if hydra.job.config_name == "config":  # of this project, and left out as typed
                raise ConfigError(f"{group} is needed by every run; choose one of its options")
            raise ConfigError(
                f"{hydra.job.config_name}.yaml chooses no {group}; put it in a folder that "
                "--config-dir names, and begin it with defaults: [config, _self_]"
            )


def checked(config: DictConfig, hydra: DictConfig | None = None) -> dict[str, Any]:
    """Return ``plain(config)``; refuse keys that no section has and nothing refers to.

    What constructors take, which only importing them tells, ``unread.check_read`` checks.

    Args:
        config: of a job.
        hydra: its settings of Hydra.
    """
    described, known = plain(config), known_keys()
    check_keys(described, known)
    check_top(config, described.keys() - known[""], hydra)
    check_place(described)
    return described


def known_keys() -> dict[str, set[str]]:
    """Return the keys of the configuration by section, the empty name for the whole."""
    own = {str(k): v for k, v in _primary().items() if k not in ("defaults", "hydra")}
    sections = {k: {*map(str, v)} for k, v in own.items() if isinstance(v, DictConfig)}
    return {"": {*own, *groups()}, **sections, **GROUPS}


def groups() -> set[str]:
    """Return the groups that each have a section in a configuration of the same name."""
    defaults = _primary().defaults
    named = {str(key) for entry in defaults if isinstance(entry, DictConfig) for key in entry}
    return {g for g in named if " " not in g} - {"launcher", "experiment"}


@cache
def _primary() -> DictConfig:
    return cast(DictConfig, OmegaConf.load(CONF / "config.yaml"))


def plain(config: DictConfig) -> dict[str, Any]:
    """Return the job's part of a configuration with every interpolation resolved.

    Each optimiser has what both share (``unread.spread``).
    """
    own = [str(key) for key in config if key != "hydra"]
    job = OmegaConf.masked_copy(config, own) if "hydra" in config else config
    plain = OmegaConf.to_container(spread(job), resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def choices() -> dict[str, str]:
    """Return the option of every group that can change a result."""
    chosen = OmegaConf.to_container(HydraConfig.get().runtime.choices)
    assert isinstance(chosen, dict)
    return {str(k): str(v) for k, v in chosen.items() if not str(k).startswith(NEUTRAL_CHOICES)}


def recipe_of_job() -> str:
    """Return the recipe of the job that Hydra runs now."""
    hydra_config = HydraConfig.get()
    sources = [s.path for s in hydra_config.runtime.config_sources if s.schema == "file"]
    return recipe(hydra_config.overrides.task, str(hydra_config.job.config_name), sources)


def cores_of_run(workers: int | None, threads: int) -> int:
    """Return how many cores a run keeps busy; no number of workers is one per core."""
    check_cores(workers, threads)
    return (workers or available_cores()) * threads


def runs_at_once(workers: int | None, threads: int) -> int:
    """Return how many such runs this machine has cores for, at least one."""
    return max(1, cores_of_run(None, 1) // cores_of_run(workers, threads))


def contents(root: str | None, kind: str = "files") -> str | None:
    """Return what tells the contents of files, for a run's identity."""
    return files.contents(None if root is None else typed_from(root), kind)


def typed_from(root: str) -> str:
    """Return a path as it is from here, where Hydra has changed the folder (hydra.job.chdir)."""
    path = home(root)
    if not HydraConfig.initialized() or not HydraConfig.get().job.chdir:
        return path
    return str(Path(HydraConfig.get().runtime.cwd) / path)


def home(path: str) -> str:
    """Return a path with the home folder in the place of a ``~`` that it begins with.

    Raises:
        ConfigError: nobody here has this name.
    """
    full = os.path.expanduser(str(path))
    if full.startswith("~"):
        raise ConfigError(
            f"{path} begins with {Path(full).parts[0]}, and there is no such home folder; write "
            f"./{path} for a folder of this name"
        )
    return full


def same_files(config: Mapping[str, Any]) -> bool:
    """Return whether the files that a run was made of have not changed since."""
    settings = [name.split(".") for name in files.OWN_FILES]
    places = [(config.get(group), key) for group, key in settings]
    return all(
        files.unchanged(typed_from(str(section.get(key))), str(section["contents"]))
        for section, key in places
        if isinstance(section, Mapping) and section.get("contents")
    )


def environment(key: str, *default: str | None) -> str | int | float | bool | None:
    """Return what an environment variable says, as it is read where it is typed: 3 is a number.

    OmegaConf's own has it as text, which no setting that is a number takes.
    """
    text = env(key, *default)
    if text is None or not SCALAR.fullmatch(text):
        return text
    words: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    return float(text) if re.search(r"[.eE]", text) else int(text)


def name_of(root: str) -> str:
    """Return what a data set is called after the file or folder that it lies in."""
    path = Path(typed_from(root)).resolve()
    return path.name if path.is_dir() else path.stem


def check_keys(config: Mapping[str, Any], known: Mapping[str, Set[str]]) -> None:
    """Refuse keys that no section has, and the lack of one; of others, only their lack.

    Args:
        known: the keys of each section, and of the whole under the empty name.

    Raises:
        ConfigError: names the first such key.
    """
    for section, keys in known.items():
        found = config[section] if section else config
        if not isinstance(found, Mapping):
            raise ConfigError(
                f"{section} must have the settings {', '.join(sorted(keys))}, got "
                f"{typed(found)}; set these, not {section} itself"
            )
        for key in sorted(keys ^ {*map(str, found)}):
            name = f"{section}.{key}" if section else key
            if key in keys:
                raise ConfigError(
                    f"{name} is needed by every run; --cfg job shows the configuration as it "
                    "should be"
                )
            if section:
                there = [f"{section}.{name}" for name in sorted(keys)]
                hint = alike(name, [*there, *flatten(config)], f"{section} takes {', '.join(keys)}")
                raise ConfigError(f"{name} is a key that nothing reads; {hint}")


def check_place(config: Mapping[str, Any]) -> None:
    """Raise ConfigError unless runs can be kept in outputs and study."""
    check_text("outputs", config["outputs"])
    study = config["study"]
    check_text("study", str(study) if isinstance(study, int) else study)


def check_runtime(config: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the settings hold that tell how a run is started."""
    check_objective(config["objective"])
    check_flag("fresh", config["fresh"])
    check_flag("runtime.quiet", config["runtime"]["quiet"])
    check_cores(config["runtime"]["workers"], config["runtime"]["threads"])


def check_cores(workers: object, threads: object) -> None:
    """Raise ConfigError unless these are numbers of workers and of their threads."""
    if workers is not None:
        check_whole("runtime.workers", workers, 1)
    check_whole("runtime.threads", threads, 1)


OmegaConf.register_new_resolver("oc.env", environment, replace=True)
for resolver in (run_name, cores_of_run, runs_at_once, contents, name_of, home, typed_from):
    OmegaConf.register_new_resolver(resolver.__name__, resolver)

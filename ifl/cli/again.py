"""Repeats a run from the configuration in its own folder: --config-path RUN/.hydra.

What Hydra wrote there has no defaults list, so that no option could be chosen beside it, and no
settings of Hydra. A primary configuration with both is made of it, of what its run.json says was
chosen, and of the defaults of now for keys that are younger than the run.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf

from ifl.cli.arguments import parted
from ifl.cli.config import CONF, groups
from ifl.data.contents import OWN_FILES
from ifl.errors import ConfigError
from ifl.runs.folder import read_about
from ifl.runs.identity import NAMING, flatten

VOLATILE = re.compile(r"\$\{\s*(oc\.env|now)\s*:")
STORED: list[tuple[str, ...]] = []  # where the store has what is made of a run: groups and file


def repeated(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command, those that name a run's folder replaced.

    A folder of one's own is found from where the command is typed, as one expects.

    Raises:
        ConfigError: the run's folder does not say what it was made of.
    """
    _forget()
    overrides, flags = parted(arguments)
    check_package(flags)
    if not any(flag.startswith(("--config", "-cp", "-cd")) for flag in flags):
        return [*arguments]
    typed = get_args_parser().parse_args(flags)
    for name in ("config_path", "config_dir"):
        folder, wanted = getattr(typed, name), typed.config_name or "config"
        if folder is None:
            continue
        if not Path(folder).is_dir():
            here = Path(__file__).parent / folder
            if name == "config_path" and "://" not in folder and not here.is_dir():
                raise ConfigError(
                    f"--config-path={folder} is no folder; name that of a configuration of your "
                    "own, or .hydra of a run"
                )
            continue
        kept = [flag for flag in flags if flag not in _words(name, folder)]
        run = _run(Path(folder))
        if run is None or wanted.removesuffix(".yaml") != "config":
            if name == "config_path":
                kept = [*kept, f"--config-path={os.path.abspath(folder)}"]
                return [*overrides, *kept]
            continue
        kept = [flag for flag in kept if flag not in _words("config_name", typed.config_name)]
        chosen = {override.lstrip("+~").partition("=")[0] for override in overrides}
        return [*overrides, *kept, f"--config-name={stored(run, chosen)}"]
    return [*arguments]


def check_package(flags: Sequence[str]) -> None:
    """Raise ConfigError where a part of the configuration is named and it is not to be shown."""
    named = any(flag.startswith(("--pack", "-p")) for flag in flags)
    if named and not any(flag.startswith(("--cfg", "-c", "--info", "-i")) for flag in flags):
        raise ConfigError(
            "--package names the part of the configuration that --cfg job shows; write both, or "
            "leave it out"
        )


def stored(run: Path, chosen: set[str]) -> str:
    """Keep the configuration of a run where Hydra finds it, and return its name.

    Args:
        run: its folder.
        chosen: keys and groups that the command line sets itself.

    Raises:
        ConfigError: a file of the run is missing or damaged, or does not say what was chosen.
    """
    about = read_about(run) or {}
    choices, was = about.get("choices"), about.get("config")
    if not isinstance(choices, Mapping) or not isinstance(was, Mapping):
        raise ConfigError(
            f"{run / 'run.json'} is missing or damaged, so it is not known what this run is; type "
            "what was typed for it"
        )
    if lacking := [group for group in NAMING if group not in choices]:
        raise ConfigError(
            f"{run / 'run.json'} does not say what was chosen for {lacking[0]}; type what was "
            "typed for it"
        )
    path = run / ".hydra" / "config.yaml"
    try:
        saved = OmegaConf.load(path)
    except Exception as error:  # of the file system, the syntax or the grammar
        raise ConfigError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(saved, DictConfig):
        raise ConfigError(f"{path} is no configuration of a run")
    _settle(saved, flatten(was))
    store, digest = ConfigStore.instance(), hashlib.sha256()
    digest.update(OmegaConf.to_yaml(saved).encode() + json.dumps(choices).encode())
    base = OmegaConf.load(CONF / "config.yaml")
    assert isinstance(base, DictConfig)
    defaults: list[Any] = []
    for entry in OmegaConf.to_container(base.pop("defaults")):  # type: ignore[union-attr]
        group = next(iter(entry)) if isinstance(entry, dict) else None
        if group in groups() and group in choices:
            defaults.append({group: choices[group]})
            if group in saved and group not in chosen:
                above, _, option = f"{group}/{choices[group]}".rpartition("/")
                store.store(option, saved[group], above, package=group)
                STORED.append((*above.split("/"), f"{option}.yaml"))
        else:
            defaults.append(entry)
    rest = [str(key) for key in saved if key not in (*groups(), "outputs", "study", "fresh")]
    full = OmegaConf.merge(base, OmegaConf.masked_copy(saved, rest), _place(run, saved))
    full.runtime.quiet = base.runtime.quiet  # that of a sweep, which says itself what goes on
    name = f"run-{digest.hexdigest()[:16]}"
    store.store(name, {"defaults": defaults, **OmegaConf.to_container(full)})  # type: ignore[dict-item]
    STORED.append((f"{name}.yaml",))
    return name


def _forget() -> None:
    """Take out of the store what was made of a run before, in this process."""
    while STORED:
        *above, name = STORED.pop()
        inner = ConfigStore.instance().repo
        for group in above:
            inner = inner[group]
        inner.pop(name, None)


def _place(run: Path, saved: DictConfig) -> DictConfig:
    """Return the settings that let a run be found in its folder, and others beside it."""
    study, folder = Path(str(saved.get("study"))), run.parent
    parts = study.parts
    if parts and folder.parts[-len(parts) :] == parts:
        outputs = Path(*folder.parts[: -len(parts)])
    else:
        study, outputs = Path(folder.name), folder.parent
    quoted = re.sub(r"(['\\])", r"\\\1", str(run))
    name = f"${{run_name:'{quoted}'}}"
    hydra = {"run": {"dir": f"${{home:${{outputs}}}}/${{study}}/{name}"}, "sweep": {"subdir": name}}
    return OmegaConf.create({"outputs": str(outputs), "study": str(study), "hydra": hydra})


def _settle(saved: DictConfig | ListConfig, was: Mapping[str, Any], above: str = "") -> None:
    """Replace what followed from the environment or the time by the value that it had."""
    places: Any = saved
    for key in range(len(places)) if isinstance(saved, ListConfig) else [*places]:
        name, node = f"{above}{key!s}", places._get_node(key)
        if isinstance(node, DictConfig | ListConfig) and not node._is_interpolation():
            _settle(node, was, f"{name}.")
        elif name in {*was} - {*OWN_FILES} and VOLATILE.search(str(node._value())):
            places[key] = was[name]


def _run(folder: Path) -> Path | None:
    """Return the folder of the run whose configuration lies in a folder, if it is one's."""
    folder = Path(os.path.abspath(folder))
    for run in (folder.parent, folder):
        inner = run / ".hydra"
        whole = folder == run and (run / "run.json").exists()
        if (folder == inner or whole) and (inner / "config.yaml").is_file():
            return run
    return None


def _words(name: str, value: str) -> set[str]:
    """Return the words that say an option of this value, together or apart."""
    (action,) = (a for a in get_args_parser()._actions if a.dest == name)
    return {value, *action.option_strings, *(f"{flag}={value}" for flag in action.option_strings)}

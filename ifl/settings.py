"""What is checked of a configuration before anything is built from it."""

from collections.abc import Mapping, Set
from typing import Any

from ifl.checks import check_flag, check_text, check_whole, typed
from ifl.errors import ConfigError


def check_keys(config: Mapping[str, Any], known: Mapping[str, Set[str]]) -> None:
    """Refuse keys that nothing reads, and the lack of one.

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
        for key in sorted(keys ^ set(found)):
            name = f"{section}.{key}" if section else key
            wrong = "is needed by every run" if key in keys else "is a key that nothing reads"
            raise ConfigError(f"{name} {wrong}; --cfg job shows the configuration as it should be")


def check_place(config: Mapping[str, Any]) -> None:
    """Raise ConfigError unless runs can be kept in outputs and study."""
    check_text("outputs", config["outputs"])
    study = config["study"]
    check_text("study", str(study) if isinstance(study, int) else study)


def check_runtime(config: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the settings hold that tell how a run is started."""
    check_flag("fresh", config["fresh"])
    check_flag("runtime.quiet", config["runtime"]["quiet"])
    check_cores(config["runtime"]["workers"], config["runtime"]["threads"])


def check_cores(workers: object, threads: object) -> None:
    """Raise ConfigError unless these are numbers of workers and of their threads."""
    if workers is not None:
        check_whole("runtime.workers", workers, 1)
    check_whole("runtime.threads", threads, 1)

"""Reads agreed.yaml and vendor.yaml, and composes the options that they name."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, safe_load  # type: ignore[import-untyped]

from ifl.cli.config import CONF
from ifl.errors import ConfigError, IFLError

if TYPE_CHECKING:
    from ifl.data.dataset import Dataset
    from ifl.vendors.agreed import Agreed
    from ifl.vendors.settings import Vendor

TOLD = (HydraException, OmegaConfBaseException, YAMLError, IFLError, OSError)
SETTINGS = ("method.", "codec.")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what a file says.

    Raises:
        ConfigError: it is no mapping of yaml.
    """
    try:
        found = safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error})") from error
    except YAMLError as error:
        raise ConfigError(f"{path} is no yaml ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must hold keys and values, as docs/vendors.md shows")
    return {str(key): value for key, value in found.items()}


def read_agreed(path: Path) -> "Agreed":
    """Return the terms of a file.

    Raises:
        ConfigError: a key is missing or unknown, or a value is out of range.
    """
    from ifl.vendors.agreed import DEFAULTS, NEEDED, agreed

    said = read_yaml(path)
    known = [*NEEDED, *DEFAULTS]
    if unknown := sorted(said.keys() - {*known}):
        raise ConfigError(f"{path}: {unknown[0]} is no key of it; it has {', '.join(known)}")
    if lacking := [key for key in NEEDED if key not in said]:
        raise ConfigError(f"{path}: {lacking[0]} is needed")
    terms = {**DEFAULTS, **said}
    try:
        terms |= _composed(terms)
        return agreed(terms)
    except TOLD as error:
        raise ConfigError(f"{path}: {error}") from error


def _composed(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Return method and codec with all of their settings."""
    settings = [str(setting) for setting in terms["settings"]]
    for setting in settings:
        if not setting.startswith(SETTINGS) or "=" not in setting:
            raise ConfigError(
                f"settings must be method.KEY=value or codec.KEY=value, got {setting}"
            )
    named = [f"{group}={terms[group]}" for group in ("method", "codec")]
    numbers = {"local.tau": "tau", "fusion.dim": "fusion_dim", "batch_size": "batch_size"}
    values = [f"{key}={terms[name]}" for key, name in numbers.items()]
    config = composed(*named, *values, *settings)
    return {
        group: OmegaConf.to_container(config[group], resolve=True) for group in ("method", "codec")
    }


def composed(*overrides: str) -> DictConfig:
    """Return the configuration of a run with these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides])


def read_vendor(path: Path) -> "Vendor":
    """Return a vendor's own settings.

    Raises:
        ConfigError: a key is missing or unknown, or a value is out of range.
    """
    from ifl.vendors.settings import vendor

    try:
        return vendor(read_yaml(path), path.resolve().parent)
    except TypeError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ConfigError as error:
        raise ConfigError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def data_of(vendor: "Vendor") -> "Dataset":
    """Return a vendor's data; a ``root`` of its own goes from the folder of its file.

    Raises:
        ConfigError, DataError: there is none such.
    """
    from ifl.cli.build import make
    from ifl.data.dataset import check_dataset
    from ifl.seeding import global_stream

    said: Any = vendor.data
    if isinstance(said, str):
        config = composed(f"data={said}").data
    elif isinstance(said, Mapping):
        config = dict(said)
        if isinstance(config.get("root"), str):
            config["root"] = str(vendor.path(config["root"]))
    else:
        raise ConfigError(f"data must be a mapping with _target_, or an option, got {said}")
    with global_stream(0, "data"):
        return check_dataset(make(config))

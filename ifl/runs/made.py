"""Makes what a run's configuration names, without Hydra: classes and functions by ``_target_``."""

from collections.abc import Mapping
from functools import partial
from inspect import Parameter, signature
from pkgutil import resolve_name
from typing import Any

from ifl.errors import ConfigError, IFLError
from ifl.runs.identity import MOVED, TOLD

OF_HYDRA = {"_target_", "_args_", "_partial_", "_recursive_", "_convert_"}


def made(config: Any) -> Any:
    """Return what a plain configuration describes: what its ``_target_`` makes, or itself.

    Raises:
        ConfigError: a ``_target_`` cannot be imported, or refuses its settings.
    """
    if isinstance(config, list | tuple):
        return [made(value) for value in config]
    if not isinstance(config, Mapping):
        return config
    inner = (lambda value: value) if config.get("_recursive_") is False else made
    settings = {str(k): inner(value) for k, value in config.items() if k not in OF_HYDRA}
    if "_target_" not in config:
        return settings
    address = str(config["_target_"])
    try:
        target = resolve_name(MOVED.get(address, address))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{address} cannot be imported here ({error}); add the folder that holds it to "
            "PYTHONPATH, or install its package"
        ) from error
    arguments = [inner(value) for value in config.get("_args_", ())]
    if config.get("_partial_"):
        return partial(target, *arguments, **settings)
    try:
        return target(*arguments, **settings)
    except IFLError:
        raise  # its own sentence
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{address} cannot be made with {settings}: {error}") from error


def told(block: Any, agreed: Mapping[str, Any]) -> Any:
    """Return a block's configuration with what it leaves out of shape, fusion_dim and classes.

    Args:
        block: names a class or function as ``_target_``.
        agreed: the value of each.
    """
    if not isinstance(block, Mapping):
        return block
    free = free_parameters(block)
    return {**block, **{name: agreed[name] for name in TOLD if name in free}}


def free_parameters(block: Mapping[str, Any]) -> set[str]:
    """Return the parameters of a ``_target_`` that can be named and are not set.

    None where it cannot be found or inspected: what is wrong with it, whoever makes it says.
    """
    try:
        address = str(block["_target_"])
        target = signature(resolve_name(MOVED.get(address, address)))
        taken = target.bind_partial(*block.get("_args_", ())).arguments
    except Exception:
        return set()
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return {n for n, p in target.parameters.items() if p.kind in named} - {*taken, *block}

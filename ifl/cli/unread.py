"""Finds settings that nothing reads, and hands what two optimisers share to both.

A key is read by the parameter of its name of the ``_target_`` beside it, by an interpolation of
another key, or, below ``optimizer``, by both optimisers.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ifl.errors import ConfigError
from ifl.runs.identity import MOVED, flatten

BLOCKS = ("base", "modular")
OPTIMIZER = ("lr", "decay_rounds", *BLOCKS)  # what the section has besides what its blocks share
HYDRAS = {"_target_", "_args_", "_partial_", "_recursive_", "_convert_"}
NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
MARK = "\0read"  # put in the place of a value: where it turns up elsewhere, the value is read
Path = tuple[str, ...]


def spread(config: DictConfig) -> DictConfig:
    """Return a configuration in which each optimiser has what both share and it does not set.

    It is the same object where there is nothing to do.
    """
    if not (names := shared(config)):
        return config
    full = _copy(config)
    for block in BLOCKS:
        own = full.optimizer.get(block)
        for name in names if isinstance(own, DictConfig) else ():
            if name.isidentifier() and name not in own:
                own[name] = f"${{optimizer.{name}}}"
    return full


def shared(config: DictConfig) -> list[str]:
    """Return the keys of the optimizer section that go to both optimisers; null is not set.

    What an interpolation refers to goes where that is, and nowhere else.
    """
    section = config.get("optimizer")
    if not isinstance(section, DictConfig) or section._is_none():
        return []
    names = [str(name) for name in section if name not in OPTIMIZER]
    names = [name for name in names if section.get(name) is not None]
    return [name for name in names if not is_referred_to(config, ("optimizer", name))]


def is_referred_to(config: DictConfig, path: Path) -> bool:
    """Return whether another value of the configuration changes with that at a path."""
    marked = _copy(config)
    name = ".".join(path)
    texts = flatten(OmegaConf.to_container(marked)).values()
    if f"${{{name}}}" in texts and name.count(".") == len(path) - 1:
        return True  # as it stands there: no need to try
    section: Any = marked
    for key in path[:-1]:
        section = section[key]
    before = _rest(marked, path)
    section[path[-1]] = MARK
    OmegaConf.clear_cache(marked)
    after = _rest(marked, path)
    # What made something of the value can make nothing of the mark.
    return before is None or after is None or before != after


def _rest(config: DictConfig, path: Path) -> str | None:
    """Return the values of a configuration without that at a path; None if some have none."""
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
        section = plain
        for key in path[:-1]:
            section = section[key]
        del section[path[-1]]
        return json.dumps(plain, default=str)
    except (OmegaConfBaseException, TypeError, ValueError):
        return None


def check_top(config: DictConfig, unknown: Iterable[str], hydra: DictConfig | None) -> None:
    """Refuse keys beside those of this project that no interpolation refers to, to the last leaf.

    Args:
        config: of a job.
        unknown: its keys that are none of this project's.
        hydra: the settings of Hydra, which may refer to them as well.

    Raises:
        ConfigError: names the first that nothing reads.
    """
    raw = OmegaConf.to_container(hydra) if hydra is not None else {}
    hydras = json.dumps(flatten(raw), default=str)
    unknown = {*unknown}
    there = flatten(OmegaConf.to_container(config))
    known = [key for key in there if key.partition(".")[0] not in unknown]
    for key in sorted(unknown):
        if re.search(rf"\$\{{[^$}}]*\b{re.escape(key)}\b", hydras):
            continue
        for path in _leaves(OmegaConf.to_container(OmegaConf.create({key: config[key]})), ()):
            if not is_referred_to(config, path):
                name = ".".join(path)
                raise ConfigError(
                    f"{name} is a key that nothing reads; "
                    + alike(name, known, "--cfg job shows the configuration as it should be")
                )


def check_read(config: DictConfig, typed: Sequence[str] = ()) -> None:
    """Refuse settings that no constructor takes, and those of optimizer that change nothing.

    Where a ``_target_`` takes any keyword, or cannot be inspected, its keys are taken for read.

    Args:
        config: of a job.
        typed: the overrides of the command line or the sweep.

    Raises:
        ConfigError: names the first such key, and the nearest that is read.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    _check_optimizer(config, {override.lstrip("+~").split("=", 1)[0] for override in typed})
    for path, built in _built(plain, ()):
        taken = parameters(built["_target_"], bool(built.get("_partial_")))
        if taken is None:
            continue
        for key in [key for key in built if key not in HYDRAS and key not in taken]:
            _refuse(".".join((*path, str(key))), path, built["_target_"], taken, plain)


def parameters(address: object, filled: bool = False) -> list[str] | None:
    """Return the names of what a ``_target_`` takes; None where any may be, or it is not known.

    Args:
        filled: the first is left to whoever calls what is made, as that of an optimiser.
    """
    from ifl.seeding import imported  # loads torch

    try:
        taken = signature(imported(MOVED.get(str(address), str(address)))).parameters
    except Exception:
        return None
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values()):
        return None
    return [name for name, p in taken.items() if p.kind in NAMED][1 if filled else 0 :]


def alike(key: str, keys: Iterable[str], otherwise: str) -> str:
    """Return a question for the keys that one may be meant for, or what to say without any.

    Neither the key itself is, nor what lies below it, nor a value in a list.
    """
    last = key.rpartition(".")[2]
    keys = [k for k in dict.fromkeys(keys) if not f"{k}.".startswith(f"{key}.")]
    keys = [k for k in keys if not k.rpartition(".")[2].isdigit()]
    near = [other for other in keys if other.rpartition(".")[2] == last]
    near = near or difflib.get_close_matches(key, keys, cutoff=0.7)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def _check_optimizer(config: DictConfig, typed: set[str]) -> None:
    """Refuse what is meant for both optimisers and reaches none, or only one that takes it."""
    section = config.optimizer
    if not isinstance(section, DictConfig) or not {*BLOCKS} <= {*section}:
        raise ConfigError(
            "optimizer must have the settings base and modular, each with a _target_; see "
            "conf/optimizer/momentum.yaml"
        )
    blocks = {block: section[block] for block in BLOCKS}
    for name in [str(name) for name in section if name not in ("decay_rounds", *BLOCKS)]:
        if is_referred_to(config, ("optimizer", name)):
            continue
        key = f"optimizer.{name}"
        lacking = [
            b for b, own in blocks.items() if isinstance(own, DictConfig) and name not in own
        ]
        if lacking and name == "lr":
            raise ConfigError(
                f"{key} is a key that nothing reads; optimizer.{lacking[0]} has to say "
                'lr: "${optimizer.lr}" to take it'
            )
        if not lacking and any(f"{t}.".startswith(f"{key}.") for t in typed):
            both = " and ".join(f"optimizer.{block}.{name}" for block in BLOCKS)
            raise ConfigError(f"{key} changes nothing, since both blocks set their own; set {both}")
        for block in lacking:
            _check_taken(name, block, blocks)


def _check_taken(name: str, block: str, blocks: Mapping[str, Any]) -> None:
    """Refuse what both optimisers share and that of this block does not take."""
    address = blocks[block].get("_target_")
    taken = parameters(address, filled=True)
    if taken is None or name in taken:
        return
    (other,) = (b for b in BLOCKS if b != block)
    if isinstance(blocks[other], DictConfig):
        of_other = parameters(blocks[other].get("_target_"), filled=True)
        if of_other is not None and name in of_other:
            raise ConfigError(
                f"optimizer.{name} is for both blocks, and optimizer.{block} ({address}) does not "
                f"take it; +optimizer.{other}.{name} sets it for the other alone"
            )
    _refuse(f"optimizer.{name}", ("optimizer",), address, [*OPTIMIZER[:2], *taken], {})


def _refuse(key: str, path: Path, address: object, taken: Sequence[str], plain: Any) -> None:
    """Say that nothing reads a key, and the nearest that is, there or elsewhere."""
    there = [".".join((*path, name)) for name in dict.fromkeys(taken)]
    near = difflib.get_close_matches(key, there, 1, 0.8)
    listed = f"{'.'.join(path)} takes {', '.join(dict.fromkeys(taken)) or 'nothing'} ({address})"
    hint = f"did you mean {near[0]}?" if near else alike(key, flatten(plain), listed)
    raise ConfigError(f"{key} is a key that nothing reads; {hint}")


def _built(value: Any, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield every mapping that names a ``_target_``, and where it is."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield path, value
        items: Iterable[tuple[Any, Any]] = value.items()
    else:
        items = enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _built(inner, (*path, str(key)))


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    else:
        yield path


def _copy(config: DictConfig) -> DictConfig:
    """Return a copy of a job's part of a configuration that can be written to."""
    job = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.set_readonly(job, False)
    OmegaConf.set_struct(job, False)
    return job

"""Lets Hydra and OmegaConf work the same thing out once a process, not once a command.

What a yaml file holds follows from its text, what an interpolation is from its text, and what
several files make together from what they hold: a process of many tests meets each some hundred
times. What is handed out is a fresh copy, and what raised an error is done anew.
"""

import pickle
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import InputDefault
from omegaconf import OmegaConf, _utils, base, grammar_parser
from yaml import YAMLError  # type: ignore[import-untyped]

_load, _parse = OmegaConf.load, grammar_parser.parse
_merge = ConfigLoaderImpl._compose_config_from_defaults_list
_map = defaults_list._create_interpolation_map
_resolve = InputDefault._resolve_interpolation_impl
_merged: dict[bytes, bytes] = {}


@cache
def _held(text: str) -> bytes:
    return pickle.dumps(_load(StringIO(text)))


def load(file: Any) -> Any:
    """Return what a yaml file, a path or open, holds, as ``OmegaConf.load`` does."""
    if isinstance(file, str | Path):
        with open(file, encoding="utf-8") as opened:
            return load(opened)
    begin = file.tell()
    try:
        return pickle.loads(_held(file.read()))
    except (YAMLError, OSError):  # whose sentence names the file
        file.seek(begin)
        return _load(file)


def merge(self: ConfigLoaderImpl, defaults: Sequence[Any], repo: Any) -> Any:
    """Return the configuration of a list of files, each with its package, before any override."""
    held = [repo.load_config(config_path=default.config_path) for default in defaults]
    parts = [(vars(default), vars(file)) for default, file in zip(defaults, held, strict=True)]
    key = pickle.dumps(parts)
    if key not in _merged:
        _merged[key] = pickle.dumps(_merge(self, list(defaults), repo))
    return pickle.loads(_merged[key])


def later(overrides: Any, found: Sequence[Any], self_added: bool) -> Callable[[], Any]:
    """Return a maker of what defaults may refer to, which hardly ever one does."""
    known = SimpleNamespace(known_choices=dict(overrides.known_choices))
    return partial(_map, known, list(found), self_added)  # type: ignore[arg-type]


def resolve(self: InputDefault, known: Callable[[], Any], value: str | None) -> str:
    return _resolve(self, known(), value)


def install() -> None:
    """Have it so in this process, and in those that are forked from it."""
    OmegaConf.load = staticmethod(load)  # type: ignore[method-assign, assignment]
    base.parse = _utils.parse = lru_cache(5000)(_parse)  # type: ignore[attr-defined]
    ConfigLoaderImpl._compose_config_from_defaults_list = merge  # type: ignore[method-assign]
    defaults_list._create_interpolation_map = later  # type: ignore[assignment]
    InputDefault._resolve_interpolation_impl = resolve  # type: ignore[method-assign, assignment]
    # There is one store, and what is taken from it is a copy: no copy of all for each command.
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


def read(folder: Path) -> None:
    """Read every yaml file below a folder, for the processes that are forked from this one."""
    for path in sorted(folder.rglob("*.yaml")):
        load(path)

"""Reads the code of a user's own classes, so that a change of it is noticed, and imports it.

What torch, this project and Python bring is told by their versions. Comments, docstrings and
layout do not count.
"""

import ast
import dataclasses
import functools
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from types import CodeType, FunctionType
from typing import Any

from ifl.runs.identity import MOVED
from ifl.seeding import imported

NOT_OWN = {"torch", "torchvision", "numpy", "sklearn", "ifl", "builtins", *sys.stdlib_module_names}
NOT_OWN -= {"__main__"}  # a notebook's, or a script's


def own_code(*things: object) -> str:
    """Return the sha256 of the code of these objects' classes; empty if none is a user's own.

    A function, also one with some arguments set (a partial), counts itself. Classes that these
    derive from count, and the functions and classes that they name where these are of the same
    module.
    """
    found: dict[str, str] = {}
    waiting: list[Any] = [_coded(thing) for thing in things]
    while waiting:
        thing = waiting.pop()
        name = f"{thing.__module__}.{thing.__qualname__}"
        if name in found or str(thing.__module__).partition(".")[0] in NOT_OWN:
            continue
        parts = _functions(thing) if inspect.isclass(thing) else {"": thing}
        texts = {key: _text(function) for key, function in parts.items()}
        found[name] = repr([sorted(texts.items()), _constants(thing)])
        waiting += thing.__bases__ if inspect.isclass(thing) else ()
        around = getattr(sys.modules.get(thing.__module__), "__dict__", {})
        named = {word for function in parts.values() for word in _names(function.__code__)}
        for word in sorted(named & around.keys()):
            other = around[word]
            if inspect.isclass(other) or isinstance(other, FunctionType):
                waiting.append(other)
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest() if found else ""


def _coded(thing: object) -> object:
    """Return the function that a thing is or calls, or else its class."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    return thing if isinstance(thing, FunctionType | type) else type(thing)


def _functions(cls: type) -> dict[str, FunctionType]:
    """Return the functions that a class itself defines, by name."""
    found = {}
    for name, value in vars(cls).items():
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        inner = inspect.unwrap(inner) if callable(inner) else inner
        if isinstance(inner, FunctionType) and inner.__module__ == cls.__module__:
            found[name] = inner
    if dataclasses.is_dataclass(cls):  # what its decorator writes follows from the fields
        found = {k: f for k, f in found.items() if f.__code__.co_filename != "<string>"}
    return found


def _constants(thing: Any) -> list[tuple[str, object]]:
    """Return the plain values that a class holds."""
    plain = {k: v for k, v in vars(thing).items() if isinstance(v, bool | int | float | str)}
    return sorted((k, v) for k, v in plain.items() if not k.startswith("__"))


def _text(function: FunctionType) -> str:
    """Return a function's code without comments and docstrings; its bytecode if it has no text."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # typed in at a prompt, or a lambda within a line
        return _bytecode(function.__code__)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _bytecode(code: CodeType) -> str:
    inner = [_bytecode(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {inner}"


def _names(code: CodeType) -> set[str]:
    """Return the names that code, and code within it, looks up."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return {*code.co_names, *(name for each in inner for name in _names(each))}


def import_named(config: Any) -> None:
    """Import what a configuration names as a run does; what is not there, ``made`` says."""
    if isinstance(config, Mapping) and "_target_" in config:
        address = str(config["_target_"])
        with suppress(ImportError, AttributeError, ValueError):
            imported(MOVED.get(address, address))
    for inner in config.values() if isinstance(config, Mapping) else config:
        if isinstance(inner, Mapping | list):
            import_named(inner)

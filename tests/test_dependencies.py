"""Compares what ifl imports with what pyproject.toml declares."""

import ast
import re
import sys
from collections.abc import Iterator

import pytest
from conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

PACKAGES = {"PIL": "pillow", "fluke": "fluke-fl", "hydra": "hydra-core", "mlflow": "mlflow-skinny"}
PACKAGES |= {"grpc": "grpcio", "sklearn": "scikit-learn"}
PACKAGES |= {"yaml": "pyyaml"}
OURS = {"ifl", "hydra_plugins"}


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Yield third-party modules at the top of their names, and whether the module needs them.

    It does unless it imports them in a function or a try alone. What is for type checkers
    alone is left out.
    """

    def below(node: ast.AST, needed: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        needed = needed and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Try)
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names | OURS:
                yield top, needed
        for child in ast.iter_child_nodes(node):
            yield from below(child, needed)

    return below(ast.parse(source), True)


def declared() -> tuple[set[str], set[str]]:
    """Return the names of the dependencies, and of these with all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.compile(r"[\w.-]+")
    own = {named.findall(line)[0] for line in project["dependencies"]}
    extras = project["optional-dependencies"].values()
    return own, own | {named.findall(line)[0] for extra in extras for line in extra}


def test_what_is_imported_is_declared() -> None:
    own, all_ = declared()
    missing = {
        (str(path.relative_to(ROOT)), name)
        for folder in OURS
        for path in (ROOT / folder).rglob("*.py")
        for name, needed in imports(path.read_text())
        if PACKAGES.get(name, name) not in (own if needed else all_)
    }
    assert not missing


def test_dependencies_are_told_from_extras() -> None:
    own, all_ = declared()
    assert {"torch", "pillow", "joblib", "hydra-core"} <= own
    assert {"opacus", "flwr", "zstandard"} <= all_ - own


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os, torch.nn as nn", {("torch", True)}),
        ("from PIL import Image", {("PIL", True)}),
        ("from ifl.errors import ConfigError\nfrom . import x", set()),
        ("class A:\n    import numpy", {("numpy", True)}),
        ("def f():\n    from opacus.accountants import A", {("opacus", False)}),
        ("try:\n    import zstandard\nexcept ImportError:\n    pass", {("zstandard", False)}),
        ("if TYPE_CHECKING:\n    import pandas", set()),
    ],
)
def test_imports_are_found(source: str, found: set[tuple[str, bool]]) -> None:
    assert {*imports(source)} == found

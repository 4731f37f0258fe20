"""Imports point down only; what knows Hydra or loads torch is where it belongs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

LAYERS = [  # each may import what stands below it, and nothing beside it
    ["__main__"],
    ["trials"],
    ["cli"],
    ["vendors"],
    ["blocks"],
    ["analysis", "federation"],
    ["engines"],
    ["methods"],
    ["client", "comm", "loggers"],
    ["data", "models", "runs"],
    ["checks", "cores"],
    ["seeding", "errors"],
]
HYDRA = {"cli", "trials"}
SHELVES = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
SOURCES = sorted((ROOT / "ifl").rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "ifl").with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Return the dotted names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_from_its_room_and_from_below(path: Path) -> None:
    room = room_of(path)
    for name in imported(path):
        first, *rest = name.split(".")
        if first == "ifl" and room != "__init__" and rest:
            other = rest[0]
            below = SHELVES.get(other, len(LAYERS)) > SHELVES[room]
            assert other == room or below or other == "__version__", f"{room} imports {name}"
        if first in ("hydra", "omegaconf"):
            assert room in HYDRA, f"{room} imports {name}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "ifl" / "methods").glob("*.py")), ids=lambda path: path.stem
)
def test_no_method_imports_another(path: Path) -> None:
    shared = ("ifl.methods.base.", "ifl.methods.parts.")
    others = {n for n in imported(path) if n.startswith("ifl.methods.")}
    assert all(name.startswith(shared) for name in others)


LIGHT = ["ifl", "ifl.cli.run", "ifl.cli.plot", "hydra_plugins.ifl_grid"]
LIGHT += ["ifl.runs.folder", "ifl.runs.identity", "ifl.runs.lock", "ifl.runs.journal"]
LIGHT += ["ifl.cli.vendors.server", "ifl.cli.vendors.vendor", "ifl.cli.vendors.certificates"]
LIGHT += ["ifl.cli.vendors.flare", "ifl.engines.flare.keeper"]
LIGHT += ["ifl.engines.flare.site", "ifl.engines.flare.server"]  # in FLARE's own processes
LIGHT += ["ifl.cli.blocks.export", "ifl.cli.blocks.validate", "ifl.cli.blocks.compose"]
LIGHT += ["ifl.runs.provenance", "ifl.analysis.report.sections", "ifl.analysis.studies"]


def test_recognising_and_plotting_finished_runs_load_no_torch() -> None:
    program = "import sys\n" + "".join(
        f"import {module}\nif 'torch' in sys.modules: sys.exit({module!r})\n" for module in LIGHT
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_and_folders_are_small_enough_to_be_read() -> None:
    assert {str(p): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 250} == {}
    methods = ROOT / "ifl" / "methods"  # siblings of one kind: who reads one passes over the others
    for folder in {path.parent for path in SOURCES}:
        limit = 33 if folder == methods else 17  # 32 or 16 modules, and __init__
        assert len(list(folder.glob("*.py"))) <= limit, folder


def test_scripts_hold_commands_of_a_few_lines() -> None:
    for path in (ROOT / "scripts").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 9, path


def test_every_package_says_what_it_holds() -> None:
    for path in (ROOT / "ifl").rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_docstring_says_what_it_is_or_does_not_what_it_answers(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (said := ast.get_docstring(node)):
            assert said.split()[0] not in {"What", "How", "Who", "Whose", "Whether", "Which"}, said

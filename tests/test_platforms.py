"""The default run needs nothing that only Linux has."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import QUICK, only_run
from conftest import ROOT

LINUX = {"fcntl", "resource", "sched_getaffinity", "fork", "killpg", "SIGKILL", "SIGSTOP", "setsid"}
SOURCES = sorted(path for path in (ROOT / "ifl").rglob("*.py") if "trials" not in path.parts)

# What macOS and Windows lack is taken away before anything is imported.
ELSEWHERE = """
import os, sys
for name in ("sched_getaffinity", "sched_setaffinity", "fork", "forkpty"):
    delattr(os, name)
for name in ("fcntl", "resource"):
    sys.modules[name] = None
from ifl.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_that_a_run_needs_names_what_only_linux_has(path: Path) -> None:
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = {
        name
        for node in tree
        for name in (getattr(node, field, None) for field in ("id", "attr", "name", "module"))
        if isinstance(name, str)
    }
    assert not LINUX & names


def test_a_run_goes_through_without_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *QUICK, f"outputs={tmp_path}"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (only_run(tmp_path) / "checkpoint").is_dir()

"""The face of the package: what a notebook may call."""

import ast
import textwrap
from pathlib import Path

import pytest
from conftest import ROOT

import ifl


def test_every_public_name_is_loaded_and_documented() -> None:
    for name in ifl.__all__:
        assert getattr(ifl, name).__doc__, name
    assert {*ifl.__all__} <= {*dir(ifl)}


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "ifl" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {(node.module, alias.asname) for node in imports for alias in node.names}
    assert seen == {(module, name) for module, names in ifl._WHERE.items() for name in names}


def test_another_name_is_a_sentence() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Fedavg'; dir"):
        _ = ifl.Fedavg


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ifl.__doc__ is not None
    exec(textwrap.dedent(ifl.__doc__.split("::\n")[1]), {})
    accuracy, uplink = capsys.readouterr().out.split()
    assert 0 <= float(accuracy) <= 1
    assert int(uplink) > 4 * 2 * 16 * (4 * 16 + 1)  # rounds, clients, B, 4d + b; and headers
    assert (tmp_path / "my-run" / "rounds.csv").exists()

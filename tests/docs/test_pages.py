"""The front page and the docs name what exists: files, options, commands, names, output."""

import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from conftest import ROOT, composed, options
from omegaconf import OmegaConf
from written_runs import write_run

from ifl.cli.config import plain
from ifl.cli.console import Progress, summary
from ifl.federation.schedule import Schedule
from ifl.runs.folder import TABLES, Round
from ifl.runs.identity import fingerprint

README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
NAMED = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


# --- the front page


def test_the_front_page_stays_one() -> None:
    text = text_of("README.md")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 950


def test_the_front_page_has_the_two_commands() -> None:
    commands = ["pip install -e . && python scripts/run.py", 'pip install -e ".[test]" && pytest']
    assert {*commands} <= {*text_of("README.md").splitlines()}


def test_the_output_on_the_front_page_is_what_the_default_run_prints() -> None:
    up, down = 22_185_600, 88_582_400
    accuracy = 0.8913649, 0.9261838, 0.8797586, 3.2245834
    row = Round(100, up, down, *accuracy, 0.0030693, 4, 0, 11.928)
    screen = io.StringIO()
    Progress(100, screen)(row)
    config = plain(composed())
    totals = {"uplink_bytes": up, "uplink_bytes_per_client": up / 4, "downlink_bytes": down}
    names = ("accuracy_mean", "accuracy_local", "accuracy_cross", "accuracy_sd")
    outcome = {
        "config": config,
        "choices": {"method": "ifl"},
        "data": "Digits",
        "seed": 0,
        "result": dict(zip(names, accuracy, strict=True)),
        "totals": {**totals, "rounds": 100, "seconds": 11.928},
        "stop_reason": Schedule(rounds=100).reason(100, up, 11.928, 4),
        "folder": f"outputs/runs/digits-paper-ifl-seed0-{fingerprint(config)}",
    }
    assert outcome["folder"] == "outputs/runs/digits-paper-ifl-seed0-5f47e34f"
    assert screen.getvalue() + summary([outcome]) in text_of("README.md")


# --- links, paths and names


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", NAMED)
def test_every_relative_link_points_to_a_file_and_a_heading(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", text_of(page))
    for link in links:
        path, _, anchor = link.partition("#")
        there = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert there.is_file(), f"{page} links to {link}"
        if anchor:
            assert anchor in anchors(there), f"{page} links to {link}"


PATHS = re.compile(r"\b(?:ifl|conf|tests|scripts|docs|outputs/reference)/[\w./-]*\w\.(?:[a-z]+)\b")


@pytest.mark.parametrize("page", NAMED)
def test_every_path_that_is_named_exists(page: str) -> None:
    for path in PATHS.findall(text_of(page)):
        if "NAME" not in path:
            assert (ROOT / path).is_file(), f"{page} names {path}"


@pytest.mark.parametrize("page", NAMED)
def test_every_name_of_the_library_exists(page: str) -> None:
    for name in re.findall(r"`(ifl(?:\.\w+)+)", text_of(page)):
        assert resolve_name(name) is not None


def test_every_page_is_in_the_navigation() -> None:
    config: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "mkdocs.yml"))
    listed = [page for entry in config["nav"] for value in entry.values() for page in _flat(value)]
    generated = {"index.md", "contributing.md", "changelog.md"}  # by docs/hooks.py
    assert sorted(listed) == sorted({path.name for path in DOCS.glob("*.md")} | generated)


def _flat(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


# --- what can be chosen


GROUPS = [path.name for path in (ROOT / "conf").iterdir() if path.is_dir()]


@pytest.mark.parametrize("group", sorted({*GROUPS} - {"hydra", "experiment"}))
def test_every_option_is_described(group: str) -> None:
    described = text_of("docs/configuration.md")
    assert [option for option in options(group) if f"`{option}`" not in described] == []


def test_every_experiment_is_described() -> None:
    described = text_of("docs/studies.md")
    assert [name for name in options("experiment") if f"`{name}`" not in described] == []


def test_every_column_is_described() -> None:
    described = text_of("docs/run-folder.md")
    columns = [*(field.name for field in fields(Round)), *(c for t in TABLES.values() for c in t)]
    assert [column for column in columns if f"`{column}`" not in described] == []


def commands(page: str) -> Iterator[str]:
    """Yield the commands of a page that run something, each on one line."""
    for block in re.findall(r"```bash\n(.*?)```", text_of(page), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("python scripts/run.py"):
                yield line.partition(" #")[0]
    yield from re.findall(r"`(python scripts/run\.py [^`]+)`", text_of(page))


def first(override: str) -> str:
    """Return an override with the first of the values that it sweeps over."""
    key, _, values = override.partition("=")
    if sweep := re.search(r"(\w+)\(([^()]*)\)", values):  # of tag(log,interval(a,b)) the interval
        values = "0" if sweep[1] == "range" else sweep[2]
    return f"{key}={values.split(',')[0]}"


COMMANDS = sorted({" ".join(line.split()) for page in NAMED for line in commands(page)})


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_composes(line: str) -> None:
    words = [word for word in shlex.split(line)[2:] if word != "-m"]
    if words == ["--help"]:
        return
    assert composed(*map(first, words)).method


# --- the notebook


def test_the_code_for_notebooks_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train, load, configured, read = re.findall(
        r"```python\n(.*?)```", text_of("docs/library.md"), re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(train, names)
    uplink = 4 * 2 * (32 * 4 * 64 + 32 + 128)  # rounds, clients, z and y and a header
    assert re.search(rf"^0\.\d+ {uplink}$", capsys.readouterr().out, re.MULTILINE)
    assert (tmp_path / "outputs" / "notebook" / "rounds.csv").is_file()
    exec(load, names)
    measured, told = capsys.readouterr().out.split()
    assert measured == told
    exec(configured, {})
    assert "'up': " in capsys.readouterr().out
    write_run(tmp_path / "outputs" / "a")
    exec(read, {})
    assert capsys.readouterr().out == "ifl [0.6]\n"


def test_the_examples_of_extending_run_together(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", text_of("docs/extending.md"), re.DOTALL)
    assert len(examples) == 7
    exec("\n".join(examples), {"__name__": "extending"})
    assert capsys.readouterr().out == "True\n"


# --- the site


def test_the_site_builds_without_a_warning_and_has_every_method_and_codec(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for group in ("method", "codec"):
        for option in options(group):
            assert "Source code in" in (tmp_path / group / option / "index.html").read_text("utf-8")
    assert "<!--" not in (tmp_path / "results" / "index.html").read_text("utf-8")

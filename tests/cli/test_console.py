import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import QUICK, only_run
from conftest import ROOT

from ifl.cli.console import GridProgress, Progress, class_table, spell_out, summary
from ifl.runs.folder import Round, read_about

TESTED = Round(10, 5_000_000, 20_000_000, 0.7, 0.8, 0.6, 1.5, 0.4, 4, 0, 20.0)
PLAIN = Round(11, 5_500_000, 22_000_000, None, None, None, None, 0.3, 4, 0, 22.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def outcome(**more: object) -> dict[str, object]:
    return {
        "choices": {"method": "ifl"},
        "config": {"seed": 4, "local": {"tau": 10}},
        "data": "Digits",
        "seed": 4,
        "result": {
            "accuracy_mean": 0.7,
            "accuracy_local": 0.8,
            "accuracy_cross": None,
            "accuracy_sd": None,
        },
        "totals": {
            "uplink_bytes": 4_000_000,
            "uplink_bytes_per_client": 1_000_000.0,
            "downlink_bytes": 8_000_000,
            "rounds": 3,
            "seconds": 1.5,
        },
        "stop_reason": "rounds=3 done",
        "folder": "outputs/x",
        **more,
    }


def test_without_a_terminal_there_is_a_line_per_evaluation() -> None:
    stream = io.StringIO()
    progress = Progress(100, stream)
    progress(TESTED)
    progress(PLAIN)
    progress.close()
    assert stream.getvalue() == (
        "round 10/100  accuracy 70.0 % (local 80.0, cross 60.0)  up 5.00 MB down 20.00 MB  "
        "loss 0.400  3:00 left\n"
    )


def test_on_a_terminal_one_line_is_written_over() -> None:
    stream = Terminal()
    progress = Progress(100, stream)
    progress(TESTED)
    progress(PLAIN)
    progress.close()
    assert stream.getvalue().count("\r") == 2
    assert stream.getvalue().count("\n") == 1
    last = stream.getvalue().split("\r")[-1]
    assert "round 11/100  accuracy 70.0 %" in last
    assert last.count("#") == 2


FAILED = {"error": "no", "overrides": ["batch_size=900"]}


def test_a_grid_is_a_line_whenever_runs_end_and_found_ones_do_not_count_as_work() -> None:
    stream = io.StringIO()
    progress = GridProgress(6, found=1, stream=stream)
    found = outcome(choices={"method": "fsl"})
    progress([found], 2, 5.0)
    progress([found, FAILED], 2, 10.0)
    progress([found, FAILED, outcome()], 2, 60.0)
    progress([found, FAILED, outcome()], 1, 61.0)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "2/6 runs done (1 failed), 2 running",
        # a run and two halves in 60 s: 30 s for each of two halves and the one that waits
        "3/6 runs done (1 failed), 2 running, accuracy of the last: ifl 70.0 %, 1:00 left",
    ]


def test_a_grid_is_written_over_on_a_terminal() -> None:
    stream = Terminal()
    progress = GridProgress(2, stream=stream)
    progress([], 2, 1.0)
    progress([outcome()], 1, 8.0)
    progress([outcome(), outcome()], 0, 9.0)
    progress.close()
    assert stream.getvalue().count("\r") == 3
    assert stream.getvalue().endswith("2/2 runs done, accuracy of the last: ifl 70.0 %\n")


def test_a_run_that_has_not_said_why_it_failed_is_listed_even_alone() -> None:
    assert summary([{**FAILED, "said": False}]) == "Failed: batch_size=900: no\n"
    assert summary([{**FAILED, "said": True}]) == ""


def test_runs_of_a_grid_are_named_by_what_was_swept() -> None:
    swept = [
        outcome(config={"seed": seed, "local": {"tau": tau}}) for tau in (1, 5) for seed in (0, 1)
    ]
    rows = summary(swept).splitlines()[2:6]
    assert [row.partition("  Digits")[0] for row in rows] == [
        f"ifl, local.tau={tau}" for tau in (1, 1, 5, 5)
    ]


def test_the_class_table_has_a_row_per_client() -> None:
    lines = class_table(np.array([[3, 0], [1, 20]])).splitlines()
    assert lines[1].split() == ["class", "0", "1", "all"]
    assert lines[3].split() == ["client", "1", "1", "20", "21"]


def test_the_summary_has_a_row_per_run_failures_and_the_folder_last() -> None:
    failed = {"error": "batch_size must not ...", "overrides": ["batch_size=900"]}
    busy = {"busy": "outputs/y is already being executed by process 3 on there"}
    lines = summary([outcome(), failed, busy]).splitlines()
    assert lines[2].split() == [
        "ifl",
        "Digits",
        "4",
        "70.0",
        "80.0",
        "-",
        "-",
        "4.00",
        "1.00",
        "8.00",
        "3",
        "1.5",
    ]
    assert lines[3] == "Failed: batch_size=900: batch_size must not ..."
    assert lines[4] == "Skipped: outputs/y is already being executed by process 3 on there"
    assert lines[-1] == "Finished (rounds=3 reached): outputs/x"
    assert summary([failed]) == ""
    assert summary([busy]) == "Skipped: outputs/y is already being executed by process 3 on there\n"


def test_the_class_table_of_many_stays_readable() -> None:
    counts = np.arange(300 * 100).reshape(300, 100)
    lines = class_table(counts).splitlines()
    assert len(lines) == 2 + 10 + 1 + 10
    assert max(map(len, lines)) < 200
    assert lines[2].split()[:4] == ["client", "0", "0", "1"]
    assert lines[12].split() == ["..."] * 23
    assert lines[-1].split()[-2:] == [str(counts[299, 99]), str(counts[299].sum())]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_few_letters_gets_escapes(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, encoding=encoding, newline="\n"))
    spell_out()
    print("5 → 6", file=sys.stderr, flush=True)
    print("5 → 6", flush=True)
    assert raw.getvalue() == b"5 \\u2192 6\n" * 2


BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_every_letter_can_be_typed_where_the_terminal_knows_ascii(tmp_path: Path) -> None:
    own = {**os.environ, **BARE}

    def said(script: str, *typed: str) -> str:
        program = [sys.executable, str(ROOT / "scripts" / script), *typed]
        ended = subprocess.run(program, capture_output=True, env=own, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.isascii()
        return ended.stdout.decode()

    typed = ["++method.title=größer →", "launcher=local", *QUICK, "outputs=größe"]
    said("run.py", *typed)
    assert "Already finished" in said("run.py", *typed)
    folder = only_run(tmp_path)
    about = read_about(folder)
    assert about is not None
    assert about["method"]["title"] == "größer →"
    assert "größer" in about["command"]
    said("plot.py", "größe", "--report")
    assert "größer →" in (tmp_path / "größe" / "report" / "report.html").read_text("utf-8")
    (tmp_path / "own.yaml").write_text("defaults: [config, _self_]\nstudy: größe\n", "utf-8")
    failed = [
        sys.executable,
        str(ROOT / "scripts" / "run.py"),
        "-cd",
        ".",
        "-cn",
        "own",
        *QUICK,
    ]
    ended = subprocess.run(failed, capture_output=True, env=own, cwd=tmp_path)
    assert b"has letters that no file can be named with in this locale; set" in ended.stderr
    assert ended.stderr.count(b"\n") == 1

"""Kills a grid half-way and starts it again; runs one grid by two launchers at once.

Both against the same grid left in peace. Every run says "Training samples" as it begins, so
that runs which began twice are seen even where they left no trace.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ifl.runs.folder import read_about
from ifl.trials.faults.files import differences
from ifl.trials.faults.processes import PATIENCE, TINY, FaultError, command, temporary_folder

RUNS = 8
GRID = ["-m", "launcher=local", f"seed=range({RUNS})", *TINY, "rounds=30", "runtime.quiet=false"]
BEGUN = "Training samples"


def grids(say: Callable[[str], None]) -> bool:
    """Disturb the grid in both ways and say what came of it; return whether it survived.

    Raises:
        FaultError: a grid fails or hangs.
    """
    with temporary_folder() as folder:
        whole = folder / "whole"
        outlive(start(whole), whole)
        say(f"a grid of {RUNS} runs by launcher=local, left in peace: {len(done(whole))} finished")
        killed = kill_half_way(folder / "killed", whole, say)
        return two_at_once(folder / "both", whole, say) and killed


def kill_half_way(outputs: Path, whole: Path, say: Callable[[str], None]) -> bool:
    """Send SIGKILL to the process group when half of the runs are finished; start it again."""
    process = start(outputs)
    deadline = time.monotonic() + PATIENCE
    while len(done(outputs)) < RUNS // 2 and process.poll() is None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise FaultError(f"the grid ended before it was killed: {printed(outputs)[-2000:]}")
    before = stamps(outputs)
    begun = printed(outputs).count(BEGUN)
    outlive(start(outputs), outputs)
    said = printed(outputs)
    again = said.count(BEGUN)
    found = f"Already finished: {len(before)} of {RUNS} runs" in said
    untouched = before.items() <= stamps(outputs).items()
    say(
        f"killed with {len(before)} finished and {begun} begun, started again: {again} runs were "
        f"missing or unfinished, {len(done(outputs))} are finished"
    )
    survived = found and untouched and again == RUNS - len(before)
    return compared(outputs, whole, say) and survived


def two_at_once(outputs: Path, whole: Path, say: Callable[[str], None]) -> bool:
    """Start the grid twice at the same time in the same place."""
    outputs.mkdir()
    both = [start(outputs, f"{outputs}-{n}.log") for n in (1, 2)]
    for n, process in enumerate(both, 1):
        outlive(process, Path(f"{outputs}-{n}"), codes=(0, 1))  # 1: it lacks what it skipped
    said = "".join(Path(f"{outputs}-{n}.log").read_text("utf-8", "replace") for n in (1, 2))
    twice = [p for p in done(outputs) if "resumed" in (read_about(p) or {})]
    begun, alone = said.count(BEGUN), said.count("Skipped: ")
    say(
        f"two launchers at once: {begun} runs begun, {len(twice)} of them twice, {alone} times a "
        f"run was skipped, {len(done(outputs))} are finished"
    )
    return compared(outputs, whole, say) and begun == RUNS and not twice


def compared(outputs: Path, whole: Path, say: Callable[[str], None]) -> bool:
    """Compare the runs of a grid with those of the one left in peace."""
    folders = {path.name: path for path in (outputs / "runs").iterdir() if path.is_dir()}
    wanted = {path.name: path for path in done(whole)}
    found = [differences(path, folders.get(name, outputs)) for name, path in wanted.items()]
    different, lost = sum(f.bytes for f in found), sum(f.rows for f in found)
    say(f"  differing bytes {different}, lost rows {lost}")
    return not different and not lost and folders.keys() == wanted.keys()


def start(outputs: Path, output: str | None = None) -> "subprocess.Popen[bytes]":
    """Start the grid, in a process group of its own."""
    outputs.parent.mkdir(exist_ok=True)
    return command([*GRID, f"outputs={outputs}"], Path(output) if output else log(outputs))


def printed(outputs: Path) -> str:
    """Return the output of a grid."""
    return log(outputs).read_text("utf-8", "replace")


def log(outputs: Path) -> Path:
    """Return where the output of a grid goes."""
    return Path(f"{outputs}.log")


def outlive(
    process: "subprocess.Popen[bytes]", outputs: Path, codes: tuple[int, ...] = (0,)
) -> None:
    """Wait until the grid has ended as it should."""
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if code not in codes:
        raise FaultError(f"a grid ends with exit code {code}: {printed(outputs)[-2000:]}")


def done(outputs: Path) -> list[Path]:
    """Return the folders of finished runs."""
    paths = [path.parent for path in outputs.glob("runs/*/run.json")]
    return [path for path in paths if (read_about(path) or {}).get("finished")]


def stamps(outputs: Path) -> dict[str, int]:
    """Return when the last of the files of every finished run was written, in ns."""
    return {p.name: max(f.stat().st_mtime_ns for f in p.rglob("*")) for p in done(outputs)}

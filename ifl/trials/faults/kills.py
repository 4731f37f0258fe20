"""Kills runs (SIGKILL) at random instants, and repeats the command until each is finished.

A process that is killed is a fork of this one, which has torch loaded already, and runs the
command line's ``main`` from its first line on; every tenth is ``python -m ifl`` in an
interpreter of its own, which takes seconds to start. Half of the instants are uniform over the
time of a run, half are those at which a checkpoint is seen half written.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ifl.cli.config import CONF
from ifl.runs.checkpoint import FOLDER, newest
from ifl.trials.faults.files import Difference, differences
from ifl.trials.faults.methods import chosen, every_method
from ifl.trials.faults.processes import (
    PATIENCE,
    TINY,
    FaultError,
    Fork,
    Process,
    command,
    temporary_folder,
)

BY_COMMAND = 10  # one kill of so many is of a command in an interpreter of its own


@dataclass
class Tally:
    """Counts of a campaign; the last four have to be 0."""

    kills: int = 0
    commands: int = 0  # kills of a command in an interpreter of its own
    torn: int = 0  # kills that left a checkpoint half written
    resumes: int = 0  # starts that went on from a checkpoint
    runs: int = 0  # that were killed, went on and finished
    differing_bytes: int = 0
    lost_rows: int = 0
    lost_checkpoints: int = 0  # kills after which the newest whole one was older than before

    @property
    def survived(self) -> bool:
        """Return whether nothing was lost."""
        return not (self.differing_bytes or self.lost_rows or self.lost_checkpoints)

    def add(self, found: Difference) -> None:
        """Count a run that is finished."""
        self.runs += 1
        self.differing_bytes += found.bytes
        self.lost_rows += found.rows


def cases() -> list[list[str]]:
    """Return overrides among which is every method, codec and optimiser, and clients away."""

    def options(group: str, but: str = "") -> list[list[str]]:
        names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        return [[f"{group}={name}"] for name in names if name != but]

    away = ["participation.fraction=0.7", "participation.dropout=0.2"]
    others = [*options("codec", but="float32"), *options("optimizer", but="momentum")]
    mixed = [["method=fsl", "method.sync_base=true", *away], ["method=fl", *away]]
    return [*map(chosen, every_method()), *others, *mixed]


def campaign(kills: int, seed: int, say: Callable[[str], None]) -> Tally:
    """Kill runs of all cases so many times in all, and compare each with one never killed.

    Args:
        kills: dealt to the cases in turn.
        seed: of the streams of instants.
        say: is told what was done to each case.

    Raises:
        FaultError: a run fails or hangs.
    """
    tally, everything = Tally(), cases()
    with temporary_folder() as folder:
        for i, case in enumerate(everything):
            if share := len(range(i, kills, len(everything))):
                trial = Trial(case, folder / str(i), random.Random(f"{seed} {i}"), tally)
                before = tally.resumes
                trial.run(share)
                resumes = tally.resumes - before
                say(f"{' '.join(case)}: {share} kills of {trial.seconds:.1f} s, {resumes} resumes")
    return tally


class Trial:
    """A case: a run that is never killed, against runs that are."""

    def __init__(
        self, case: Sequence[str], folder: Path, instants: random.Random, tally: Tally
    ) -> None:
        self.typed, self.folder, self.instants, self.tally = [*TINY, *case], folder, instants, tally
        folder.mkdir()
        start = time.monotonic()
        self.outlive(self.start("whole"), "whole")
        self.seconds = time.monotonic() - start

    def run(self, kills: int) -> None:
        """Kill so often; a run that ends before its kill is compared and followed by another."""
        number = 0
        while kills:
            number += 1
            kills = self._one(f"run-{number}", kills)
            found = differences(self.found("whole"), self.found(f"run-{number}"))
            self.tally.add(found)

    def _one(self, name: str, kills: int) -> int:
        """Start the command until its run is finished; return how many kills are left."""
        reached, seen = 0, set[tuple[str, int]]()
        while kills:
            by_command = self.tally.kills % BY_COMMAND == BY_COMMAND - 1
            process = self.start(name, by_command)
            aim = self._torn if by_command or self.instants.random() < 0.5 else self._instant
            aim(process, name)
            process.kill()
            code = process.wait()
            self.tally.resumes += "Resuming from round" in self.said(name)
            if code == 0:
                return kills
            if code != -signal.SIGKILL:
                raise FaultError(f"{' '.join(self.typed)} ended itself: {self.said(name)}")
            kills, self.tally.kills = kills - 1, self.tally.kills + 1
            self.tally.commands += by_command
            torn = set(self.partial(name))
            self.tally.torn += bool(torn - seen)
            seen |= torn
            kept = newest(found) if (found := self.found(name)).exists() else None
            number = kept.round if kept else 0
            self.tally.lost_checkpoints += number < reached
            reached = number
        self.outlive(self.start(name), name)
        self.tally.resumes += "Resuming from round" in self.said(name)
        return 0

    def start(self, name: str, by_command: bool = False) -> Process:
        """Start the command of a run."""
        typed, log = [*self.typed, f"outputs={self.folder / name}"], self.folder / f"{name}.log"
        return command(typed, log) if by_command else Fork(typed, log)

    def said(self, name: str) -> str:
        """Return what the run's last process said."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")

    def outlive(self, process: Process, name: str) -> None:
        """Wait until the run is finished."""
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        if process.wait() != 0:
            raise FaultError(f"{' '.join(self.typed)} does not finish: {self.said(name)}")

    def found(self, name: str) -> Path:
        """Return the folder of a run, or one that is not there."""
        return next((self.folder / name / "runs").glob("digits-*"), self.folder / "none")

    def partial(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield name and inode of every checkpoint that is half written."""
        try:
            with os.scandir(self.found(name) / FOLDER) as entries:
                yield from ((e.name, e.inode()) for e in entries if e.name.endswith(".partial"))
        except FileNotFoundError:
            return

    def _instant(self, process: Process, name: str) -> None:
        """Return at an instant of the time that a run takes."""
        until = time.monotonic() + self.instants.uniform(0, self.seconds)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.0005)

    def _torn(self, process: Process, name: str) -> None:
        """Return while a checkpoint is being written, one of the next dozen."""
        left, deadline = self.instants.randint(1, 12), time.monotonic() + PATIENCE
        seen = set(self.partial(name))
        while left and process.poll() is None and time.monotonic() < deadline:
            new = set(self.partial(name)) - seen
            seen |= new
            left -= len(new)

"""Prints progress while a run or a sweep goes on, and a table at the end."""

import io
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ifl.analysis.naming import Described, names_of
from ifl.runs.folder import BYTES_PER_MB, Round
from ifl.runs.identity import fingerprint, relevant

if TYPE_CHECKING:
    import numpy as np

MANY = 20  # clients or classes in the table of samples


CLOSING: list[str] = []  # what a command says below its table


def spell_out() -> None:
    """Let this process write escapes for letters that its terminal or log cannot take."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


class Progress:
    """Shows rounds as they come: a bar on a terminal, a line per evaluation elsewhere.

    Args:
        rounds: how many there will be at the most; None if not known.
        stream: where to write; standard output if none is given.
    """

    def __init__(self, rounds: int | None, stream: TextIO | None = None) -> None:
        self.rounds = rounds
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.accuracy = "accuracy: not yet tested"

    def __call__(self, row: Round) -> None:
        """Show one row of rounds.csv."""
        if row.accuracy_mean is not None:
            self.accuracy = f"accuracy {_percent(row.accuracy_mean)} %"
            if row.accuracy_cross is not None:
                local, cross = _percent(row.accuracy_local), _percent(row.accuracy_cross)
                self.accuracy += f" (local {local}, cross {cross})"
        done = f"{row.round}/{self.rounds}" if self.rounds else str(row.round)
        text = (
            f"round {done}  {self.accuracy}  up {row.uplink_bytes / BYTES_PER_MB:.2f} MB "
            f"down {row.downlink_bytes / BYTES_PER_MB:.2f} MB  loss {_or_dash(row.train_loss, 3)}"
        )
        if self.rounds:
            left = row.seconds / row.round * (self.rounds - row.round)
            text += f"  {_clock(left)} left"
        if self.live:
            filled = 20 * row.round // self.rounds if self.rounds else 0
            bar = "#" * filled + "." * (20 - filled) if self.rounds else ""
            self.stream.write(f"\r\x1b[2K{bar} {text}")
        elif row.accuracy_mean is not None:
            self.stream.write(text + "\n")
        self.stream.flush()

    def close(self) -> None:
        """End the line of the bar."""
        if self.live:
            self.stream.write("\n")


class GridProgress:
    """Shows a sweep on one line: written over on a terminal, a line whenever runs end elsewhere.

    Args:
        total: how many runs there are.
        found: how many of them were finished before.
        live: whether to write over the line; None for what the stream can do.
        stream: where to write; standard output if none is given.
    """

    def __init__(
        self, total: int, found: int = 0, live: bool | None = None, stream: TextIO | None = None
    ) -> None:
        self.total, self.found, self.shown = total, found, found
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty() if live is None else live

    def __call__(self, outcomes: Sequence[Mapping[str, Any]], running: int, seconds: float) -> None:
        """Show where the grid is.

        Args:
            outcomes: those found first, then the others in the order in which they ended.
            running: how many runs are going on.
            seconds: since the sweep began.
        """
        text = f"{len(outcomes)}/{self.total} runs done"
        if failed := sum("error" in outcome for outcome in outcomes):
            text += f" ({failed} failed)"
        if running:
            text += f", {running} running"
        if tested := [o for o in outcomes[self.found :] if "result" in o]:
            accuracy = _percent(tested[-1]["result"]["accuracy_mean"])
            text += f", accuracy of the last: {tested[-1]['choices']['method']} {accuracy} %"
        left = self.total - len(outcomes)
        if left and tested:
            half = running / 2  # those that are going on are taken to be half done
            text += f", {_clock(seconds / (len(tested) + half) * (left - half))} left"
        if self.live:
            self.stream.write(f"\r\x1b[2K{text}")
        elif len(outcomes) > self.shown:
            self.stream.write(text + "\n")
        self.shown = len(outcomes)
        self.stream.flush()

    def close(self) -> None:
        """End the line."""
        if self.live:
            self.stream.write("\n")


def class_table(counts: "np.ndarray") -> str:
    """Return how many samples of each class each client holds, (clients, classes), as text.

    Of many clients or classes, the first and the last: partition.csv has all.
    """
    clients, classes = (_shortened(range(size)) for size in counts.shape)
    rows = [["class", *("..." if c is None else str(c) for c in classes), "all"]]
    for k in clients:
        if k is None:
            rows.append(["..."] * len(rows[0]))
        else:
            cells = ["..." if c is None else str(counts[k, c]) for c in classes]
            rows.append([f"client {k}", *cells, str(counts[k].sum())])
    return "Training samples:\n" + _aligned(rows)


def _shortened(places: range) -> list[int | None]:
    """Return these places, of many only the first and the last with None between them."""
    if len(places) <= MANY:
        return [*places]
    return [*places[: MANY // 2], None, *places[-(MANY // 2) :]]


def summary(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of finished runs, failed and busy ones with reasons, the folders last.

    A single failed run has said its reason already.
    """
    done = [o for o in outcomes if not {"error", "busy"} & o.keys()]
    failed = [o for o in outcomes if "error" in o]
    lines = []
    if done:
        lines.append("")
        head = ["method", "data", "seed", "mean %", "local %", "cross %", "SD (points)"]
        names = _names(done)
        rows = [[*head, "up MB", "up MB/client", "down MB", "rounds", "seconds"]]
        for outcome in done:
            result, totals = outcome["result"], outcome["totals"]
            rows.append(
                [
                    names[fingerprint(outcome["config"], "seed")],
                    outcome["data"],
                    str(outcome["seed"]),
                    *(_percent(result[f"accuracy_{name}"]) for name in ("mean", "local", "cross")),
                    _or_dash(result["accuracy_sd"]),
                    f"{totals['uplink_bytes'] / BYTES_PER_MB:.2f}",
                    f"{totals['uplink_bytes_per_client'] / BYTES_PER_MB:.2f}",
                    f"{totals['downlink_bytes'] / BYTES_PER_MB:.2f}",
                    str(totals["rounds"]),
                    f"{totals['seconds']:.1f}",
                ]
            )
        lines.append(_aligned(rows))
    lines += [
        f"Failed: {' '.join(o['overrides'])}: {o['error']}"
        for o in failed
        if len(outcomes) > 1 or not o.get("said", True)
    ]
    lines += [f"Skipped: {o['busy']}" for o in outcomes if "busy" in o]
    sampled = [o for o in done if "standard_error" in o["result"]]
    lines += [f"Sampled: {_sampled(o['result'])}: {o['folder']}" for o in sampled]
    lines += [f"{o['privacy']['said']}: {o['folder']}" for o in done if "privacy" in o]
    lines += [f"Finished ({_reached(o['stop_reason'])}): {o['folder']}" for o in done]
    return "".join(f"{line}\n" for line in lines)


def _sampled(result: Mapping[str, Any]) -> str:
    """Return which compositions a sampled accuracy rests on, and how sure it is."""
    told = f"{result['compositions']} of {result['compositions_in_all']} compositions"
    if (error := result["standard_error"]) is not None:
        told += f", mean {_percent(result['accuracy_mean'])} %, standard error {100 * error:.1f}"
    return told


def _reached(reason: str) -> str:
    """Return why a run stopped as a reader would say it."""
    return f"{reason.removesuffix(' done')} reached" if reason.endswith(" done") else reason


def _names(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what to call each configuration but for the seed, by its fingerprint."""
    described = {
        fingerprint(o["config"], "seed"): Described(o["choices"], relevant(o["config"], "seed"))
        for o in outcomes
    }
    return dict(zip(described, names_of([*described.values()]), strict=True))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def _or_dash(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"

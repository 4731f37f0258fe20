"""Finds what a run starts from: its checkpoint, a shorter run that is finished, or nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifl.federation.engine import Engine
from ifl.federation.identity import changed, check_identity
from ifl.federation.schedule import Schedule
from ifl.runs import checkpoint
from ifl.runs.checkpoint import Checkpoint
from ifl.runs.comparison import ENDS, check_folder, difference
from ifl.runs.folder import Round, RunFolder, read_about, read_rounds


@dataclass(frozen=True)
class Start:
    """Where a run starts; by default at its first round.

    Args:
        round: the last that is trained.
        seconds: spent until then.
        final: what run.json is to hold, if the run was killed after its last round.
        row, reason: the last row and why it is the end, if nothing is left to train.
        continues: the folder and the round of another run that this one goes on from.
        said: in a sentence; None for a run that begins.
    """

    round: int = 0
    seconds: float = 0.0
    final: dict[str, Any] | None = None
    row: Round | None = None
    reason: str | None = None
    continues: dict[str, Any] | None = None
    said: str | None = None


def take_up(
    engine: Engine,
    folder: RunFolder,
    schedule: Schedule,
    mine: Mapping[str, Any],
    after: Sequence[Path] = (),
) -> Start:
    """Set engine and tables to the last checkpoint, to a finished shorter run, or to the start.

    Args:
        mine: ``ifl.federation.identity.identity`` of what is to be run.
        after: folders of finished runs that may be its beginning, the best first.

    Raises:
        ConfigError: the folder holds another run.
    """
    path, about = folder.path, read_about(folder.path) or {}
    last = checkpoint.newest(path)
    if last is not None and folder.holds(last.state["tables"]):
        kept = _identity(last) or {key: about[key] for key in ("config",) if key in about}
        if _differ_in_ends(kept, mine) and changed(kept, mine) is None:
            start = _beginning(path, last, engine, folder, schedule)
            if isinstance(start, Start):
                return start
        check_identity(kept, mine, f"the checkpoint in {path}")
        if last.state["engine"] is not None:  # a finished run may keep its networks alone
            engine.load_state(last.state["engine"], last.parts, last.folder)
        folder.rewind(last.state["tables"])
        final = last.state.get("final")
        said = f"Resuming from round {last.round}: {path}"
        return Start(last.round, last.state["seconds"], final, said=said)
    check_folder(path, mine["config"])
    remark = f"Starting again, no checkpoint to resume from: {path}" if about else None
    for source in after:
        last = checkpoint.newest(source)
        if last is None or not _differ_in_ends(_identity(last), mine):
            continue
        if changed(_identity(last), mine) is None:
            start = _beginning(source, last, engine, folder, schedule)
            if isinstance(start, Start):
                return start
            remark = remark or start
    folder.rewind()
    return Start(said=remark)


def _identity(last: Checkpoint) -> dict[str, Any]:
    """Return what a checkpoint says of its run; nothing if it is of before it did."""
    kept: dict[str, Any] = json.loads(last.state.get("identity", "{}"))
    return kept


def _differ_in_ends(kept: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Return whether two runs are trained alike, but tested at other rounds or ended elsewhere."""
    there, here = kept.get("config"), mine["config"]
    if there is None or difference(there, here) is None:
        return False
    return difference(there, here, *ENDS) is None


def _beginning(
    source: Path, last: Checkpoint, engine: Engine, folder: RunFolder, schedule: Schedule
) -> Start | str:
    """Take up another run's rounds if they are those of this one; else say why they are not."""
    rows = [row for row in read_rounds(source) if row.round <= last.round]
    wrong, reason = _held_against(rows, schedule, len(engine.clients))
    if not wrong and [row.round for row in rows] != [*range(1, last.round + 1)]:
        wrong = "its rounds.csv is not whole"
    if not wrong and last.state["engine"] is None:
        wrong = "it keeps its networks alone (keep_state=true keeps all that training needs)"
    if wrong:
        return f"Not continued from {source}: {wrong}; training starts at round 1"
    engine.load_state(last.state["engine"], last.parts, last.folder)
    ended = last.round if reason else 0
    folder.take_over(
        source,
        last.state["tables"],
        lambda number: schedule.tests(number) or number == ended,
    )
    beginning = {"folder": str(source), "round": last.round}
    verb = "Taken from" if reason else "Continuing from"
    return Start(
        last.round,
        last.state["seconds"],
        row=rows[-1] if reason else None,
        reason=reason,
        continues=None if source == folder.path else beginning,
        said=f"{verb} round {last.round} of {source}: {folder.path}",
    )


def _held_against(
    rows: Sequence[Round], schedule: Schedule, clients: int
) -> tuple[str | None, str | None]:
    """Return why these rounds are not the first of a run, or else why it ends with them, if so."""
    tested: list[float] = []
    for row in rows:
        why = schedule.reason(row.round, row.uplink_bytes, row.seconds, clients)
        if why or schedule.tests(row.round):
            if row.accuracy_mean is None:
                return f"round {row.round} was not tested there", None
            tested.append(row.accuracy_mean)
            why = why or schedule.enough(tested)
        if why and row is not rows[-1]:
            return f"round {row.round} is the last one here ({why}), and not there", None
    return None, why if rows else None

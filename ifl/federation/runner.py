"""Runs the only round loop: evaluation, records, checkpoints."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ifl.client.privatise import told
from ifl.comm.channel import DOWNLINK, MULTICAST, UPLINK
from ifl.engines.outcome import Conducted, Outcome
from ifl.engines.residence import clear
from ifl.errors import DivergenceError, MessageError, Terminated
from ifl.federation.budget import check_budget
from ifl.federation.build import Federation
from ifl.federation.class_counts import Pair, class_rows, metrics
from ifl.federation.engine import Engine
from ifl.federation.evaluation import Compositions, summary
from ifl.federation.identity import identity, settings
from ifl.federation.predictions import write_predictions
from ifl.federation.resumption import take_up
from ifl.federation.schedule import SMALL, Schedule
from ifl.federation.trained import blocks_state
from ifl.loggers.base import SILENT, Logger
from ifl.loggers.recorder import Recorder
from ifl.runs import checkpoint
from ifl.runs.checkpoint import State
from ifl.runs.folder import Round, RunFolder, read_rounds
from ifl.runs.provenance import now, provenance, times
from ifl.runs.wholeness import digests


def run(
    federation: Federation,
    folder: RunFolder,
    about: Mapping[str, Any],
    schedule: Schedule,
    watch: Callable[[Round], None] = lambda row: None,
    begin: Callable[[int], None] = lambda number: None,
    say: Callable[[str], None] = lambda sentence: None,
    after: Sequence[Path] = (),
    stop: Callable[[], str | None] = lambda: None,
    logger: Logger = SILENT,
) -> dict[str, Any]:
    """Train until the schedule ends, writing every round into the folder.

    Resumes from the folder's checkpoint, if there is one, and then ends as if it had never
    been away, bit for bit but for the seconds. A finished run that differs in nothing but its
    end is continued likewise: that of the folder, or the first of ``after`` that can be.

    Args:
        about: what run.json says besides the run's own facts. Its "config", if it has one, is
            all that the run is made of; without, that is read off the federation.
        watch: called with every row as it is written; over processes, that may be one round later.
        begin: called once with the number of the round it goes on from, or 0.
        say: told in a sentence what the run resumes or continues, if it does.
        after: folders of finished runs that may be the beginning of this one.
        stop: asked after every round but the last for a reason to end now, with a checkpoint if
            the schedule has any.
        logger: told of every evaluation; it may fail, and the run goes on.

    Returns:
        What run.json holds at the end.

    Raises:
        ConfigError: the schedule's budget in bytes is below what one round sends, the folder
            holds another run, or the logger lacks a method.
        DivergenceError: a loss is not finite; rows written so far stay and run.json says so.
        MessageError: an upload is refused, likewise, unless the engine skips those.
        PartyError: a party failed or is lost.
        Terminated: ``stop`` gave this reason.
    """
    engine = federation.engine
    clients, ledger = engine.clients, engine.channel.ledger
    check_budget(schedule, engine)
    log = Recorder(logger, folder)
    clear(folder.path)
    if engine.residence:
        engine.residence.move_to(folder.path)
        folder.closing.callback(engine.residence.close)
    test_x = federation.data.test.inputs().to(engine.training.device)
    test_y = federation.data.test.y.to(test_x.device)
    about = {"config": settings(federation, schedule), **about}
    mine = identity(federation, about["config"])
    taken = take_up(engine, folder, schedule, mine, after)
    number, reason, row = taken.round, taken.reason, taken.row
    if taken.said:
        say(taken.said)
    if taken.final:  # killed after its last round
        begin(number)
        folder.describe(taken.final)
        log.begin(taken.final, number)
        log.end(taken.final)
        return taken.final
    about = {**about, "data_digest": mine["data"], **provenance(engine.training.device)}
    about |= times(folder.path, taken.continues)
    folder.describe({**about, "finished": False})
    table = federation.class_table()
    folder.write_partition(table)
    begin(number)
    log.begin(about, number)
    if reason is None:
        engine.parties.greet()  # processes take seconds to start
    start = time.monotonic() - taken.seconds
    result: Compositions | None = None
    tested = [r.accuracy_mean for r in read_rounds(folder.path) if r.accuracy_mean is not None]
    waiting: list[_Waiting] = []  # the last round, if its losses come with the next one's uploads

    def write(its: _Waiting) -> Round:
        row = its.row(its.done.outcome)
        folder.write_round(row, its.result.accuracy if its.result else {}, its.traffic, its.metrics)
        log.log(row)
        return row

    def catch_up() -> None:
        while waiting and waiting[0].done.settled:
            watch(write(waiting.pop()))

    while reason is None:
        number += 1
        try:
            done = engine.advance(number)
            catch_up()
            uplink, result = ledger.totals[UPLINK], None
            reason = schedule.reason(number, uplink, time.monotonic() - start, len(clients))
            if schedule.only_bytes and not any(engine.server.expects(c.number) for c in clients):
                reason = reason or "nothing more is to be sent: stop.uplink_mb is out of reach"
            if reason or schedule.tests(number):
                result = engine.evaluate(test_x, test_y, number)
                tested.append(result.mean)
                reason = reason or schedule.enough(tested)
            end = None if reason else stop()
            if end or schedule.keeps(number):
                engine.settle()
        except (DivergenceError, MessageError) as error:
            catch_up()
            what = "diverged" if isinstance(error, DivergenceError) else "bad upload"
            folder.describe({**about, "finished": False, "stop_reason": f"{what}: {error}"})
            raise
        spent, downlink = time.monotonic() - start, ledger.totals[DOWNLINK]
        measured = metrics(result.counts, table) if result else {}
        its = partial(row_of, number, uplink, downlink, result, spent)
        this = _Waiting(done, its, result, ledger.close_round(), measured)
        if not done.settled:
            waiting.append(this)
            continue
        row = write(this)
        if end and schedule.checkpoint_every:  # before watch: the terminal may be gone
            _keep(engine, folder, row, mine)
        watch(row)
        if end:
            raise Terminated(end)
        if not reason and schedule.keeps(number):
            _keep(engine, folder, row, mine)
    assert row is not None
    last = result or engine.evaluate(test_x, test_y, number)  # the end may be another run's
    folder.write_classes(class_rows(last.counts))
    if schedule.keep_predictions:
        with folder.writing():
            write_predictions(folder.path, engine.guesses(test_x, test_y, number), test_y)
    engine.refresh()
    final = {
        **about,
        "ended": now(),
        "finished": True,
        "stop_reason": reason,
        "totals": {
            "rounds": number,
            "uplink_bytes": row.uplink_bytes,
            "downlink_bytes": row.downlink_bytes,
            "downlink_bytes_multicast": ledger.totals[MULTICAST],
            "uplink_bytes_per_client": row.uplink_bytes / len(clients),
            "downlink_bytes_per_client": row.downlink_bytes / len(clients),
            "seconds": row.seconds,
        },
        "result": {
            name: getattr(row, name)
            for name in ("accuracy_mean", "accuracy_local", "accuracy_cross", "accuracy_sd")
        }
        | summary(last, table),
        "tables": digests(folder.path),
        **told(federation.disclosure, engine.trained()),
        **engine.parties.told(),
    }
    if schedule.checkpoint_every:
        with engine.looking():
            blocks = blocks_state(federation, last)
            _keep(engine, folder, row, mine, final, blocks, schedule.keep_state)
    folder.describe(final)
    log.end(final)
    return final


def _keep(
    engine: Engine,
    folder: RunFolder,
    row: Round,
    mine: Mapping[str, Any],
    final: dict[str, Any] | None = None,
    blocks: State | None = None,
    keep_state: bool | None = True,
) -> None:
    """Write a checkpoint; at the end, with what run.json is to hold and the trained blocks."""
    state: State | None = engine.state(inline=False)
    home = engine.residence
    parts = home.parts() if home else {}
    size = checkpoint.size_of(state) + sum(part.size for part in parts.values())
    if keep_state is False or (keep_state is None and size > SMALL):
        state, parts = None, {}
    with folder.writing():
        kept: dict[str, Any] = {"engine": state, "tables": folder.sync(), "seconds": row.seconds}
        kept |= {"identity": json.dumps(mine), "final": final, "blocks": blocks}
        checkpoint.write(folder.path, row.round, kept, 1, parts, home.files if home else {})


@dataclass(frozen=True)
class _Waiting:
    """A round whose row is to be written: all of it but its losses, until it is settled."""

    done: Conducted
    row: Callable[[Outcome], Round]
    result: Compositions | None
    traffic: list[tuple[str, int, str, int]]
    metrics: Mapping[Pair, tuple[float, float, float | None]]


def row_of(
    number: int, up: int, down: int, result: Compositions | None, spent: float, outcome: Outcome
) -> Round:
    """Return the row of a round; ``up`` and ``down`` are totals, ``spent`` seconds."""
    return Round(
        round=number,
        uplink_bytes=up,
        downlink_bytes=down,
        accuracy_mean=result.mean if result else None,
        accuracy_local=result.local if result else None,
        accuracy_cross=result.cross if result else None,
        accuracy_sd=result.sd if result else None,
        seconds=round(spent, 3),
        **outcome._asdict(),
    )

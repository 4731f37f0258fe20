"""Runs the only round loop: evaluation, records, checkpoints."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ifl.client.privatise import told
from ifl.comm.channel import DOWNLINK, MULTICAST, UPLINK
from ifl.errors import DivergenceError, MessageError
from ifl.federation.budget import check_budget
from ifl.federation.build import Federation
from ifl.federation.engine import Engine, Outcome
from ifl.federation.evaluation import Compositions
from ifl.federation.schedule import Schedule
from ifl.runs import checkpoint
from ifl.runs.folder import Round, RunFolder
from ifl.runs.provenance import now, provenance, times


def run(
    federation: Federation,
    folder: RunFolder,
    about: Mapping[str, Any],
    schedule: Schedule,
    watch: Callable[[Round], None] = lambda row: None,
    begin: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Train until the schedule ends, writing every round into the folder.

    Goes on from the folder's checkpoint, if there is one, and then ends as if it had never
    been away, bit for bit but for the seconds.

    Args:
        about: what run.json says besides the run's own facts.
        watch: called with every row as it is written.
        begin: called once with the number of the round it goes on from, or 0.

    Returns:
        What run.json holds at the end.

    Raises:
        ConfigError: the schedule's budget in bytes is below what one round sends.
        DivergenceError: a loss is not finite; rows written so far stay and run.json says so.
        MessageError: an upload is refused, likewise, unless the engine skips those.
    """
    engine = federation.engine
    clients, ledger = engine.clients, engine.channel.ledger
    check_budget(schedule, engine)
    test_x = federation.data.test.inputs().to(engine.training.device)
    test_y = federation.data.test.y.to(test_x.device)
    number, before, final = _take_up(engine, folder)
    if final:  # killed after its last round
        begin(number)
        folder.describe(final)
        return final
    about = {**about, **provenance(engine.training.device), **times(folder.path)}
    folder.describe({**about, "finished": False})
    folder.write_partition(federation.class_table())
    begin(number)
    start, reason, row = time.monotonic() - before, None, None
    while reason is None:
        number += 1
        try:
            outcome = engine.round(number)
        except (DivergenceError, MessageError) as error:
            what = "diverged" if isinstance(error, DivergenceError) else "bad upload"
            folder.describe({**about, "finished": False, "stop_reason": f"{what}: {error}"})
            raise
        uplink, downlink, result = ledger.totals[UPLINK], ledger.totals[DOWNLINK], None
        reason = schedule.reason(number, uplink, time.monotonic() - start, len(clients))
        if schedule.only_bytes and not any(engine.server.expects(c.number) for c in clients):
            reason = reason or "nothing more is to be sent: stop.uplink_mb is out of reach"
        if reason or number % schedule.eval_every == 0:
            result = engine.evaluate(test_x, test_y)
            if schedule.accuracy is not None and result.mean >= schedule.accuracy:
                reason = reason or f"stop.accuracy={schedule.accuracy} reached"
        row = _row(number, uplink, downlink, result, outcome, time.monotonic() - start)
        folder.write_round(row, result.accuracy if result else {}, ledger.close_round())
        watch(row)
        if schedule.checkpoint_every and not reason and number % schedule.checkpoint_every == 0:
            _keep(engine, folder, row)
    assert row is not None
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
        },
        **told(federation.disclosure, clients),
    }
    if schedule.checkpoint_every:
        _keep(engine, folder, row, final)  # the trained networks
    folder.describe(final)
    return final


def _keep(
    engine: Engine, folder: RunFolder, row: Round, final: dict[str, Any] | None = None
) -> None:
    state = engine.state()
    with folder.writing():
        kept = {"engine": state, "tables": folder.sync(), "seconds": row.seconds}
        checkpoint.write(folder.path, row.round, {**kept, "final": final})


def _take_up(engine: Engine, folder: RunFolder) -> tuple[int, float, dict[str, Any] | None]:
    """Set engine and tables to the last checkpoint or the start.

    Returns:
        Its round, the seconds until then and, after the last round, what run.json is to hold.
    """
    last = checkpoint.newest(folder.path)
    if last is None or not folder.holds(last.state["tables"]):
        folder.rewind()
        return 0, 0.0, None
    engine.load_state(last.state["engine"])
    folder.rewind(last.state["tables"])
    return last.round, last.state["seconds"], last.state.get("final")


def _row(
    number: int, up: int, down: int, result: Compositions | None, outcome: Outcome, spent: float
) -> Round:
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

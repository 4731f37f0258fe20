"""The only round loop: schedule, evaluation, records, checkpoints."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ifl import checkpoint
from ifl.channel import DOWNLINK, UPLINK
from ifl.checks import above, whole
from ifl.engine import Engine
from ifl.errors import ConfigError, DivergenceError
from ifl.evaluate import Compositions
from ifl.federation import Federation
from ifl.provenance import now, provenance, times
from ifl.results import Round, RunFolder

MB = 10**6  # bytes


@dataclass(frozen=True)
class Schedule:
    """When a run is evaluated, kept and ended: after ``rounds``, or with a limit met before.

    A limit in bytes is met once the bytes sent reach it, so it is overshot by no more than
    the last round.

    Args:
        rounds: at the most; None for no limit.
        eval_every: rounds between evaluations; the last round is always evaluated.
        uplink_mb: MB (10^6 bytes) sent by all clients, or per client on average.
        per_client: whether ``uplink_mb`` is per client.
        accuracy: mean over all compositions, a fraction, at an evaluation.
        seconds: of training and evaluation.
        checkpoint_every: rounds between checkpoints; None for none.

    Raises:
        ConfigError: a value is out of range, or there is no limit.
    """

    rounds: int | None
    eval_every: int = 1
    uplink_mb: float | None = None
    per_client: bool = False
    accuracy: float | None = None
    seconds: float | None = None
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        whole("eval_every", self.eval_every, 1)
        if self.checkpoint_every is not None:
            whole("checkpoint_every", self.checkpoint_every, 1)
        limits = (self.rounds, self.uplink_mb, self.accuracy, self.seconds)
        if all(limit is None for limit in limits):
            raise ConfigError("rounds=null needs another end: set stop.uplink_mb, or stop.seconds")
        if self.rounds is not None:
            whole("rounds", self.rounds, 1)
        for name, value in (("stop.uplink_mb", self.uplink_mb), ("stop.seconds", self.seconds)):
            if value is not None:
                above(name, value, 0, "; null means no such limit")
        if self.accuracy is not None:
            above("stop.accuracy", self.accuracy, 0, "; null means no such limit")
            if self.accuracy > 1:
                raise ConfigError(
                    f"stop.accuracy is a fraction and must be <= 1, got {self.accuracy}; "
                    "write 0.9 for 90 %"
                )

    def uplink_bytes(self, clients: int) -> float:
        """Return the limit on the bytes of all clients; infinite if there is none."""
        if self.uplink_mb is None:
            return float("inf")
        return self.uplink_mb * MB * (clients if self.per_client else 1)

    def reason(self, number: int, uplink_bytes: int, seconds: float, clients: int) -> str | None:
        """Return why the run ends with this round, but for accuracy, which is tested later."""
        if self.rounds is not None and number >= self.rounds:
            return f"rounds={self.rounds} done"
        if uplink_bytes >= self.uplink_bytes(clients):
            per = " per client" if self.per_client else ""
            return f"stop.uplink_mb={self.uplink_mb}{per} reached"
        if self.seconds is not None and seconds >= self.seconds:
            return f"stop.seconds={self.seconds} reached"
        return None


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
        DivergenceError: a loss is not finite; rows written so far stay and run.json says so.
    """
    engine = federation.engine
    clients, ledger = engine.clients, engine.channel.ledger
    test_x = federation.data.test.inputs().to(clients[0].training.device)
    test_y = federation.data.test.y.to(test_x.device)
    number, before, final = _take_up(engine, folder)
    if final:  # killed after its last round
        begin(number)
        folder.describe(final)
        return final
    about = {**about, **provenance(clients[0].training.device), **times(folder.path)}
    folder.describe({**about, "finished": False})
    folder.write_partition(federation.class_table())
    begin(number)
    start, reason, row = time.monotonic() - before, None, None
    while reason is None:
        number += 1
        try:
            loss = engine.round(number)
        except DivergenceError as error:
            folder.describe({**about, "finished": False, "stop_reason": f"diverged: {error}"})
            raise
        uplink, downlink, result = ledger.totals[UPLINK], ledger.totals[DOWNLINK], None
        reason = schedule.reason(number, uplink, time.monotonic() - start, len(clients))
        if reason or number % schedule.eval_every == 0:
            result = engine.evaluate(test_x, test_y)
            if schedule.accuracy is not None and result.mean >= schedule.accuracy:
                reason = reason or f"stop.accuracy={schedule.accuracy} reached"
        row = _row(number, uplink, downlink, result, loss, time.monotonic() - start)
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
            "uplink_bytes_per_client": row.uplink_bytes / len(clients),
            "downlink_bytes_per_client": row.downlink_bytes / len(clients),
            "seconds": row.seconds,
        },
        "result": {
            name: getattr(row, name)
            for name in ("accuracy_mean", "accuracy_local", "accuracy_cross", "accuracy_sd")
        },
    }
    if schedule.checkpoint_every:
        _keep(engine, folder, row, final)  # the trained networks
    folder.describe(final)
    return final


def _keep(
    engine: Engine, folder: RunFolder, row: Round, final: dict[str, Any] | None = None
) -> None:
    kept = {"engine": engine.state(), "tables": folder.sync(), "seconds": row.seconds}
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
    number: int, uplink: int, downlink: int, result: Compositions | None, loss: float, spent: float
) -> Round:
    tested = {f"accuracy_{x}": getattr(result, x, None) for x in ("mean", "local", "cross", "sd")}
    return Round(number, uplink, downlink, **tested, train_loss=loss, seconds=round(spent, 3))

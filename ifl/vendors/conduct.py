"""Conducts a run among vendors from its last checkpoint to its end."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from ifl.client.client import Client
from ifl.comm.channel import DOWNLINK, MULTICAST, UPLINK
from ifl.engines.base import Packet
from ifl.engines.parties import answered
from ifl.errors import LostError
from ifl.federation.class_counts import Pair, class_rows
from ifl.federation.evaluation import Compositions, counted
from ifl.federation.rounds import Rounds
from ifl.federation.runner import row_of
from ifl.runs import checkpoint
from ifl.runs.folder import Round, RunFolder
from ifl.runs.provenance import now
from ifl.runs.wholeness import digests
from ifl.vendors.absent import Absent
from ifl.vendors.agreed import Agreed
from ifl.vendors.remote import Remote
from ifl.vendors.testing import tested
from ifl.vendors.traffic import digest, read_traffic

KEPT = 2  # checkpoints: one that is written goes by another that is whole at all parties
Watch = Callable[[Round], None]


class VendorRounds(Rounds):
    """Rounds among vendors, of whom some may be away.

    Args:
        agreed: the terms.
        remote: the way to all vendors, who have called.
        run: tells this run from others.
    """

    def __init__(self, agreed: Agreed, remote: Remote, run: str) -> None:
        self.skips_lost = agreed.on_lost == "skip"
        self.agreed, self.remote, self.run = agreed, remote, run
        training = agreed.training()
        clients = []
        for k, name in enumerate(agreed.parties):
            told = remote.line(k).told
            clients.append(Absent(name, k, training, _samples(told), _classes(told, agreed)))
        super().__init__(
            agreed.method,
            clients,
            agreed.channel(agreed.seed),
            training,
            on_bad_upload=agreed.on_bad_upload,
            transport=remote,
        )

    def load(self, number: int) -> None:
        """Let all vendors go on from a round, by checkpoints of their own.

        Raises:
            ConfigError: one has none of this round.
        """
        for client in self.clients:
            self.remote.line(client.number).renew()
        head = {"op": "load", "run": self.run, "round": number, "exact": not self.skips_lost}
        self.ask({client.number: Packet(head) for client in self.clients})

    def ask(self, asked: Mapping[int, Packet]) -> dict[int, Packet]:
        """Return what vendors answer; those that are lost are left out, if they may be.

        Raises:
            LostError: one is lost, and may not be.
        """
        answers = self._exchanged(asked) if asked else {}
        return {
            k: answered(answer)
            for k, answer in answers.items()
            if not (isinstance(answer, LostError) and self.skips_lost)
        }

    def weighed(self, asked: Mapping[int, Packet]) -> dict[int, Packet]:
        """Do as ``ask``, and count the bytes of an evaluation."""
        answers = self.ask(asked)
        self.parties.evaluation["down"] += sum(len(packet.body) for packet in asked.values())
        self.parties.evaluation["up"] += sum(len(packet.body) for packet in answers.values())
        return answers

    def here(self) -> list[int]:
        """Return the clients whose parties can be asked; all, where nobody may be away."""
        numbers = [client.number for client in self.clients]
        return [k for k in numbers if self._ready(k)] if self.skips_lost else numbers

    def evaluate(self) -> Compositions | None:
        """Test all compositions of those who are here; None if there are none."""
        found = tested(self.weighed, self.here(), self.agreed)
        return counted(found) if found else None

    def _present(self, number: int) -> Sequence[Client]:
        here = self.here()
        return [client for client in super()._present(number) if client.number in here]

    def _ready(self, client: int) -> bool:
        """Tell whether a vendor is here; one that was started anew goes on from what it has."""
        line = self.remote.line(client)
        if line.here and line.restarted:
            line.renew()
            head = {"op": "load", "run": self.run, "round": self._last.number, "exact": False}
            return bool(self.ask({client: Packet(head)}))
        return line.here


def _samples(told: Mapping[str, Any]) -> int:
    samples = told.get("samples")
    return samples if type(samples) is int and 0 < samples < 2**40 else 1


def _classes(told: Mapping[str, Any], agreed: Agreed) -> list[int] | None:
    classes = told.get("classes")
    if not isinstance(classes, list) or not all(type(c) is int for c in classes):
        return None
    return classes if classes == sorted({*range(agreed.classes)} & {*classes}) else None


def conduct(
    rounds: VendorRounds, folder: RunFolder, about: Mapping[str, Any], watch: Watch
) -> dict[str, Any]:
    """Train until the agreed end; return what run.json holds then.

    Args:
        rounds: before its first round.
        about: what run.json says besides.
        watch: called with every row of rounds.csv.

    Raises:
        LostError: a vendor is lost, and may not be; the same call goes on from the checkpoint.
        ConfigError, DivergenceError, MessageError, PartyError: as ``ifl.federation.runner.run``.
    """
    agreed, ledger = rounds.agreed, rounds.channel.ledger
    last = checkpoint.newest(folder.path)
    number, spent = (last.round, last.state["seconds"]) if last else (0, 0.0)
    folder.rewind(last.state["tables"] if last else None)
    rounds.load(number)
    if last:
        rounds.server.load_state(last.state["server"], rounds.clients)
        ledger.totals.update(last.state["totals"])
        rounds.parties.evaluation.update(last.state["evaluation"])
    row = Round(**last.state["row"]) if last else None
    start, result = time.monotonic() - spent, None
    waiting: list[Callable[[], Round]] = []

    def write(done: Any, make: Any, traffic: Any, result: Compositions | None) -> Round:
        row: Round = make(done.outcome)
        measured = {p: (c.balanced_accuracy, c.macro_f1, None) for p, c in counts(result).items()}
        folder.write_round(row, result.accuracy if result else {}, traffic, measured)
        watch(row)
        return row

    while number < agreed.rounds:
        number += 1
        done = rounds.advance(number)
        if waiting:
            row = waiting.pop()()
        tests = number == agreed.rounds or number % agreed.eval_every == 0
        keeps = number == agreed.rounds or number % agreed.checkpoint_every == 0
        if tests or keeps:
            rounds.settle()
        result = rounds.evaluate() if tests else None
        up, down = ledger.totals[UPLINK], ledger.totals[DOWNLINK]
        make = partial(row_of, number, up, down, result, time.monotonic() - start)
        waiting.append(partial(write, done, make, ledger.close_round(), result))
        if done.settled:
            row = waiting.pop()()
        if keeps:
            assert row is not None
            _keep(rounds, folder, row)
    assert row is not None
    result = result or rounds.evaluate()
    folder.write_classes(class_rows(counts(result)))
    compared = _compared(rounds, folder)
    final = {
        **about,
        "ended": now(),
        "finished": True,
        "stop_reason": f"rounds={agreed.rounds} done",
        "totals": {
            "rounds": number,
            "uplink_bytes": row.uplink_bytes,
            "downlink_bytes": row.downlink_bytes,
            "downlink_bytes_multicast": ledger.totals[MULTICAST],
            "seconds": row.seconds,
        },
        "result": {
            name: getattr(row, name)
            for name in ("accuracy_mean", "accuracy_local", "accuracy_cross", "accuracy_sd")
        },
        "tables": digests(folder.path),
        "traffic": compared,
        **rounds.parties.told(),
    }
    matrix = [[*pair, value] for pair, value in (result.accuracy if result else {}).items()]
    head = {"op": "finish", "row": asdict(row), "compositions": matrix, "traffic": compared}
    rounds.ask({k: Packet(head) for k in rounds.here()})
    folder.describe(final)
    return final


def counts(result: Compositions | None) -> Mapping[Pair, Any]:
    """Return the counts of an evaluation, if there was one."""
    return result.counts if result else {}


def _keep(rounds: VendorRounds, folder: RunFolder, row: Round) -> None:
    """Let all keep a checkpoint of a round, each on its own disk; the server last.

    Until the server has its own, all go on from the one before, which all still have.
    """
    asked = {k: Packet({"op": "keep", "round": row.round}) for k in rounds.here()}
    rounds.ask(asked)
    ledger = rounds.channel.ledger
    with folder.writing():
        state = {
            "server": rounds.server.state(),
            "totals": dict(ledger.totals),
            "evaluation": dict(rounds.parties.evaluation),
            "tables": folder.sync(),
            "row": asdict(row),
            "seconds": row.seconds,
            "run": rounds.run,
        }
        checkpoint.write(folder.path, row.round, state, keep=KEPT)


def _compared(rounds: VendorRounds, folder: RunFolder) -> dict[str, str]:
    """Return for each vendor whether it counted the bytes that the server did."""
    folder.sync()
    said = rounds.ask({k: Packet({"op": "traffic"}) for k in rounds.here()})
    found = {}
    for client in rounds.clients:
        k, rows = client.number, read_traffic(folder.path / "traffic.csv", client.number)
        if k not in said:
            found[client.name] = "not compared: it was lost"
        elif said[k].head.get("sha256") == digest(rows):
            found[client.name] = "equal"
        else:
            found[client.name] = f"differs: it counted {str(said[k].head.get('totals'))[:100]}"
    return found

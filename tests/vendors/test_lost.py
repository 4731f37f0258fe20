"""A vendor or the server that is lost: the run stops, goes on without it, or as if it had not."""

import time
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest
import torch
from federated import NAMES, Party, data_of, federated, joined, listening, terms, vendor_of, weights
from hosts import written

from ifl.engines.base import Packet
from ifl.errors import ConfigError, IFLError, LostError
from ifl.runs import checkpoint
from ifl.runs.folder import Round
from ifl.vendors.agreed import Agreed
from ifl.vendors.party import VendorParty
from ifl.vendors.server import VendorServer
from ifl.vendors.vendor import VendorRun


class KillError(Exception):
    """Stands for a kill: what a party knew is gone, and it says no goodbye."""


def killed_at(run: VendorRun, number: int, op: str = "begin") -> None:
    """Let a vendor be gone when it is asked something of a round."""

    class Mortal(VendorParty):
        def answer(self, asked: Packet) -> Packet:
            if asked.op == op and int(asked.head.get("round", 0)) == number:
                raise KeyboardInterrupt
            return super().answer(asked)

    run.party.__class__ = Mortal


class Dying(Party):
    """A vendor that is killed once, and another one in its place."""

    def __init__(self, first: VendorRun, second: VendorRun | None) -> None:
        def both() -> None:
            try:
                first.run()
            except KeyboardInterrupt:
                if second is not None:
                    second.run()

        super().__init__(both)


def whole(place: Path, common: Agreed) -> dict[str, str]:
    federated(place, common)
    return written(place / "run")


def with_a_kill(
    place: Path, common: Agreed, number: int, op: str, again: bool = True, wait_in: int = 0
) -> list[str]:
    """Run with a kill of ben in a round; return what the server said.

    In round ``wait_in`` the server waits until he is back.
    """
    place.mkdir()
    said: list[str] = []
    with listening(place, said) as listener:
        runs = joined(place, listener.address, common)
        killed_at(runs["ben"], number, op)
        second = joined(place, listener.address, common)["ben"] if again else None
        threads: list[Thread] = [Party(runs[name].run) for name in ("ann", "cleo")]
        threads.append(Dying(runs["ben"], second))

        def watch(row: Round) -> None:
            assert row.round != wait_in or listener.line("ben").wait(time.monotonic() + 20)

        server = VendorServer(
            common, place / "run", listener, 20, grace=0.3, say=said.append, watch=watch
        )
        try:
            server.run()
        finally:
            listener.part()
            for thread in threads:
                thread.join(20)
    return said


@pytest.mark.parametrize(("number", "op"), [(1, "begin"), (5, "begin"), (4, "keep")])
def test_a_vendor_that_is_killed_rejoins_and_nothing_differs(
    number: int, op: str, tmp_path: Path
) -> None:
    common = terms()
    expected = whole(tmp_path / "whole", common)
    said = with_a_kill(tmp_path / "cut", common, number, op)
    begin = {1: 0, 5: 4, 4: 2}[number]
    assert any(f"all go on from round {begin} when it is back" in sentence for sentence in said)
    assert written(tmp_path / "cut" / "run") == expected
    for name in NAMES:
        first, second = (weights(tmp_path / one, name, common) for one in ("whole", "cut"))
        assert torch.equal(first, second)


def test_without_a_vendor_the_run_stops_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LostError) as told:
        with_a_kill(tmp_path / "cut", terms(on_lost="stop"), 5, "begin", again=False)
    assert str(told.value) == (
        "ben is lost: its connection broke, and it did not come back within 0.3 s; the same "
        "commands go on from round 4"
    )


def test_rounds_go_on_without_a_vendor_that_is_skipped(tmp_path: Path) -> None:
    with_a_kill(tmp_path / "cut", terms(on_lost="skip"), 3, "begin", again=False)
    rounds = pd.read_csv(tmp_path / "cut" / "run" / "rounds.csv")
    assert rounds["clients"].tolist() == [3, 3, 2, 2, 2, 2]
    last = pd.read_csv(tmp_path / "cut" / "run" / "compositions.csv").query("round == 6")
    assert {*last["base"]} == {*last["modular"]} == {0, 2}


def test_a_vendor_that_is_skipped_takes_part_again_when_it_is_back(tmp_path: Path) -> None:
    common = terms(on_lost="skip", rounds=8, eval_every=8)
    with_a_kill(tmp_path / "cut", common, 3, "begin", wait_in=5)
    rounds = pd.read_csv(tmp_path / "cut" / "run" / "rounds.csv")
    assert rounds["clients"].tolist()[2] == 2
    assert rounds["clients"].tolist()[-1] == 3


@pytest.mark.parametrize("number", [3, 4])
def test_a_server_that_is_killed_goes_on_and_nothing_differs(number: int, tmp_path: Path) -> None:
    common = terms()
    expected = whole(tmp_path / "whole", common)
    place = tmp_path / "cut"
    place.mkdir()

    def die(row: Round) -> None:
        if row.round == number:
            raise KillError

    said: list[str] = []
    with listening(place, said) as first:
        address = first.address
        threads = [Party(run.run) for run in joined(place, address, common).values()]
        with pytest.raises(KillError):
            VendorServer(common, place / "run", first, patience=20, watch=die).run()
        first._lines.clear()  # it says no goodbye
    with listening(place, said, address) as second:
        VendorServer(common, place / "run", second, patience=20).run()
    for thread in threads:
        thread.join(20)
        assert thread.error == ""
    assert written(place / "run") == expected
    assert all(
        torch.equal(weights(tmp_path / "whole", name, common), weights(place, name, common))
        for name in NAMES
    )


def test_a_vendor_keeps_two_checkpoints_and_goes_on_from_either(tmp_path: Path) -> None:
    common = terms()
    (tmp_path / "certificates").mkdir()
    federated(tmp_path, common)
    assert sorted(checkpoint.held(tmp_path / "ann" / "run")) == [4, 6]
    vendor = vendor_of("ann", tmp_path, "127.0.0.1:1")
    party = VendorRun(vendor, common, data_of("ann")).party
    kept = checkpoint.at(tmp_path / "ann" / "run", 4)
    assert kept is not None
    head: dict[str, Any] = {"op": "load", "run": kept.state["run"], "exact": True}
    assert party.answer(Packet({**head, "round": 4})).head["round"] == 4
    assert {number for number, *_ in party.traffic.rows()} == {1, 2, 3, 4}
    with pytest.raises(ConfigError, match="ann has no whole checkpoint of round 2, from which"):
        party.answer(Packet({**head, "round": 2}))
    with pytest.raises(ConfigError, match="ann has a checkpoint of another run of round 4"):
        party.answer(Packet({**head, "round": 4, "run": "another"}))
    with pytest.raises(IFLError, match="ann has checkpoints of another run in its folder"):
        party.answer(Packet({**head, "round": 0, "run": "another"}))


def test_a_vendor_that_is_finished_waits_for_no_server_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = terms(rounds=2)
    federated(tmp_path, common)
    monkeypatch.setattr("ifl.vendors.vendor.LAST_SECONDS", 0.1)
    said: list[str] = []
    vendor = vendor_of("ann", tmp_path, "127.0.0.1:9")
    VendorRun(vendor, common, data_of("ann"), said.append).run()
    assert said[-1] == f"Already finished: {tmp_path / 'ann' / 'run'}"

"""Clients that are made when they are drawn, and rest on disk, train as if they were in memory."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import QUICK, command, only_run
from conftest import NARROW, SMALL, Build, composed, equal, play, tensors
from interrupted import assert_equal_files

import ifl
from ifl.cli.build import assemble
from ifl.client.client import Client
from ifl.engines.residence import SCRATCH
from ifl.errors import ConfigError, IFLError
from ifl.federation.build import Federation
from ifl.federation.engine import Engine
from ifl.federation.evaluation import Evaluation
from ifl.federation.participation import Participation
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.fl import FL
from ifl.methods.ifl import IFL
from ifl.methods.local import Local
from ifl.methods.parts.passing import in_passing
from ifl.models import SplitModel
from ifl.runs import checkpoint
from ifl.runs.folder import Round, RunFolder, read_about

SIX = Schedule(rounds=6, eval_every=3, checkpoint_every=2, keep_state=True)
HALF = ("clients.count=6", "participation.fraction=0.5", "participation.dropout=0.2")
METHODS = (
    "ifl",
    "ifl_frugal codec=int4 augment=elastic",
    "ifl clients=cnn_homogeneous optimizer=adam optimizer.decay_rounds=6 partition=dirichlet",
    "ifl privacy.label_epsilon=2 privacy.clip=1 privacy.noise=0.5 adversary=noise",
    "fl method.send=updates method.error_feedback=true codec=int4",
    "fsl method.sync_base=true",
    "fedproto method.predict=head",
    "fml",
    "relative",
    "late_vendor method.after=2",
    "ifl_statistics method.align.weight=1",
    "local evaluate.local_only=true",
    "centralized",
)


class KillError(Exception):
    """Stands for a kill."""


def small(*overrides: str) -> Federation:
    narrow = () if "clients=cnn_homogeneous" in overrides else NARROW
    tiny = ("batch_size=2", "local.tau=1", "fusion.dim=16", *HALF)
    return assemble(composed(*tiny, *narrow, *overrides))


def played(
    federation: Federation, path: Path, kill_at: int | None = None, schedule: Schedule = SIX
) -> Engine:
    """Run six rounds, or die at one whose row is written."""

    def watch(row: Round) -> None:
        if row.round == kill_at:
            raise KillError

    with RunFolder(path) as folder:
        with contextlib.suppress(KillError):
            run(federation, folder, {}, schedule, watch)
        states = federation.engine.state()  # while the files are there
    federation.engine.state = lambda: states  # type: ignore[method-assign, misc, assignment]
    return federation.engine


def assert_same(first: Engine, second: Engine) -> None:
    """Compare the states of servers, and of the clients that the second one has states of."""
    one, other = first.state(), second.state()
    assert other["clients"]
    for number, state in other["clients"].items():
        assert equal(tensors(one["clients"][number]), tensors(state)), number
    assert equal(tensors(one["server"]), tensors(other["server"]))
    assert one["totals"] == other["totals"]


@pytest.mark.parametrize("typed", METHODS)
def test_one_client_in_memory_gives_what_all_do_to_the_byte(typed: str, tmp_path: Path) -> None:
    chosen = f"method={typed}".split()
    every, one = (
        played(small(*chosen, f"runtime.resident={n}"), tmp_path / n) for n in ("null", "1")
    )
    assert_equal_files(tmp_path / "null", tmp_path / "1")
    assert_same(every, one)


@pytest.mark.parametrize("resident", [1, 3, 6])
@pytest.mark.parametrize("typed", [METHODS[2], METHODS[4], METHODS[7]])
def test_a_killed_run_goes_on_bit_for_bit(typed: str, resident: int, tmp_path: Path) -> None:
    chosen = [*f"method={typed}".split(), f"runtime.resident={resident}"]
    whole = played(small(*chosen), tmp_path / "whole")
    played(small(*chosen), tmp_path / "killed", kill_at=5)
    assert checkpoint.held(tmp_path / "killed") == [4]
    torch.rand(100)
    assert_same(whole, played(small(*chosen), tmp_path / "killed"))
    assert_equal_files(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(("first", "then"), [("null", "2"), ("2", "null"), ("2", "3")])
def test_it_may_be_another_number_when_the_run_goes_on(
    first: str, then: str, tmp_path: Path
) -> None:
    chosen = METHODS[4].split()
    chosen[0] = f"method={chosen[0]}"
    whole = played(small(*chosen), tmp_path / "whole")
    played(small(*chosen, f"runtime.resident={first}"), tmp_path / "killed", kill_at=5)
    again = played(small(*chosen, f"runtime.resident={then}"), tmp_path / "killed")
    assert_same(whole, again)
    assert_equal_files(tmp_path / "whole", tmp_path / "killed")


def test_it_is_no_part_of_a_runs_identity_and_its_blocks_can_be_loaded(tmp_path: Path) -> None:
    typed = [*QUICK, "clients.count=5", "evaluate.bases=2", "evaluate.modulars=3"]
    first = command(tmp_path, *typed, "runtime.resident=2")
    assert first.returncode == 0, first.stderr
    again = command(tmp_path, *typed)
    assert "Already finished" in again.stdout
    trained = ifl.load(only_run(tmp_path))
    assert [len(trained.bases), len(trained.modulars)] == [2, 2]
    tested = {(row.base, row.modular) for row in trained.compositions().itertuples()}
    assert len(tested) == 6
    assert {(k, i) for k in trained.bases for i in trained.modulars} <= tested


def test_a_longer_run_goes_on_from_a_finished_one(tiny: Build, tmp_path: Path) -> None:
    away = {"count": 5, "participation": Participation(0.4), "resident": 2}
    longer = Schedule(rounds=9, eval_every=3, checkpoint_every=2, keep_state=True)
    whole = played(tiny(IFL(tau=1), **away), tmp_path / "whole", schedule=longer)
    played(tiny(IFL(tau=1), **away), tmp_path / "short")
    federation = tiny(IFL(tau=1), **away)
    with RunFolder(tmp_path / "long") as folder:
        run(federation, folder, {}, longer, after=[tmp_path / "short"])
        assert equal(tensors(whole.state()), tensors(federation.engine.state()))
    about = read_about(tmp_path / "long") or {}
    assert about["continues"] == {"folder": str(tmp_path / "short"), "round": 6}
    assert_equal_files(tmp_path / "whole", tmp_path / "long")


def made(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of every client that is made from now on."""
    numbers: list[int] = []
    wake = Client.wake

    def noted(self: Client, *state: Any) -> None:
        numbers.append(self.number)
        wake(self, *state)

    monkeypatch.setattr(Client, "wake", noted)
    return numbers


def many(tiny: Build, **more: Any) -> Federation:
    few = {"participation": Participation(0.05), "batch_size": 2, "count": 100}
    few |= {"evaluation": Evaluation(2, 2), **more}
    return tiny(IFL(tau=1), **few)


def test_a_client_that_is_never_drawn_is_never_made(
    tiny: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = many(tiny, resident=3)
    numbers = made(federation, monkeypatch)
    engine, drawn = federation.engine, set[int]()
    for number in (1, 2, 3):
        drawn |= {c.number for c in engine.participation.present(engine.clients, 0, number)}
        engine.round(number)
        assert sum(client.resident for client in engine.clients) == 3
    assert {*numbers} == drawn
    assert len(drawn) < 20
    test = federation.data.test
    assert len(engine.evaluate(test.inputs(), test.y, 3).accuracy) == 4
    assert len({*numbers} - drawn) <= 4
    assert sum(client.resident for client in engine.clients) == 3


def test_clients_that_are_only_tested_are_not_written(tiny: Build) -> None:
    federation = many(tiny, resident=1, evaluation=Evaluation(local_only=True))
    engine, test = federation.engine, federation.data.test
    found = engine.evaluate(test.inputs(), test.y)
    assert len(found.accuracy) == 100
    assert [*engine.residence.folder.iterdir()] == []  # type: ignore[union-attr]
    assert not engine.state()["clients"]
    everyone = many(tiny, evaluation=Evaluation(local_only=True)).engine
    assert everyone.evaluate(test.inputs(), test.y) == found


def test_two_thousand_clients_make_those_of_each_round(
    tiny: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"participation": Participation(0.002), "batch_size": 1, "count": 2000}
    overlapping = {"partition": Overlapping(), "resident": 4, "evaluation": Evaluation(1, 1)}
    federation = tiny(FL(tau=1), **few, **overlapping)
    numbers = made(federation, monkeypatch)
    play(federation, 5)
    assert 4 <= len(numbers) <= 5 * 4


class Overlapping:
    """Gives everybody a sample, some of them the same."""

    overlap, exhaustive = True, False

    def __call__(self, labels: Any, clients: int, generator: Any) -> Any:
        return [[k % len(labels)] for k in range(clients)]


def test_checkpoints_write_what_changed_and_remove_what_none_names(
    tiny: Build, tmp_path: Path
) -> None:
    federation, seen = many(tiny, resident=1), dict[int, dict[str, int]]()

    def watch(row: Round) -> None:
        files = (tmp_path / "run" / "checkpoint" / "clients").glob("*")
        seen[row.round] = {path.name: path.stat().st_mtime_ns for path in files}

    with RunFolder(tmp_path / "run") as folder:
        run(federation, folder, {}, SIX, watch)
    drawn = [
        {c.number for c in federation.engine.participation.present(federation.engine.clients, 0, n)}
        for n in range(1, 7)
    ]
    assert seen[3]
    assert seen[5]
    for number, so_far in ((3, drawn[:2]), (5, drawn[:4])):
        assert {int(name.split("-")[0]) for name in seen[number]} >= set.union(*so_far)
        assert len(seen[number]) <= len(set.union(*so_far)) + 1  # with client 0
    stayed = (drawn[0] | drawn[1]) - drawn[2] - drawn[3]
    same = {n: t for n, t in seen[3].items() if int(n.split("-")[0]) in stayed}
    assert same
    assert same.items() <= seen[5].items()


def test_a_checkpoint_whose_client_is_missing_or_cut_is_not_whole(
    tiny: Build, tmp_path: Path
) -> None:
    played(many(tiny, resident=1), tmp_path / "run")
    path = next((tmp_path / "run" / "checkpoint" / "clients").iterdir())
    assert checkpoint.newest(tmp_path / "run")
    path.write_bytes(path.read_bytes()[:-1])
    assert checkpoint.newest(tmp_path / "run") is None
    path.unlink()
    assert checkpoint.newest(tmp_path / "run") is None


def test_a_damaged_client_is_named_when_it_is_read(tiny: Build, tmp_path: Path) -> None:
    played(many(tiny, resident=1), tmp_path / "run", kill_at=5)
    folder = tmp_path / "run" / "checkpoint" / "clients"
    for path in folder.iterdir():
        path.write_bytes(bytes(len(path.read_bytes())))
    again = many(tiny, resident=1)
    with pytest.raises(IFLError, match="is not as it was written: the state of a client is lost"):
        played(again, tmp_path / "run")


@pytest.mark.parametrize("resident", [None, 2])
def test_files_that_a_killed_run_left_are_removed(
    resident: int | None, tiny: Build, tmp_path: Path
) -> None:
    left_over = tmp_path / f"{SCRATCH}killed"
    left_over.mkdir()
    (left_over / "3-1").write_bytes(b"a state")
    with RunFolder(tmp_path) as folder:
        run(tiny(Local(), resident=resident), folder, {}, Schedule(rounds=1))
    assert not left_over.exists()


def test_a_folder_below_the_run_holds_the_others_and_goes_with_its_end(
    tiny: Build, tmp_path: Path
) -> None:
    path, during = tmp_path / "run", list[int]()

    def watch(row: Round) -> None:
        (scratch,) = path.glob(f"{SCRATCH}*")
        during.append(len([*scratch.iterdir()]))

    with RunFolder(path) as folder:
        run(many(tiny, resident=1), folder, {}, Schedule(rounds=3, keep_state=False), watch)
    assert during == sorted(during)
    assert during[-1] > 9
    assert not [*path.glob(f"{SCRATCH}*")]
    assert not (path / "checkpoint").exists()


def test_a_run_that_keeps_its_networks_alone_keeps_no_clients(tiny: Build, tmp_path: Path) -> None:
    schedule = Schedule(rounds=3, checkpoint_every=1, keep_state=False)
    with RunFolder(tmp_path / "run") as folder:
        run(many(tiny, resident=2), folder, {}, schedule)
    assert not (tmp_path / "run" / "checkpoint" / "clients").exists()
    last = checkpoint.newest(tmp_path / "run")
    assert last
    assert len(last.state["blocks"]["base"]) == 2


def test_whoever_was_used_least_recently_goes_first(tiny: Build) -> None:
    federation = tiny(Local(tau=1), count=4, resident=2)
    home, clients = federation.engine.residence, federation.engine.clients
    assert home is not None
    for k in (0, 1, 2, 0, 3):
        home.bring(clients[k])
    home.trim()
    assert [*home.here] == [0, 3]
    home.hold([clients[1]])
    assert [*home.here] == [3, 1]


def first_weight(client: Client) -> float:
    return float(next(client.model.parameters()).detach().max())


def test_what_is_changed_of_any_client_is_kept_and_what_is_seen_in_passing_is_not_written(
    tiny: Build,
) -> None:
    federation = tiny(Local(tau=1), count=4, resident=1)
    home, clients = federation.engine.residence, federation.engine.clients
    assert home is not None
    before = [first_weight(client) for client in in_passing(clients)]
    assert [*home.folder.iterdir()] == []
    assert sum(client.resident for client in clients) <= 1
    for client in clients[1:3]:
        with torch.no_grad():
            next(client.model.parameters()).fill_(client.number)
    home.trim()
    assert len([*home.folder.iterdir()]) == 1
    assert [first_weight(client) for client in clients] == [before[0], 1, 2, before[3]]


def test_a_start_that_is_changed_late_reaches_clients_wherever_they_are(tiny: Build) -> None:
    clients = tiny(Local(tau=1), count=3, resident=1).engine.clients
    assert clients[0].model is not clients[1].model  # the first is not in memory any more

    def fill(client: Client) -> None:
        with torch.no_grad():
            next(client.model.parameters()).fill_(7)

    for client in clients:
        client.at_start(fill)
    assert [first_weight(client) for client in clients] == [7, 7, 7]


def test_a_member_that_makes_one_block_for_all_is_refused(tiny: Build) -> None:
    block = SMALL.base()
    shared = type(SMALL)("shared", lambda: block, SMALL.modular)
    with pytest.raises(ConfigError, match="share parameters or buffers"):
        tiny(Local(), shared, count=3, resident=1)


def test_networks_are_made_as_their_seed_says_whenever_that_is(tiny: Build) -> None:
    first, later = (tiny(Local(), count=3, resident=n) for n in (None, 1))
    assert not any(client.like for client in first.engine.clients)  # it would travel with them
    torch.rand(9)
    for client in reversed(later.engine.clients):
        assert isinstance(client.model, SplitModel)
        same = first.engine.clients[client.number].model
        assert equal([*client.model.parameters()], [*same.parameters()])


def test_a_left_over_of_a_kill_between_files_and_checkpoint_does_no_harm(
    tiny: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = played(many(tiny, resident=2), tmp_path / "whole")
    real = checkpoint._take_in

    def dying(*arguments: Any) -> None:
        real(*arguments)
        if len(checkpoint.held(tmp_path / "killed")) == 1:
            raise KillError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_take_in", dying)
        played(many(tiny, resident=2), tmp_path / "killed")
    assert checkpoint.held(tmp_path / "killed") == [2]
    shutil.copytree(tmp_path / "killed", tmp_path / "copied")  # with files of their own
    for name in ("killed", "copied"):
        assert_same(whole, played(many(tiny, resident=2), tmp_path / name))
        assert_equal_files(tmp_path / "whole", tmp_path / name)

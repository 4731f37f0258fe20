"""A budget in bytes below one round's is told before anything is trained."""

from pathlib import Path

import pytest
from conftest import EVERY, NARROW, Build, clients, composed, play
from liars import Liar

from ifl.cli.build import assemble
from ifl.errors import ConfigError
from ifl.federation.budget import check_budget, costly, first_uplink
from ifl.federation.build import Federation
from ifl.federation.engine import Engine
from ifl.federation.evaluation import Evaluation
from ifl.federation.participation import Participation
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.centralized import Centralized
from ifl.methods.fl import FL
from ifl.methods.ifl import IFL
from ifl.methods.local import Local
from ifl.runs.folder import RunFolder, read_about

AWAY = "participation.fraction=0.5 participation.dropout=0.5"
SIZED = "float32"  # a codec whose sizes hang on shapes alone


def small(*typed: str) -> Federation:
    tiny = ("batch_size=4", "local.tau=2", *NARROW, "fusion.dim=16")
    return assemble(composed(*tiny, *(word for part in typed for word in part.split())))


@pytest.mark.parametrize("typed", EVERY)
@pytest.mark.parametrize("away", ["", AWAY])
def test_the_first_round_sends_what_is_foretold(typed: str, away: str) -> None:
    method, *_ = typed.split(" codec=")
    federation = small(f"codec={SIZED} method={method}", away)
    foretold, ledger = first_uplink(federation.engine), federation.engine.channel.ledger
    number, came = 0, 0
    while not came:
        number += 1
        came = federation.engine.round(number).clients
    assert ledger.totals["up"] == foretold
    assert (foretold > 0) == (federation.engine.method.sends != "never")


@pytest.mark.parametrize("per_client", [False, True])
def test_a_budget_of_one_round_is_enough_and_a_byte_less_is_not(
    tiny: Build, per_client: bool
) -> None:
    engine = tiny(IFL(), count=3).engine
    sent = first_uplink(engine)
    share = sent / 3 if per_client else sent
    check_budget(Schedule(5, uplink_mb=share / 1e6, per_client=per_client), engine)
    below = Schedule(5, uplink_mb=(share - 1) / 1e6, per_client=per_client)
    with pytest.raises(ConfigError, match=f"the first round sends, {share / 1e6:.6f} MB"):
        check_budget(below, engine)


def test_it_is_told_before_anything_is_written_or_drawn(tiny: Build, tmp_path: Path) -> None:
    federation = tiny(FL(), count=2)
    with RunFolder(tmp_path) as folder, pytest.raises(ConfigError, match=r"uplink_mb=1e-06 is b"):
        run(federation, folder, {}, Schedule(5, uplink_mb=1e-6))
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "holder"}
    check_budget(Schedule(5, uplink_mb=1), federation.engine)
    assert play(federation, 3) == play(tiny(FL(), count=2), 3)


def test_rounds_to_which_nobody_comes_are_passed_over(tiny: Build) -> None:
    never = Participation(1.0, 0.97)
    federation = tiny(IFL(), count=2, participation=never)
    engine: Engine = federation.engine
    assert not never.present(clients(federation), 0, 1)
    assert first_uplink(engine) == first_uplink(tiny(IFL(), count=2).engine) // 2


def test_a_budget_that_nothing_ever_reaches_needs_another_end(tiny: Build, tmp_path: Path) -> None:
    engine = tiny(Local()).engine
    with pytest.raises(ConfigError, match="is never reached, since Local sends nothing; set ro"):
        check_budget(Schedule(None, uplink_mb=1), engine)
    check_budget(Schedule(5, uplink_mb=1), engine)
    with RunFolder(tmp_path) as folder:
        late = Liar(Centralized(tau=1), round=1)  # client 1's samples come in round 2
        run(tiny(late, on_bad_upload="skip"), folder, {}, Schedule(None, uplink_mb=1))
    about = read_about(tmp_path) or {}
    assert about["totals"]["rounds"] == 2
    assert about["stop_reason"].startswith("nothing more is to be sent: stop.uplink_mb is out")


def test_a_large_pool_and_many_compositions_are_named_with_the_way_out(
    tiny: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"count": 20, "batch_size": 2}
    assert not [*costly(tiny(IFL(), **few).engine)]
    monkeypatch.setattr("ifl.federation.budget.LARGE_POOL", 39)
    monkeypatch.setattr("ifl.federation.budget.MANY_COMPOSITIONS", 399)
    pool, tested = costly(tiny(IFL(), **few).engine)
    assert pool.startswith("A pool has 40 rows of 20 clients")
    assert "method.relay=sample method.relay_rows=9" in pool
    assert tested.startswith("An evaluation tests 20 x 20 compositions: evaluate.bases=16")
    sampled = IFL(relay="sample", relay_rows=9)
    assert not [*costly(tiny(sampled, evaluation=Evaluation(16, 16), **few).engine)]
    assert not [*costly(tiny(sampled, evaluation=Evaluation(local_only=True), **few).engine)]
    assert not [*costly(tiny(FL(), **few).engine)]  # there is one network
    (halved,) = costly(tiny(IFL(), participation=Participation(0.5), **few).engine)
    assert halved.startswith("An evaluation tests 20 x 20")
    assert not tiny(IFL(), resident=1, **few).engine.residence.files  # type: ignore[union-attr]

"""The last vendor joins when the others have finished, by a modular block that it holds fixed."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from closed_forms import header, packed, totals
from conftest import CLASSES, DIM, PLAIN, SMALL, WIDE, Build, clients, equal, parameters, play
from torch.nn.functional import cross_entropy
from written_runs import write_run

from ifl.analysis.collect import load_runs
from ifl.analysis.studies.open import late_vendor as study
from ifl.client.client import Client
from ifl.errors import ConfigError
from ifl.federation.participation import Participation
from ifl.methods.ifl import IFL
from ifl.methods.late_vendor import LateVendor

B = 8


@dataclass(frozen=True)
class Planned(Participation):
    """Who comes is written down: the numbers for each round."""

    plan: Sequence[Sequence[int]] = ()

    def present(self, clients: Sequence[Client], seed: int, round_number: int) -> list[Client]:
        return [clients[k] for k in self.plan[round_number - 1]]


def test_the_others_train_by_ifl_and_then_do_nothing(tiny: Build) -> None:
    plan = [(0, 1)] * 3
    federation = tiny(LateVendor(tau=2, after=3), SMALL, WIDE, count=3)
    paper = tiny(IFL(tau=2), SMALL, WIDE, count=3, participation=Planned(plan=plan))
    start = parameters(clients(federation)[2].model.base)
    play(federation, 3)
    play(paper, 3)
    for ours, theirs in zip(clients(federation)[:2], clients(paper)[:2], strict=True):
        assert equal(parameters(ours.model), parameters(theirs.model))
    assert equal(parameters(clients(federation)[2].model.base), start)
    for number in (4, 5, 6):
        federation.engine.round(number)
    for ours, theirs in zip(clients(federation)[:2], clients(paper)[:2], strict=True):
        assert equal(parameters(ours.model), parameters(theirs.model))
    assert not equal(parameters(clients(federation)[2].model.base), start)


def test_the_late_vendor_descends_through_the_partners_modular_block(tiny: Build) -> None:
    method = LateVendor(tau=3, after=2, partner=1)
    federation = tiny(method, SMALL, WIDE, count=3, optimizer=PLAIN)
    twin = clients(tiny(method, SMALL, WIDE, count=3, optimizer=PLAIN))[2]
    play(federation, 4)
    modular = deepcopy(clients(federation)[1].model.modular)
    for _ in range(2):
        for x, y in twin.batches(3):
            weights = list(twin.model.base.parameters())
            loss = cross_entropy(modular(twin.model.base(x)), y)
            with torch.no_grad():
                for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                    weight.sub_(0.05 * grad)
    late = clients(federation)[2]
    assert equal(parameters(late.model.modular), parameters(modular))
    for ours, theirs in zip(parameters(late.model.base), parameters(twin.model.base), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    bases, modulars = method.blocks(clients(federation), federation.engine.server)
    assert [*bases] == ["0", "1", "2"]
    assert [*modulars] == ["0", "1"]


def test_its_bytes_are_the_closed_form(tiny: Build) -> None:
    federation = tiny(LateVendor(tau=1, after=2), SMALL, WIDE, count=3)
    rows = B * (4 * DIM + 1)
    up = 2 * (rows + header(z=("F32", [B, DIM], 4), y=("U8", [B], 1)))
    down = 2 * (2 * rows + header(z=("F32", [2 * B, DIM], 4), y=("U8", [2 * B], 1)))
    modular = clients(federation)[0].model.modular
    block = 4 * (DIM * CLASSES + CLASSES) + header(**packed(modular))
    expected = [(up, down), (up + block, down), (0, block), (0, 0)]
    assert totals(federation, 4) == expected


def test_by_ifl_it_takes_part_with_its_own_modular_block(tiny: Build) -> None:
    method = LateVendor(tau=1, after=2, join="ifl")
    federation = tiny(method, SMALL, WIDE, count=3)
    paper = tiny(
        IFL(tau=1),
        SMALL,
        WIDE,
        count=3,
        participation=Planned(plan=[(0, 1), (0, 1), (0, 1, 2), (0, 1, 2)]),
    )
    assert play(federation, 4) == play(paper, 4)
    for ours, theirs in zip(clients(federation), clients(paper), strict=True):
        assert equal(parameters(ours.model), parameters(theirs.model))
    assert len(method.blocks(clients(federation), federation.engine.server)[1]) == 3


def test_a_block_that_waits_is_not_lost_when_the_run_is_resumed(tiny: Build) -> None:
    whole, first, rest = (tiny(LateVendor(tau=2, after=2), SMALL, WIDE, count=3) for _ in range(3))
    for number in range(1, 6):
        whole.engine.round(number)
    for number in (1, 2):
        first.engine.round(number)
    rest.engine.load_state(deepcopy(first.engine.state()))
    for number in (3, 4, 5):
        rest.engine.round(number)
    for ours, theirs in zip(clients(whole), clients(rest), strict=True):
        assert equal(parameters(ours.model), parameters(theirs.model))


def test_a_partner_that_was_away_hands_its_block_over_later(tiny: Build) -> None:
    plan = [(0, 1), (1, 2), (1, 2), (0, 1), (0, 1), (2,), (2,)]
    federation = tiny(
        LateVendor(tau=1, after=2), SMALL, WIDE, count=3, participation=Planned(plan=plan)
    )
    sent = [
        [(row[0], row[1]) for row in rows if row[2].startswith("params")]
        for rows in play(federation, 7)
    ]
    assert sent == [[], [], [], [("up", 0)], [], [("down", 2)], []]


def test_who_cannot_join_is_told(tiny: Build) -> None:
    with pytest.raises(ConfigError, match="0 to 1, got 2 of clients.count=3"):
        tiny(LateVendor(partner=2), count=3)
    with pytest.raises(ConfigError, match="needs a client before the last one"):
        tiny(LateVendor(), count=1)


def test_the_study_counts_the_late_vendors_own_bytes_until_it_is_as_good(tmp_path: Path) -> None:
    typed = ["method=late_vendor", "method.after=2", "clients.count=2", "study=open/late_vendor"]
    path = write_run(tmp_path / "a", *typed, accuracy={2: 0.5, 4: 0.5, 6: 0.5})
    rows = ["round,base,modular,accuracy", "2,0,0,0.8", "2,1,0,0.1"]
    rows += ["4,0,0,0.9", "4,1,0,0.7", "6,0,0,0.9", "6,1,0,0.795"]
    traffic = ["round,direction,client,kind,bytes", "1,up,0,z,9000000", "2,up,0,params,500000"]
    traffic += ["3,down,1,params,500000", "5,up,1,z,1000000", "7,up,1,z,8000000"]
    (path / "compositions.csv").write_text("\n".join(rows) + "\n")
    (path / "traffic.csv").write_text("\n".join(traffic) + "\n")
    (run,), _ = load_runs(tmp_path)
    assert study.others(run) == 0.8
    assert study.at_the_end(run) == 0.795
    for partner in (False, True):  # two clients: its partner is all there is
        assert study.until_as_good(run, partner, "rounds") == 4
        assert study.until_as_good(run, partner, "up") == 1.0
        assert study.until_as_good(run, partner, "down") == 0.5
    assert study.newcomer(run)["accuracy"].tolist() == [0.7, 0.795]

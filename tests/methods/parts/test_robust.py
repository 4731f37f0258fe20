"""Robust pools: which rows stay out, how far coordinates are clipped, and what is left of one."""

import pytest
import torch
from conftest import SMALL, WIDE, Build, clients, equal, parameters, play
from overheard import Heard, overheard
from torch import Tensor

from ifl.client.adversary import Constant, Scaled
from ifl.client.privacy import Privacy
from ifl.comm.message import Message
from ifl.errors import ConfigError
from ifl.federation.build import Federation
from ifl.methods.ifl import IFL, IFLServer
from ifl.methods.parts.replay import Align, Replay
from ifl.methods.parts.robust import ROBUST, Rows
from ifl.seeding import rng

TWO = [0, 0, 1]  # two rows of class 0, one of class 1


def rows(*clients: list[list[float]], y: list[int] = TWO) -> Rows:
    return [(torch.tensor(z), torch.tensor(y)) for z in clients]


def kept(sent: Rows) -> list[list[list[float]]]:
    return [z.tolist() for z, _ in sent]


NEAR = [[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]]  # means (1, 0) of class 0 and (9, 9) of class 1
NEARBY = [[1.0, 1.0], [1.0, 1.0], [9.0, 8.0]]  # (1, 1), (9, 8)
FAR_IN_0 = [[50.0, 0.0], [70.0, 0.0], [9.0, 9.0]]  # (60, 0), (9, 9)


def test_of_each_class_the_rows_of_the_farthest_quarter_stay_out() -> None:
    # Medians by coordinate of class 0: (1, 0); of class 1: (9, 9).
    sent = rows(NEAR, NEARBY, FAR_IN_0)
    found = ROBUST["trimmed"](sent)
    assert kept(found) == [NEAR, NEARBY[:2], FAR_IN_0[2:]]
    assert [y.tolist() for _, y in found] == [TWO, [0, 0], [1]]


def test_of_five_clients_trimming_leaves_out_two_and_of_two_none() -> None:
    five = [[[float(place)]] for place in (0, 1, 2, 3.5, 9)]  # median 2
    assert kept(ROBUST["trimmed"](rows(*five, y=[3]))) == [[], [[1.0]], [[2.0]], [[3.5]], []]
    assert kept(ROBUST["trimmed"](rows([[0.0]], [[100.0]], y=[3]))) == [[[0.0]], [[100.0]]]


def test_nobody_is_too_far_where_all_are_alike() -> None:
    # Class 0: distances to (1, 0.5) are 0.5 and 0.5 and 0.5; class 1: 0.5, 0.5 and 0.5.
    alike = rows(NEAR, NEARBY, NEAR, NEARBY)
    assert kept(ROBUST["median"](alike)) == [NEAR, NEARBY, NEAR, NEARBY]
    same = rows(NEAR, NEAR, NEAR)  # all distances are 0
    assert kept(ROBUST["median"](same)) == [NEAR] * 3


def test_beyond_twice_the_median_distance_rows_of_the_class_stay_out() -> None:
    # Class 0: means (1, 0), (1, 1), (1, 0), (60, 0), their median (1, 0), distances 0, 1, 0, 59,
    # whose median is 0.5. Class 1: (9, 9), (9, 8), (9, 9), (9, 9), distances 0, 1, 0, 0.
    found = ROBUST["median"](rows(NEAR, NEARBY, NEAR, FAR_IN_0))
    assert kept(found)[3] == [[9.0, 9.0]]
    assert kept(found)[1] == NEARBY[:2]
    assert kept(found)[0] == kept(found)[2] == NEAR


def test_clipping_takes_the_medians_of_the_clients_extremes() -> None:
    # Smallest by client: -1, 0, 1, -90; largest: 2, 4, 3, 80. Medians -0.5 and 3.5.
    sent = rows([[-1.0], [2.0]], [[0.0], [4.0]], [[1.0], [3.0]], [[-90.0], [80.0]], y=[0, 1])
    assert kept(ROBUST["clip"](sent)) == [
        [[-0.5], [2.0]],
        [[0.0], [3.5]],
        [[1.0], [3.0]],
        [[-0.5], [3.5]],
    ]


@pytest.mark.parametrize("robust", ROBUST)
def test_rows_that_stay_keep_their_order_and_labels(robust: str) -> None:
    draws = rng(0, "rows")
    sent = [(torch.randn(9, 3, generator=draws), torch.randint(3, (9,), generator=draws))] * 4
    uploads = {k: Message(z=z + k, y=y) for k, (z, y) in enumerate(sent)}
    pool = IFLServer(robust=robust).reply(uploads, rng(0, "draws"))[0]
    assert len(pool["z"]) == len(pool["y"]) >= 18
    if robust == "clip":
        return
    given = [(*row, label) for z, y in sent for row, label in both(z, y)]
    z = torch.cat([message["z"] for message in uploads.values()])
    y = torch.cat([message["y"] for message in uploads.values()])
    places = [int((z == row).all(dim=1).nonzero()) for row in pool["z"]]
    assert places == sorted(places)
    assert torch.equal(y[places], pool["y"])
    assert len(given) == 36


def both(z: Tensor, y: Tensor) -> list[tuple[list[float], int]]:
    return list(zip(z.tolist(), y.tolist(), strict=True))


@pytest.mark.parametrize("robust", ["trimmed", "median"])
def test_a_constant_that_is_far_off_reaches_nobody(robust: str, tiny: Build) -> None:
    method = IFL(tau=1, robust=robust)
    federation = tiny(method, SMALL, WIDE, count=4, adversary=Constant([3], value=1e4))
    heard = overheard(federation.engine.server)
    play(federation, 2)
    assert len(heard) == 2
    for _, replies in heard:
        pool = replies[0]
        assert pool["z"].abs().max() < 1e3
        assert len(pool["z"]) < 4 * 8


def heard_of(federation: Federation) -> Heard:
    """Return what the server hears and says in one round."""
    heard = overheard(federation.engine.server)
    play(federation, 1)
    return heard


def test_clipping_takes_a_scale_away(tiny: Build) -> None:
    largest = {}
    for robust in ("none", "clip"):
        liar = Scaled([3], factor=1e4)
        federation = tiny(IFL(tau=1, robust=robust), SMALL, count=4, adversary=liar)
        ((_, replies),) = heard_of(federation)
        largest[robust] = float(replies[0]["z"].abs().max())
        assert len(replies[0]["z"]) == 4 * 8
    assert largest["clip"] < largest["none"] / 1e3


def test_a_pool_of_equal_uploads_is_whole_whatever_is_done(tiny: Build) -> None:
    runs = [
        tiny(IFL(tau=1, robust=robust), SMALL, count=2) for robust in ROBUST if robust != "clip"
    ]
    rows = [play(federation, 2) for federation in runs]  # of two, nobody is left out
    assert rows[0] == rows[1] == rows[2]
    for federation in runs[1:]:
        for me, other in zip(clients(runs[0]), clients(federation), strict=True):
            assert equal(parameters(me.model), parameters(other.model))


def test_replay_and_alignment_take_pools_of_any_size(tiny: Build) -> None:
    method = IFL(tau=1, robust="trimmed", replay=Replay(3, 4), align=Align(1.0))
    outcome = tiny(method, SMALL, WIDE, count=4).engine.round(1)
    assert outcome.clients == 4


def test_what_does_not_go_together_is_a_sentence(tiny: Build) -> None:
    with pytest.raises(ConfigError, match="one of none, trimmed, median, clip, got krum"):
        IFL(robust="krum")
    with pytest.raises(ConfigError, match="stage2=per_client needs each client's pair whole, got"):
        IFL(robust="median", stage2="per_client")
    IFL(robust="clip", stage2="per_client")
    hidden = Privacy(label_epsilon=1.0)
    with pytest.raises(ConfigError, match=r"robust=trimmed chooses by labels, which privacy\.lab"):
        tiny(IFL(robust="trimmed"), privacy=hidden)
    tiny(IFL(robust="clip"), privacy=hidden)

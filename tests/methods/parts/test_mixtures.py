"""Mixtures of own samples as anchors: who publishes what, who holds it, and what it costs."""

import pytest
import torch
from closed_forms import header, totals
from conftest import (
    CLASSES,
    DIM,
    SHAPE,
    SMALL,
    WIDE,
    Build,
    clients,
    equal,
    parameters,
    play,
)

from ifl.client.client import Client
from ifl.client.privacy import Privacy
from ifl.data.anchors import HeldOut
from ifl.data.dataset import Shard
from ifl.data.partition import Classes
from ifl.errors import ConfigError
from ifl.federation.build import Federation
from ifl.federation.participation import Participation
from ifl.methods.ifl import IFL
from ifl.methods.local import Local
from ifl.methods.parts.anchors import Anchored
from ifl.methods.parts.mixtures import Published, mixtures
from ifl.methods.parts.public_samples import Agreed
from ifl.vendors.absent import Absent


def publishing(tiny: Build, count: int = 3, **settings: object) -> Federation:
    chosen = {"rows": 12, "start": 1, "mixtures": 10, "mixed": 4, **settings}
    more = {"participation": chosen.pop("participation")} if "participation" in chosen else {}
    method = IFL(tau=2, anchors=Anchored(**chosen))  # type: ignore[arg-type]
    return tiny(method, SMALL, WIDE, count=count, **more)


def held(me: Client) -> torch.Tensor | None:
    return me.memory.of(Published).mixtures


def test_bytes_are_mixtures_once_and_then_predictions(tiny: Build) -> None:
    b, n, m = 8, 3, 10
    z, y = ("F32", [b, DIM], 4), ("U8", [b], 1)
    pool = {"z": ("F32", [n * b, DIM], 4), "y": ("U8", [n * b], 1)}
    p, x, every = (
        ("F32", [12, CLASSES], 4),
        ("F32", [m, *SHAPE], 4),
        ("F32", [n * m, *SHAPE], 4),
    )
    up, down = b * (4 * DIM + 1), n * b * (4 * DIM + 1)
    first = (
        up + 4 * m * 36 + header(z=z, y=y, x=x),
        down + 4 * n * m * 36 + header(**pool, x=every) + header(ask=("U8", [0], 1)),
    )
    later = 4 * 12 * CLASSES
    second = (up + later + header(z=z, y=y, p=p), down + later + header(**pool, p=p))
    expected = [tuple(n * size for size in sizes) for sizes in (first, second, second)]
    assert totals(publishing(tiny), 3) == expected


def test_a_mixture_is_the_mean_of_samples_of_as_many_classes_as_there_are(tiny: Build) -> None:
    me = clients(publishing(tiny))[0]
    y = torch.arange(40) % 5
    me.shard = Shard(torch.eye(40), y)  # a mean tells whose it is
    for mixed, classes in ((1, 1), (3, 3), (5, 5), (10, 5)):
        found = mixtures(me, 6, mixed)
        assert torch.equal(found, mixtures(me, 6, mixed))
        assert len(found.unique(dim=0)) > 1
        for row in found:
            behind = row.nonzero().flatten()
            assert torch.allclose(row[behind], torch.full((mixed,), 1 / mixed))
            assert y[behind].bincount().max() == mixed // classes
    for row in mixtures(me, 6, 3, "within"):
        behind = row.nonzero().flatten()
        assert len(behind) == 3
        assert len(y[behind].unique()) == 1
    one = torch.full((40,), 1 / 40)
    assert torch.allclose(mixtures(me, 2, 40), one.expand(2, -1))


def test_a_class_with_too_few_samples_has_no_mixture_of_its_own(tiny: Build) -> None:
    me = clients(publishing(tiny))[0]
    y = torch.tensor([0] * 5 + [2] * 2 + [3] * 7 + [4])
    me.shard = Shard(torch.eye(15), y)
    found = mixtures(me, 8, 3, "within")
    classes = [y[row.nonzero().flatten()].unique().tolist() for row in found]
    assert classes == [[0], [3]] * 4
    with pytest.raises(
        ConfigError, match="got 8 while client 0 .* has 7 samples of one class; low"
    ):
        Anchored(rows=4, mixtures=4, mixed=8, mix="within").check(me)


def test_all_hold_the_mixtures_of_all_in_client_order_and_learn_of_them(tiny: Build) -> None:
    federation = publishing(tiny)
    expected = torch.cat([mixtures(me, 10, 4) for me in clients(federation)])
    play(federation, 3)
    for me in clients(federation):
        assert me.anchors is None
        assert torch.equal(held(me), expected)  # type: ignore[arg-type]
        kept = me.memory.of(Agreed)
        assert [len(where) for where in kept.anchor_places] == [12, 12]
        assert max(int(where.max()) for where in kept.anchor_places) >= 10  # others', too
    silent = publishing(tiny, weight=0)
    play(silent, 3)
    taught, other = clients(federation)[0], clients(silent)[0]
    assert not equal(parameters(taught.model), parameters(other.model))


@pytest.mark.parametrize("send", ["predictions", "both"])
def test_who_missed_the_first_round_says_and_learns_nothing_of_anchors(
    tiny: Build, send: str
) -> None:
    federation = publishing(
        tiny, count=4, participation=Participation(0.5), rows=12, mixtures=5, send=send
    )
    ledger = play(federation, 8)
    came = [{row[1] for row in rows if row[0] == "up"} for rows in ledger]
    publishers = {row[1] for row in ledger[0] if row[2] == "x"}
    assert publishers == came[0]
    assert len(publishers) == 2
    late = set().union(*came) - publishers
    assert late
    for rows in ledger[1:]:
        assert "x" not in {row[2] for row in rows}
        for way in ("up", "down"):
            spoke = {row[1] for row in rows if row[0] == way and row[2] == "p"}
            assert spoke == {row[1] for row in rows if row[0] == way} & publishers
    for me in clients(federation):
        assert (held(me) is not None) == (me.number in publishers)
        assert bool(me.memory.of(Agreed).anchor_places) == (me.number in publishers)
        for where in me.memory.of(Agreed).anchor_places:
            assert len(where) == 10  # of 12: two clients published five each


def test_a_first_round_without_clients_leaves_it_to_the_next(tiny: Build) -> None:
    participation = Participation(dropout=0.9)
    federation = publishing(tiny, count=2, participation=participation, rows=4, mixtures=4)
    ledger = play(federation, 20)
    first = next(number for number, rows in enumerate(ledger) if rows)
    assert first > 0
    assert {row[1] for row in ledger[first] if row[2] == "x"}
    assert not {row[2] for rows in ledger[first + 1 :] for row in rows} & {"x", "ask"}


def test_a_resumed_federation_goes_on_as_if_nothing_had_been(tiny: Build) -> None:
    whole, first, second = (publishing(tiny, send="both") for _ in range(3))
    play(whole, 4)
    play(first, 2)
    second.engine.load_state(first.engine.state())
    for number in (3, 4):
        second.engine.round(number)
    for one, two in zip(clients(whole), clients(second), strict=True):
        assert equal(parameters(one.model), parameters(two.model))
        assert torch.equal(held(one), held(two))  # type: ignore[arg-type]


def test_what_does_not_go_together_is_refused(tiny: Build) -> None:
    some = Anchored(rows=12, mixtures=10)
    with pytest.raises(ConfigError, match=r"mixtures=10 stands in for .* there are 40; set an"):
        tiny(IFL(anchors=some), anchors=HeldOut(40))
    with pytest.raises(ConfigError, match="rows=21 needs as many anchors, got 2 clients with"):
        tiny(IFL(anchors=Anchored(rows=21, mixtures=10)))
    with pytest.raises(ConfigError, match="mixed must not exceed the smallest shard, got 121 wh"):
        tiny(IFL(anchors=Anchored(rows=12, mixtures=10, mixed=121)))
    with pytest.raises(ConfigError, match="sends mixtures of samples and predictions, which priv"):
        tiny(IFL(anchors=some), privacy=Privacy(label_epsilon=4))
    with pytest.raises(ConfigError, match="mixtures=3 needs method.anchors.rows of 1"):
        Anchored(mixtures=3)
    with pytest.raises(ConfigError, match="mixed must be a whole number >= 1, got 0"):
        Anchored(mixed=0)
    with pytest.raises(ConfigError, match="mix must be one of across, within, got both"):
        Anchored(mix="both")
    with pytest.raises(ConfigError, match="method=local sends nothing"):
        Local(anchors=some)
    me = clients(tiny(IFL(), partition=Classes(2)))[0]
    me.shard = Shard(torch.zeros(20, 5, dtype=torch.int64), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(ConfigError, match="and client 0 .* has tokens, which have no mean; set"):
        some.check(me, 2)
    with pytest.raises(ConfigError, match="needs memory of vendor 0 at the server"):
        some.check(Absent("vendor 0", 0, me.training, 20, [0, 1]), 2)

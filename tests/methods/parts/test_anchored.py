from itertools import combinations_with_replacement

import pytest
import torch
from closed_forms import header, totals
from conftest import CLASSES, DIM, SMALL, WIDE, Build, clients, equal, parameters, play
from torch.nn.functional import cross_entropy, one_hot

from ifl.client.privacy import Privacy
from ifl.comm.message import Message
from ifl.data.anchors import HeldOut
from ifl.data.augment import Distortion
from ifl.data.partition import Classes
from ifl.errors import ConfigError
from ifl.federation.build import Federation
from ifl.methods.ifl import IFL
from ifl.methods.local import Local
from ifl.methods.parts.agreement import agree, balanced
from ifl.methods.parts.anchors import Anchored
from ifl.methods.parts.public_samples import Agreed, fusion, places

PUBLIC = HeldOut(40)


def anchored(tiny: Build, **settings: object) -> Federation:
    method = IFL(tau=2, anchors=Anchored(**{"rows": 12, "start": 1, **settings}))  # type: ignore[arg-type]
    return tiny(method, SMALL, WIDE, anchors=PUBLIC, count=3)


def test_bytes_are_those_of_the_method_and_the_predictions(tiny: Build) -> None:
    plain, b = IFL(tau=1), 8
    federation = tiny(IFL(tau=1, anchors=Anchored(rows=12)), count=3, anchors=PUBLIC)
    p = ("F32", [12, CLASSES], 4)
    z, y = ("F32", [b, DIM], 4), ("U8", [b], 1)
    up = b * (4 * DIM + 1) + 4 * 12 * CLASSES + header(z=z, y=y, p=p)
    pool = {"z": ("F32", [3 * b, DIM], 4), "y": ("U8", [3 * b], 1), "p": p}
    down = 3 * b * (4 * DIM + 1) + 4 * 12 * CLASSES + header(**pool)
    assert totals(federation, 3) == [(3 * up, 3 * down)] * 3
    assert totals(tiny(plain, count=3), 1) < [(3 * up, 3 * down)]


def test_bytes_of_z_are_those_of_z_and_a_weight_a_row(tiny: Build) -> None:
    b, n = 8, 3
    z, y = ("F32", [b, DIM], 4), ("U8", [b], 1)
    pool = {"z": ("F32", [n * b, DIM], 4), "y": ("U8", [n * b], 1)}
    za, w, p = ("F32", [12, DIM], 4), ("I32", [12], 4), ("F32", [12, CLASSES], 4)
    for send, up, down in (
        ("z", {"za": za, "w": w}, {"za": za}),
        ("both", {"za": za, "w": w, "p": p}, {"za": za, "p": p}),
    ):
        federation = tiny(IFL(tau=1, anchors=Anchored(rows=12, send=send)), count=n, anchors=PUBLIC)
        both = 4 * 12 * CLASSES * (send == "both")
        uplink = b * (4 * DIM + 1) + 4 * 12 * DIM + 4 * 12 + both + header(z=z, y=y, **up)
        downlink = n * b * (4 * DIM + 1) + 4 * 12 * DIM + both + header(**pool, **down)
        assert totals(federation, 2) == [(n * uplink, n * downlink)] * 2


def test_a_row_of_z_weighs_as_many_samples_as_its_class_has(tiny: Build) -> None:
    method = IFL(tau=1, anchors=Anchored(rows=40, send="both"))
    federation = tiny(method, partition=Classes(2), count=2, anchors=PUBLIC)
    told = []
    for me in clients(federation):
        said = method.anchors.told(me, 1)
        assert me.anchors is not None
        with torch.no_grad():
            held = torch.bincount(me.shard.y, minlength=CLASSES)
            z = me.model.base(me.anchors[places(me, 40, 1)])
            predicted = one_hot(me.model.modular(z).argmax(dim=1), CLASSES)
        assert torch.allclose(said["za"], z, atol=1e-6)
        assert torch.equal(said["w"].long(), predicted @ held)
        alike = Anchored(rows=40, send="z", weighted=False).told(me, 1)
        assert set(alike) == {"za", "w"}
        assert alike["w"].tolist() == [1] * 40
        told.append(Message(**said))
    first, second = told
    agreed = agree(told)["za"]
    for row in range(40):
        a, b = int(first["w"][row]), int(second["w"][row])
        a, b = (a, b) if a + b else (1, 1)
        mean = (a * first["za"][row] + b * second["za"][row]) / (a + b)
        assert torch.allclose(agreed[row], mean, atol=1e-6)


def test_where_nobody_knows_the_class_the_mean_of_z_is_the_plain_one() -> None:
    z = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    weights = torch.tensor([[0, 1], [0, 3]], dtype=torch.int32)
    told = [Message(za=k * z, w=w) for k, w in zip((1, 3), weights, strict=True)]
    agreed = agree(told)
    assert agreed.keys() == {"za"}
    assert torch.allclose(agreed["za"], torch.stack([2 * z[0], 2.5 * z[1]]))


def test_predictions_count_by_the_samples_of_each_class(tiny: Build) -> None:
    method = IFL(tau=1, anchors=Anchored(rows=6, start=1, power=1))
    federation = tiny(method, partition=Classes(2), count=2, anchors=PUBLIC)
    told = []
    for me in clients(federation):
        said = method.anchors.told(me, 1)["p"]
        held = torch.bincount(me.shard.y, minlength=CLASSES)
        assert torch.equal(said > 0, (held > 0).expand(6, -1))
        told.append(Message(p=said))
    agreed = agree(told)["p"]
    assert torch.allclose(agreed.sum(dim=1), torch.ones(6))
    total = sum(m["p"] for m in told)
    assert torch.allclose(agreed, total / total.sum(dim=1, keepdim=True))  # type: ignore[union-attr]


def test_balanced_predictions_have_the_class_shares_of_all_clients(tiny: Build) -> None:
    method = IFL(tau=1, anchors=Anchored(rows=40, start=1, balance=True))
    federation = tiny(method, partition=Classes(2), count=2, anchors=PUBLIC)
    told = [Message(**method.anchors.told(me, 1)) for me in clients(federation)]
    held = [torch.bincount(me.shard.y, minlength=CLASSES) for me in clients(federation)]
    assert [m["n"].tolist() for m in told] == [h.tolist() for h in held]
    p, plain = agree(told)["p"], agree([Message(p=m["p"]) for m in told])["p"]
    shares = sum(held) / sum(held).sum()  # type: ignore[union-attr]
    assert torch.allclose(p.sum(dim=1), torch.ones(40))
    apart, apart_plain = ((q.mean(dim=0) - shares).abs().max() for q in (p, plain))
    assert apart < apart_plain / 4


def test_balancing_is_that_of_the_matrix_that_fits_rows_and_columns() -> None:
    p = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    found = balanced(p, torch.tensor([0.5, 0.5]), 50)
    # a/b of the first row is 9/4 of that of the second, and both columns have the sum 1
    assert torch.allclose(found, torch.tensor([[0.6, 0.4], [0.4, 0.6]]), atol=1e-3)
    assert torch.equal(balanced(p, torch.tensor([1.0, 0.0])), torch.tensor([[1.0, 0.0]] * 2))


def test_bytes_of_balanced_predictions_are_those_and_a_count_a_class(tiny: Build) -> None:
    b, n = 8, 3
    federation = tiny(IFL(tau=1, anchors=Anchored(rows=12, balance=True)), count=n, anchors=PUBLIC)
    z, y, p = ("F32", [b, DIM], 4), ("U8", [b], 1), ("F32", [12, CLASSES], 4)
    pool = {"z": ("F32", [n * b, DIM], 4), "y": ("U8", [n * b], 1), "p": p}
    counts = ("I32", [CLASSES], 4)
    told = 4 * 12 * CLASSES
    up = b * (4 * DIM + 1) + told + 4 * CLASSES + header(z=z, y=y, p=p, n=counts)
    down = n * b * (4 * DIM + 1) + told + header(**pool)
    assert totals(federation, 2) == [(n * up, n * down)] * 2


def test_a_row_that_nobody_speaks_of_is_uniform() -> None:
    nothing = Message(p=torch.zeros(2, 4))
    assert torch.equal(agree([nothing, nothing])["p"], torch.full((2, 4), 0.25))
    assert agree([Message(z=torch.zeros(1))]) == {}


def test_targets_are_sharp_and_of_the_last_rounds(tiny: Build) -> None:
    federation = anchored(tiny, keep=2)
    me = clients(federation)[0]
    play(federation, 4)
    kept = me.memory.of(Agreed)
    assert [len(where) for where in kept.anchor_places] == [12, 12]
    assert not torch.equal(*kept.anchor_places)
    assert torch.allclose(kept.anchor_targets[1].sum(dim=1), torch.ones(12))
    Anchored(rows=12, keep=2).keep_targets(me, kept.anchor_places[0], torch.tensor([[3.0, 1.0]]))
    assert torch.allclose(kept.anchor_targets[-1], torch.tensor([[0.9, 0.1]]))
    others = clients(federation)[1].memory.of(Agreed)
    assert torch.equal(others.anchor_places[-1], me.memory.of(Agreed).anchor_places[0])


def test_a_step_is_the_gradient_of_both_losses(tiny: Build) -> None:
    settings = {"rows": 4, "start": 1, "keep": 1, "batch": 5, "weight": 0.7}
    federation = tiny(IFL(tau=1, anchors=Anchored(**settings)), anchors=PUBLIC, count=2)  # type: ignore[arg-type]
    play(federation, 1)
    me = clients(federation)[0]
    term = federation.engine.method.anchors.term(me, 2)  # type: ignore[attr-defined]
    kept, twin = me.memory.of(Agreed), federation.engine.method.anchors.term(me, 2)  # type: ignore[attr-defined]
    value = term()
    assert torch.equal(value, twin())
    assert me.anchors is not None
    shown = me.anchors[kept.anchor_places[0]]
    every = cross_entropy(me.model(shown), kept.anchor_targets[0], reduction="none")
    means = [0.7 * every[list(some)].mean() for some in combinations_with_replacement(range(4), 5)]
    assert any(torch.allclose(value, mean) for mean in means)


@pytest.mark.parametrize("send", ["z", "both"])
def test_a_step_on_z_is_the_gradient_of_the_squared_distance(tiny: Build, send: str) -> None:
    settings = Anchored(rows=1, send=send, start=1, keep=1, batch=2, weight=0.7)
    federation = tiny(IFL(tau=1, anchors=settings), anchors=PUBLIC, count=2)
    play(federation, 1)
    me = clients(federation)[0]
    kept, term = me.memory.of(Agreed), settings.term(me, 2)
    assert me.anchors is not None
    assert term is not None
    z = me.model.base(me.anchors[kept.anchor_places[0]])
    expected = 0.7 * (z - kept.anchor_fusions[0]).square().sum() / DIM
    if send == "both":
        expected = expected + 0.7 * cross_entropy(me.model.modular(z), kept.anchor_targets[0])
    assert torch.allclose(term(), expected, rtol=1e-4)
    weights = list(me.model.base.parameters())
    found, wanted = (torch.autograd.grad(value, weights) for value in (term(), expected))
    assert all(
        torch.allclose(*pair, rtol=1e-3, atol=1e-6) for pair in zip(found, wanted, strict=True)
    )


def test_a_client_taught_z_comes_nearer_to_the_mean(tiny: Build) -> None:
    taught = anchored(tiny, rows=40, send="z", distort=False)
    silent = anchored(tiny, rows=40, send="z", weight=0)
    for federation in (taught, silent):
        play(federation, 6)

    def apart(federation: Federation) -> float:
        """Return how far clients are from their mean, over how far anchors are from theirs."""
        z = torch.stack([fusion(me, torch.arange(40)) for me in clients(federation)])
        among = (z - z.mean(dim=1, keepdim=True)).square().mean()
        return float((z - z.mean(dim=0)).square().mean() / among)

    assert apart(taught) < apart(silent)


def test_without_weight_or_before_the_start_it_learns_as_ifl(tiny: Build) -> None:
    plain = tiny(IFL(tau=2), SMALL, WIDE, anchors=PUBLIC, count=3)
    silent, late, taught = anchored(tiny, weight=0), anchored(tiny, start=9), anchored(tiny)
    for federation in (plain, silent, late, taught):
        play(federation, 3)
    for a, b, c, d in zip(*map(clients, (plain, silent, late, taught)), strict=True):
        assert equal(parameters(a.model), parameters(b.model))
        assert equal(parameters(a.model), parameters(c.model))
        assert not equal(parameters(a.model), parameters(d.model))


def test_a_taught_client_agrees_more_with_what_was_agreed(tiny: Build) -> None:
    taught, silent = anchored(tiny, rows=40, distort=False), anchored(tiny, rows=40, weight=0)
    play(taught, 6)
    play(silent, 6)
    for one, two in zip(clients(taught), clients(silent), strict=True):
        kept = one.memory.of(Agreed)
        where, targets = kept.anchor_places[-1], kept.anchor_targets[-1]
        with torch.no_grad():
            apart = [
                cross_entropy(me.model(me.anchors[where]), targets)  # type: ignore[index]
                for me in (one, two)
            ]
        assert apart[0] < apart[1]


def test_a_client_alone_teaches_itself_and_says_nothing(tiny: Build) -> None:
    settings = Anchored(rows=40, start=2, keep=1, distort=False)
    alone, plain = (tiny(m, WIDE, anchors=PUBLIC) for m in (Local(anchors=settings), Local()))
    assert totals(alone, 4) == [(0, 0)] * 4
    play(plain, 4)
    for one, other in zip(clients(alone), clients(plain), strict=True):
        kept = one.memory.of(Agreed)
        assert one.anchors is not None
        with torch.no_grad():
            p = one.model(one.anchors[kept.anchor_places[0]]).softmax(dim=1) ** 2
        assert torch.allclose(kept.anchor_targets[0], p / p.sum(dim=1, keepdim=True))
        assert not equal(parameters(one.model), parameters(other.model))


def test_the_student_sees_anchors_distorted(tiny: Build) -> None:
    seen = []

    def augment(x: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        seen.append(len(x))
        return Distortion()(x, draws)

    for distort, sizes in ((True, {8, 12, 5}), (False, {8, 12})):
        seen.clear()
        method = IFL(tau=1, anchors=Anchored(rows=12, start=1, batch=5, distort=distort))
        federation = tiny(method, anchors=PUBLIC, augment=augment)
        seen.clear()
        play(federation, 2)
        assert {*seen} <= sizes
        assert (5 in seen) == distort


@pytest.mark.parametrize("send", ["predictions", "z", "both"])
def test_a_resumed_client_goes_on_as_if_nothing_had_been(tiny: Build, send: str) -> None:
    whole, first, second = (anchored(tiny, send=send) for _ in range(3))
    play(whole, 4)
    play(first, 2)
    second.engine.load_state(first.engine.state())
    for number in (3, 4):
        second.engine.round(number)
    for one, two in zip(clients(whole), clients(second), strict=True):
        assert equal(parameters(one.model), parameters(two.model))


def test_what_does_not_go_together_is_refused(tiny: Build) -> None:
    with pytest.raises(ConfigError, match="rows=12 needs as many anchors, got 0; choose anchors=h"):
        tiny(IFL(anchors=Anchored(rows=12)))
    with pytest.raises(ConfigError, match="rows=41 needs as many anchors, got 40; take fewer"):
        tiny(IFL(anchors=Anchored(rows=41)), anchors=PUBLIC)
    with pytest.raises(ConfigError, match="rows=12 sends predictions, which privacy does not hide"):
        tiny(IFL(anchors=Anchored(rows=12)), anchors=PUBLIC, privacy=Privacy(label_epsilon=4))
    both = Anchored(rows=12, send="both")
    with pytest.raises(ConfigError, match="rows=12 sends predictions and z, which privacy"):
        tiny(IFL(anchors=both), anchors=PUBLIC, privacy=Privacy(label_epsilon=4))
    with pytest.raises(ConfigError, match="send must be one of predictions, z, both, got logits"):
        Anchored(send="logits")
    with pytest.raises(ConfigError, match="method=local sends nothing, so that"):
        Local(anchors=Anchored(send="z"))
    with pytest.raises(ConfigError, match="method.anchors must have the settings rows, send"):
        IFL(anchors=3)  # type: ignore[arg-type]

"""IFL on means and covariances: written out, its bytes, and what it refuses."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from closed_forms import header, totals
from conftest import CLASSES, DIM, PLAIN, SMALL, TINY, WIDE, Build, clients, parameters, play
from torch import nn
from torch.nn.functional import cross_entropy

from ifl.client.client import Client
from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.comm.message import Message
from ifl.data.partition import Classes, Iid
from ifl.errors import ConfigError, MessageError
from ifl.federation.build import Federation, build
from ifl.federation.member import Member
from ifl.methods.ifl_statistics import IFLStatistics, Statistics
from ifl.methods.parts.replay import Align
from ifl.seeding import rng

B = 8  # the batch size of the tiny federation


def two_classes_each(method: IFLStatistics, count: int = 3) -> Federation:
    training = Training(Optimizers(PLAIN, PLAIN), batch_size=B)
    return build(TINY, Classes(2), [SMALL, WIDE], count, method, training, Float32(), DIM)


def descend(loss: torch.Tensor, block: nn.Module) -> None:
    weights = list(block.parameters())
    with torch.no_grad():
        for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.sub_(0.05 * grad)


def statistics_of(twins: Sequence[Client]) -> list[tuple[int, int, torch.Tensor, torch.Tensor]]:
    """Return (class, samples, mean, sd) in client order, classes ascending."""
    found = []
    for me in twins:
        with torch.no_grad():
            z = me.model.base(me.shard.inputs())
        for c in range(CLASSES):
            mine = z[me.shard.y == c]
            if len(mine):
                found.append((c, len(mine), mine.mean(dim=0), mine.std(dim=0, unbiased=False)))
    return found


def centroids(told: Sequence[tuple[int, int, torch.Tensor, torch.Tensor]]) -> dict[int, Any]:
    """Return the mean of each class, weighted by samples."""
    return {
        c: sum(n * mean for k, n, mean, _ in told if k == c) / sum(n for k, n, *_ in told if k == c)
        for c in {c for c, *_ in told}
    }


@pytest.mark.parametrize(("rows", "clamped"), [(None, None), (20, False)])
def test_it_is_the_two_stages_written_out(rows: int | None, clamped: bool | None) -> None:
    method = IFLStatistics(tau=2, steps=3, rows=rows, align=Align(0.5), nonnegative=clamped)
    federation = two_classes_each(method)
    twins = clients(two_classes_each(IFLStatistics()))
    assert len({tuple(me.classes.tolist()) for me in twins}) > 1
    means: dict[int, Any] = {}
    for number in range(1, 4):
        for me in twins:
            for _ in range(2):
                x, y = me.batch()
                z = me.model.base(x)
                pulls = [
                    ((row - means[c]) ** 2).sum() / DIM
                    for row, c in zip(z, y.tolist(), strict=True)
                    if c in means
                ]
                loss = cross_entropy(me.model.modular(z), y)
                descend(loss + 0.5 * sum(pulls) / len(y), me.model.base)
        told = statistics_of(twins)
        means = centroids(told)
        chances = torch.tensor([n for _, n, _, _ in told], dtype=torch.float64)
        for me in twins:
            draws, count = rng(0, "client", me.number, "statistics", number), rows or 3 * B
            for _ in range(3):
                chosen = torch.multinomial(chances, count, replacement=True, generator=draws)
                noise = torch.randn(count, DIM, generator=draws)
                picked = [told[i] for i in chosen.tolist()]
                pairs = zip(picked, noise, strict=True)
                z = torch.stack([mean + sd * n for (_, _, mean, sd), n in pairs])
                z = z if clamped is False else z.relu()  # all base blocks end with a ReLU
                y = torch.tensor([c for c, *_ in picked])
                descend(cross_entropy(me.model.modular(z), y), me.model.modular)
    play(federation, 3)
    for ours, theirs in zip(clients(federation), twins, strict=True):
        for p, q in zip(parameters(ours.model), parameters(theirs.model), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_bytes_are_the_closed_form_of_the_classes_that_are_held() -> None:
    federation, n = two_classes_each(IFLStatistics(), 4), 4
    up = rows = 0
    for me in clients(federation):
        c = len(torch.unique(me.shard.y))
        shapes = {"z": ("F32", [c, DIM], 4), "sd": ("F32", [c, DIM], 4), "y": ("U8", [c], 1)}
        up += c * (8 * DIM + 1 + 1) + header(**shapes, samples=("U8", [c], 1))
        rows += c
    shapes = {"z": ("F32", [rows, DIM], 4), "sd": ("F32", [rows, DIM], 4), "y": ("U8", [rows], 1)}
    down = rows * (8 * DIM + 1 + 1) + header(**shapes, samples=("U8", [rows], 1))
    assert totals(federation, 3) == [(up, n * down)] * 3


@pytest.mark.parametrize("count", [2, 5])
def test_merged_they_cost_each_receiver_the_same_however_many_there_are(count: int) -> None:
    federation, c = two_classes_each(IFLStatistics(relay="merged"), count), CLASSES
    shapes = {"z": ("F32", [c, DIM], 4), "sd": ("F32", [c, DIM], 4), "y": ("U8", [c], 1)}
    down = c * (8 * DIM + 1 + 4) + header(**shapes, samples=("I32", [c], 4))
    assert [pair[1] for pair in totals(federation, 2)] == [count * down] * 2


@pytest.mark.parametrize("covariance", ["full", "pooled"])
@pytest.mark.parametrize("relay", ["all", "merged"])
def test_bytes_of_covariances_are_the_closed_form(covariance: str, relay: str) -> None:
    federation, n = two_classes_each(IFLStatistics(covariance=covariance, relay=relay), 4), 4
    triangle, pooled = DIM * (DIM + 1) // 2, covariance == "pooled"

    def weight(c: int, clients: int, count: tuple[str, int], held: bool = False) -> int:
        factors = clients if pooled else c
        shapes = {"z": ("F32", [c, DIM], 4), "factor": ("F32", [factors, triangle], 4)}
        shapes |= {"y": ("U8", [c], 1), "samples": (count[0], [c], count[1])}
        if held:
            shapes["held"] = ("I32", [clients], 4)
        numbers = c * (4 * DIM + 1 + count[1]) + 4 * factors * triangle + 4 * clients * held
        return numbers + header(**shapes)

    sizes = [len(torch.unique(me.shard.y)) for me in clients(federation)]
    up = sum(weight(c, 1, ("U8", 1)) for c in sizes)
    if relay == "all":
        down = weight(sum(sizes), n, ("U8", 1), pooled)
    else:
        down = weight(CLASSES, 1, ("I32", 4), pooled)
    assert totals(federation, 2) == [(up, n * down)] * 2


@pytest.mark.parametrize(("last", "clamped"), [(nn.ReLU(), True), (nn.Identity(), None)])
def test_draws_are_as_nonnegative_as_the_z_of_all(last: nn.Module, clamped: bool | None) -> None:
    def base() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, DIM), last)

    other = Member("other", base, SMALL.modular)
    training = Training(Optimizers(PLAIN, PLAIN), batch_size=B)
    for told, expected in ((None, clamped), (True, True), (False, None)):
        method = IFLStatistics(nonnegative=told)
        federation = build(TINY, Iid(), [SMALL, other], 2, method, training, Float32(), DIM)
        kept = {me.memory.of(Statistics).nonnegative for me in clients(federation)}
        assert kept == {expected}


def test_merged_and_not_they_pull_to_the_same_means() -> None:
    method = {relay: IFLStatistics(align=Align(1.0), relay=relay) for relay in ("all", "merged")}
    pulls = []
    for relay in ("all", "merged"):
        federation = two_classes_each(method[relay])
        play(federation, 1)
        me = clients(federation)[0]
        kept = me.memory.of(Statistics).gaussians
        assert kept
        pull = method[relay].align.towards(me, **kept)
        pulls.append(pull(torch.ones(CLASSES, DIM), torch.arange(CLASSES)).item())
    assert pulls[0] == pytest.approx(pulls[1], rel=1e-5)


def test_what_is_not_aligned_keeps_nothing_between_rounds(tiny: Build) -> None:
    federation = tiny(IFLStatistics())
    play(federation, 2)
    kept = {"clients": 2, "nonnegative": True}
    assert [me.memory.state() for me in clients(federation)] == [kept] * 2
    assert federation.engine.server.state() == {}


@pytest.mark.parametrize("covariance", ["diagonal", "full", "pooled"])
def test_modular_blocks_learn_from_what_is_drawn(covariance: str, tiny: Build) -> None:
    method = IFLStatistics(steps=5, align=Align(1.0), covariance=covariance)
    federation = tiny(method, SMALL, WIDE)
    play(federation, 40)
    tested = federation.engine.evaluate(TINY.test.inputs(), TINY.test.y)
    assert tested.cross is not None
    assert tested.cross > 0.5  # chance is 0.25


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sd": torch.zeros(3, DIM)}, r"sd has the shape \(3, 8\), expected \(4, 8\)"),
        ({"sd": torch.full((4, DIM), float("inf"))}, "sd is not finite"),
        ({"z": torch.full((4, DIM), float("nan"))}, "z is not finite"),
        ({"y": torch.tensor([0, 1, 2, 4])}, "y holds 0 to 4, allowed are 0 to 3"),
        ({"samples": torch.tensor([0, 1, 1, 1], dtype=torch.uint8)}, "samples holds 0 to 1"),
        ({"samples": torch.tensor([1, 1, 1, 121], dtype=torch.uint8)}, "samples holds 1 to 121"),
        ({"samples": torch.ones(4, dtype=torch.int32)}, "samples is of torch.int32, expected"),
    ],
)
def test_wrong_statistics_are_refused(
    change: dict[str, torch.Tensor], reason: str, tiny: Build
) -> None:
    engine = tiny(IFLStatistics()).engine
    upload = {"z": torch.zeros(4, DIM), "sd": torch.zeros(4, DIM), "y": torch.arange(4)}
    upload["samples"] = torch.ones(4, dtype=torch.uint8)
    forms = {0: engine.server.expects(0)[0]}
    assert engine.channel.up({0: Message(**upload)}, forms)[1] == {}
    _, refused = engine.channel.up({0: Message(**{**upload, **change})}, forms)
    with pytest.raises(MessageError, match=reason):
        raise refused[0]


@pytest.mark.parametrize("covariance", ["full", "pooled"])
def test_wrong_covariances_are_refused(covariance: str, tiny: Build) -> None:
    engine = tiny(IFLStatistics(covariance=covariance)).engine
    rows, triangle = (4 if covariance == "full" else 1), DIM * (DIM + 1) // 2
    upload = {"z": torch.zeros(4, DIM), "factor": torch.zeros(rows, triangle)}
    upload |= {"y": torch.arange(4), "samples": torch.ones(4, dtype=torch.uint8)}
    forms = {0: engine.server.expects(0)[0]}
    assert engine.channel.up({0: Message(**upload)}, forms)[1] == {}
    for factor, reason in (
        (torch.zeros(rows, triangle - 1), r"shape \(\d, 35\), expected \(\d, 36\)"),
        (torch.zeros(rows + 1, triangle), "factor has the shape"),
        (torch.full((rows, triangle), float("nan")), "factor is not finite"),
    ):
        _, refused = engine.channel.up({0: Message(**{**upload, "factor": factor})}, forms)
        with pytest.raises(MessageError, match=reason):
            raise refused[0]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"tau": 0}, "local.tau must be a whole number >= 1, got 0"),
        ({"steps": 0}, "method.steps must be a whole number >= 1, got 0"),
        ({"rows": 0}, "method.rows must be a whole number >= 1, got 0"),
        ({"rows": "all"}, "method.rows must be a whole number >= 1, got all"),
        ({"align": 1}, "method.align must have the settings weight, got 1; set these"),
        ({"relay": "sample"}, "method.relay must be one of all, merged, got sample"),
        ({"covariance": "tied"}, "method.covariance must be one of diagonal, full, pooled, got ti"),
        ({"nonnegative": 1}, "method.nonnegative must be true or false, got 1"),
    ],
)
def test_wrong_settings_are_sentences(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        IFLStatistics(**wrong)

"""Speed must not change an answer: workers, memory format, fused optimisers, pooling order."""

from collections.abc import Mapping
from functools import partial
from threading import current_thread, main_thread

import pytest
import torch
from conftest import (
    SMALL,
    TINY,
    WIDE,
    Build,
    clients,
    composed,
    equal,
    parameters,
    play,
)
from torch import Tensor, nn

from ifl.cli.build import assemble
from ifl.client.client import Client
from ifl.comm.codecs import Envelope, Stream
from ifl.errors import ConfigError
from ifl.federation.build import Federation
from ifl.federation.member import Member
from ifl.federation.workers import Workers, available_device
from ifl.methods.ifl import IFL
from ifl.methods.local import Local
from ifl.trials.bench import rounds
from ifl.trials.bench.rounds import Floor, FloorFL, FloorIFL, federation

# Plain SGD: momentum would amplify the last digits within 200 steps.
SLOW = [
    "optimizer=sgd",
    "batch_size=8",
    "optimizer.base.fused=false",
    "optimizer.modular.fused=false",
]
FAST = ["optimizer=sgd", "batch_size=8", "local.tau=3", "runtime.workers=2"]
SIDES: dict[str, tuple[list[str], type[Floor]]] = {
    "fl": (["experiment=bench/w1"], FloorFL),
    "ifl": (["clients=paper"], FloorIFL),
}


def both_sides(method: str, double: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Train 20 rounds either way; return the largest difference, and the largest movement."""
    overrides, floor_type = SIDES[method]
    fast, twin = (assemble(composed(*overrides, *FAST)) for _ in range(2))
    if double:
        monkeypatch.setattr("ifl.comm.message.FLOATS", torch.float64)
        for federation in (fast, twin):
            federation.engine.channel.codec = Float64()
            for me in federation.engine.clients:
                me.model.double()
                me.learner.x = me.learner.x.double()

    class SameBatches(floor_type):  # type: ignore[misc, valid-type]
        def batch(self, client: int) -> tuple[Tensor, Tensor]:
            x, y = twin.engine.clients[client].batch()
            return x, y

    monkeypatch.setattr(rounds, "TAU", 3)
    floor = SameBatches(twin, momentum=0.0)
    floor.test = tuple(t[:1].to(fast.engine.clients[0].learner.x.dtype) for t in floor.test)
    floor()
    floor()  # ten rounds each
    play(fast, 20)
    pairs = [
        (ours, plain, start)
        for me, net, twin_me in zip(
            fast.engine.clients, floor.nets, twin.engine.clients, strict=True
        )
        for ours, plain, start in zip(
            parameters(me.model), parameters(net), parameters(twin_me.model), strict=True
        )
    ]
    difference = max(float((ours - plain).abs().max()) for ours, plain, _ in pairs)
    return difference, max(float((ours - start).abs().max()) for ours, _, start in pairs)


class Float64(Envelope):
    def encode(self, tensor: Tensor, stream: Stream | None = None) -> dict[str, Tensor]:
        return {"": tensor}

    def decode(self, parts: Mapping[str, Tensor]) -> Tensor:
        return parts[""]


@pytest.mark.parametrize("method", SIDES)
def test_the_fast_path_is_the_plain_loop_after_20_rounds(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    difference, movement = both_sides(method, True, monkeypatch)
    assert movement > 1e-3
    assert difference < 1e-9


@pytest.mark.parametrize("method", SIDES)
def test_in_float32_the_paths_differ_by_rounding(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rounding turns single ReLUs on or off, and that much of a step then differs.
    difference, movement = both_sides(method, False, monkeypatch)
    assert difference < 0.03 * movement


def test_the_fast_path_sends_the_same_bytes_as_the_slow_one() -> None:
    rows = [
        play(assemble(composed("runtime.workers=1", *chosen)), 2) for chosen in (FAST[:3], SLOW)
    ]
    assert rows[0] == rows[1]


def state(federation: Federation) -> list[Tensor]:
    return [p for me in clients(federation) for p in parameters(me.model)]


# Every other method: tests/runs/test_checkpoint.py goes on with two workers.
@pytest.mark.parametrize("method", ["ifl", "fl", "fsl", "centralized", "local"])
def test_two_workers_give_what_one_gives_to_the_last_bit(method: str) -> None:
    small = ["clients=mlp_homogeneous", "clients.members.0.base.widths=[64]", "fusion.dim=32"]
    base = [*f"method={method}".split(), *small, "local.tau=2", "batch_size=8"]
    one, two = (assemble(composed(*base, f"runtime.workers={n}")) for n in (1, 2))
    assert [one.engine.round(n) for n in (1, 2)] == [two.engine.round(n) for n in (1, 2)]
    assert equal(state(one), state(two))
    x, y = one.data.test.inputs(), one.data.test.y
    assert one.engine.evaluate(x, y) == two.engine.evaluate(x, y)
    torch.set_num_threads(1)


def test_clients_that_draw_random_numbers_take_turns_alone(tiny: Build) -> None:
    threads: list[bool] = []

    class Watch(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            threads.append(current_thread() is main_thread())
            return z

    def modular(dropout: bool) -> nn.Module:
        return nn.Sequential(
            nn.Dropout(0.5) if dropout else nn.Identity(), Watch(), SMALL.modular()
        )

    drawing = Member("drawing", SMALL.base, partial(modular, True))
    quiet = Member("quiet", SMALL.base, partial(modular, False))
    for member, alone in ((drawing, True), (quiet, False)):
        federation = tiny(Local(tau=1), member, count=2)
        assert [me.draws for me in clients(federation)] == [alone] * 2
        federation.engine.workers = Workers(2)
        threads.clear()
        federation.engine.round(1)
        assert threads == [alone] * 2


def test_workers_keep_the_order_and_pass_errors_on() -> None:
    workers = Workers(2)
    assert workers.map(lambda n: n * n, range(20)) == [n * n for n in range(20)]
    assert workers.map(lambda _: torch.get_num_threads(), range(4)) == [1] * 4
    with pytest.raises(ZeroDivisionError):
        workers.map(lambda n: 1 / n, [1, 0])


def test_a_round_does_not_depend_on_the_order_of_workers(tiny: Build) -> None:
    one, many = tiny(IFL(), SMALL, WIDE, count=6), tiny(IFL(), SMALL, WIDE, count=6)
    many.engine.workers = Workers(4)
    assert play(one, 4) == play(many, 4)
    assert equal(state(one), state(many))


def test_shards_are_views_of_one_copy_of_the_data(tiny: Build) -> None:
    storages = {me.shard.x.untyped_storage().data_ptr() for me in clients(tiny(IFL(), count=5))}
    assert len(storages) == 1
    assert storages != {TINY.train.x.untyped_storage().data_ptr()}


def test_a_device_that_is_not_there_is_replaced_with_a_sentence() -> None:
    assert available_device("cpu") == ("cpu", None)
    missing = f"cuda:{torch.cuda.device_count()}"
    assert available_device(missing) == (
        "cpu",
        f"runtime.device={missing} is not on this machine: going on with the CPU.",
    )
    with pytest.raises(ConfigError, match="runtime.device must be cpu, cuda or .*, got gpu"):
        available_device("gpu")


def test_the_bench_floor_has_the_projects_networks(tiny: Build) -> None:
    built = federation("digits", "IFL")
    floor = FloorIFL(built)
    client: Client = built.engine.clients[0]
    x = client.shard.inputs()[:5]
    with torch.no_grad():
        assert torch.allclose(floor.nets[0](x), client.model(x), atol=1e-6)

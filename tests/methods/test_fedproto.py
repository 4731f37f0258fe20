from collections.abc import Sequence
from functools import partial

import pytest
import torch
from closed_forms import header, totals
from conftest import (
    CLASSES,
    DIM,
    PLAIN,
    SHAPE,
    SMALL,
    TINY,
    WIDE,
    Build,
    clients,
    equal,
    parameters,
    play,
)
from torch.nn.functional import cross_entropy

from ifl.client.client import Client
from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.comm.message import Message
from ifl.data.dataset import Shard
from ifl.data.partition import Classes
from ifl.errors import ConfigError, MessageError
from ifl.federation.build import Federation, build
from ifl.federation.evaluation import Compositions
from ifl.federation.member import Member
from ifl.methods.fedproto import FedProto, FedProtoServer, Prototypes
from ifl.methods.local import Local
from ifl.methods.parts.class_statistics import fusion_means
from ifl.methods.parts.prototypes import NearestPrototype
from ifl.models import mlp_base, mlp_modular
from ifl.runs.made import made
from ifl.seeding import rng


def two_classes_each(method: FedProto, count: int = 3) -> Federation:
    training = Training(Optimizers(PLAIN, PLAIN), batch_size=8)
    return build(TINY, Classes(2), [SMALL, WIDE], count, method, training, Float32(), DIM)


def written_out(twins: Sequence[Client], rounds: int, tau: int, lam: float) -> None:
    """Algorithm 1 in plain loops, without messages and optimisers."""
    common: dict[int, torch.Tensor] = {}
    for _ in range(rounds):
        for me in twins:
            for _ in range(tau):
                x, y = me.batch()
                z = me.model.base(x)
                loss = cross_entropy(me.model.modular(z), y)
                for row, c in zip(z, y.tolist(), strict=True):
                    if c in common:
                        loss = loss + lam * ((row - common[c]) ** 2).sum() / z.numel()
                weights = list(me.model.parameters())
                grads = torch.autograd.grad(loss, weights)
                with torch.no_grad():
                    for weight, grad in zip(weights, grads, strict=True):
                        weight.sub_(0.05 * grad)
        for c in range(CLASSES):
            with torch.no_grad():
                mine = [me.model.base(me.shard.inputs()[me.shard.y == c]) for me in twins]
            if sum(len(z) for z in mine):  # the mean of means by samples is the mean of samples
                common[c] = torch.cat(mine).mean(dim=0)


@pytest.mark.parametrize("lam", [0.5, 20.0])
def test_it_is_the_papers_algorithm_written_out(lam: float) -> None:
    federation = two_classes_each(FedProto(tau=2, lam=lam))
    twins = clients(two_classes_each(FedProto()))
    held = {tuple(me.classes.tolist()) for me in twins}
    assert len(held) > 1  # not everybody holds the same classes
    play(federation, 3)
    written_out(twins, 3, 2, lam)
    for ours, theirs in zip(clients(federation), twins, strict=True):
        for p, q in zip(parameters(ours.model), parameters(theirs.model), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_without_a_pull_it_learns_as_without_communication(tiny: Build) -> None:
    pulled, free, alone = (tiny(m, SMALL, WIDE) for m in (FedProto(), FedProto(lam=0), Local()))
    for federation in (pulled, free, alone):
        play(federation, 3)
    for one, two, three in zip(*map(clients, (pulled, free, alone)), strict=True):
        assert equal(parameters(two.model), parameters(three.model))
        assert not equal(parameters(one.model), parameters(three.model))


def test_as_lambda_grows_prototypes_come_closer_as_in_the_paper(tiny: Build) -> None:
    def distance(lam: float) -> float:
        federation = tiny(FedProto(tau=5, lam=lam), SMALL, WIDE, optimizer=PLAIN)
        play(federation, 25)
        first, second = (fusion_means(me).means() for me in clients(federation))
        return float((first - second).norm())

    distances = [distance(lam) for lam in (0, 1, 4)]
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.7 * distances[0]


def test_the_server_averages_by_samples_of_a_class(tiny: Build) -> None:
    server = FedProtoServer(clients(tiny(FedProto(), count=3)))
    uploads = {
        0: Message(
            z=torch.tensor([[1.0, 1.0], [0.0, 4.0]]),
            y=torch.tensor([0, 3]),
            samples=torch.tensor([30, 5], dtype=torch.int32),
        ),
        2: Message(
            z=torch.tensor([[2.0, 2.0], [5.0, 1.0]]),
            y=torch.tensor([2, 0]),
            samples=torch.tensor([1, 10], dtype=torch.int32),
        ),
    }
    replies = server.reply(uploads, rng(0))
    assert torch.allclose(replies[0]["z"], torch.tensor([[2.0, 1.0], [0.0, 4.0]]))
    assert torch.allclose(replies[2]["z"], torch.tensor([[2.0, 2.0], [2.0, 1.0]]))
    assert server.state() == {}


@pytest.mark.parametrize("predict", ["prototypes", "head"])
def test_bytes_are_the_closed_form_of_the_classes_that_are_held(predict: str) -> None:
    federation, n = two_classes_each(FedProto(predict=predict), count=4), 4
    up = down = 0
    for me in clients(federation):
        c = len(torch.unique(me.shard.y))
        z = ("F32", [c, DIM], 4)
        up += c * (4 * DIM + 1 + 4) + header(z=z, y=("U8", [c], 1), samples=("I32", [c], 4))
        down += c * 4 * DIM + header(z=z)
    if predict == "prototypes":
        c = CLASSES
        down = n * (c * (4 * DIM + 1) + header(z=("F32", [c, DIM], 4), y=("U8", [c], 1)))
    assert totals(federation, 3) == [(up, down)] * 3


def test_a_class_costs_the_papers_50_numbers_at_its_mnist_setting() -> None:
    """Section "Communication Efficiency": 50 a class instead of 21,500 parameters."""
    wide = Member("50", partial(mlp_base, SHAPE, [], 50), partial(mlp_modular, 50, [], CLASSES))
    training = Training(Optimizers(PLAIN, PLAIN), batch_size=8)
    federation = build(TINY, Classes(3), [wide], 4, FedProto(), training, Float32(), 50)
    held = sum(len(me.classes) for me in clients(federation))
    (rows,) = play(federation, 1)
    for direction, classes in (("up", held), ("down", 4 * CLASSES)):
        numbers = sum(row[3] for row in rows if row[0] == direction and row[2] == "z") / 4
        assert numbers == 50 * classes


def test_a_sample_is_of_the_class_of_the_nearest_prototype() -> None:
    federation = two_classes_each(FedProto(tau=5))
    play(federation, 5)
    engine = federation.engine
    bases, modulars = engine.method.blocks(engine.clients, engine.server)
    assert [*bases] == ["0", "1", "2"]
    assert [*modulars] == ["server"]
    common = written_prototypes(federation)
    x, y = TINY.test.inputs(), TINY.test.y
    found = engine.evaluate(x, y)
    assert isinstance(found, Compositions)
    for owner, base in bases.items():
        with torch.no_grad():
            z = base(x)
        near = [min(common, key=lambda c: float((row - common[c]).norm())) for row in z]
        right = sum(a == b for a, b in zip(near, y.tolist(), strict=True)) / len(y)
        assert found.accuracy[owner, "server"] == right


def test_any_base_block_predicts_by_them(tiny: Build) -> None:
    federation = tiny(FedProto(tau=5), SMALL, WIDE)
    play(federation, 25)
    assert federation.engine.evaluate(TINY.test.inputs(), TINY.test.y).mean > 0.4  # chance: 0.25


def written_prototypes(federation: Federation) -> dict[int, torch.Tensor]:
    """The mean z of each class over the shards of those who hold it."""
    common = {}
    for c in range(CLASSES):
        with torch.no_grad():
            mine = [me.model.base(me.shard.inputs()[me.shard.y == c]) for me in clients(federation)]
        common[c] = torch.cat(mine).mean(dim=0)
    return common


def test_prototypes_and_heads_are_two_readings_of_one_training() -> None:
    both = [two_classes_each(FedProto(tau=2, predict=p)) for p in ("prototypes", "head")]
    for federation in both:
        play(federation, 3)
    for one, other in zip(*map(clients, both), strict=True):
        assert equal(parameters(one.model), parameters(other.model))
    titles = [federation.engine.method.title for federation in both]
    assert titles == ["FedProto", "FedProto, by modular blocks"]
    assert FedProto(predict="head", title="Mine").title == "Mine"


def test_a_class_without_a_prototype_is_never_guessed_and_far_z_are_told_apart() -> None:
    block = NearestPrototype(2, 4)
    far = 1e4
    block.learn(torch.tensor([[far, 0.5], [far, 0.0]]), torch.tensor([1, 3]))
    logits = block(torch.tensor([[far, 0.1], [far, 0.4]]))
    assert logits.argmax(dim=1).tolist() == [3, 1]
    assert torch.allclose(logits[:, [1, 3]], -torch.tensor([[0.16, 0.01], [0.01, 0.16]]))
    assert logits[:, [0, 2]].isneginf().all()
    z, y = block.held()
    assert y.tolist() == [1, 3]
    z.zero_()
    assert block.prototypes[1, 0] == far
    assert isinstance(made(block.made_of), NearestPrototype)


def test_of_a_class_that_nobody_sent_the_prototype_stays() -> None:
    federation = two_classes_each(FedProto(tau=1), count=2)
    engine = federation.engine
    everyone = clients(federation)
    only = set(everyone[0].classes.tolist()) - set(everyone[1].classes.tolist())
    assert only
    play(federation, 1)
    assert isinstance(engine.server, FedProtoServer)
    assert engine.server.nearest
    before = engine.server.nearest.prototypes.clone()
    engine.clients = everyone[1:]
    play(federation, 1)
    engine.clients = everyone
    for c, (now, then) in enumerate(zip(engine.server.nearest.prototypes, before, strict=True)):
        assert torch.equal(now, then) == (c not in everyone[1].classes.tolist())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"z": torch.zeros(3, DIM)}, r"z has the shape \(3, 8\), expected \(4, 8\)"),
        ({"y": torch.tensor([0, 1, 2, 4])}, "y holds 0 to 4, allowed are 0 to 3"),
        ({"samples": torch.tensor([0, 1, 1, 1], dtype=torch.int32)}, "samples holds 0 to 1"),
        ({"samples": torch.tensor([1, 1, 1, 121], dtype=torch.int32)}, "samples holds 1 to 121"),
        ({"samples": torch.ones(4, dtype=torch.int64)}, "samples is of torch.int64"),
        ({"z": torch.full((4, DIM), float("nan"))}, "z is not finite"),
    ],
)
def test_wrong_prototypes_are_refused(
    change: dict[str, torch.Tensor], reason: str, tiny: Build
) -> None:
    engine = tiny(FedProto()).engine
    upload = {
        "z": torch.zeros(4, DIM),
        "y": torch.arange(4),
        "samples": torch.ones(4, dtype=torch.int32),
    }
    forms = {0: engine.server.expects(0)[0]}
    assert engine.channel.up({0: Message(**upload)}, forms)[1] == {}
    _, refused = engine.channel.up({0: Message(**{**upload, **change})}, forms)
    with pytest.raises(MessageError, match=reason):
        raise refused[0]


def test_who_was_away_goes_on_with_the_prototypes_that_it_has(tiny: Build) -> None:
    federation = tiny(FedProto(), count=2)
    play(federation, 1)
    me = clients(federation)[0]
    memory = me.memory.of(Prototypes)
    assert memory.prototypes is not None
    before = memory.prototypes.clone()
    assert before.shape == (4, DIM)
    me.shard = Shard(me.shard.x, me.shard.y)
    federation.engine.clients = clients(federation)[1:]
    play(federation, 1)
    assert torch.equal(memory.prototypes, before)


@pytest.mark.parametrize("lam", [-0.5, float("nan"), float("inf"), "1", True, None])
def test_lambda_is_a_number_from_0_on(lam: float) -> None:
    with pytest.raises(ConfigError, match="method.lam must be a number >= 0, got"):
        FedProto(lam=lam)


def test_it_predicts_in_one_of_two_ways() -> None:
    with pytest.raises(ConfigError, match="method.predict must be one of prototypes, head, got me"):
        FedProto(predict="me")

from collections.abc import Sequence

import pytest
import torch
from closed_forms import header, totals
from conftest import (
    CLASSES,
    DIM,
    PLAIN,
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
from torch.nn.functional import cross_entropy

from ifl.cli.build import assemble
from ifl.client.client import Client
from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.comm.message import Message
from ifl.data.partition import Classes
from ifl.errors import ConfigError, MessageError
from ifl.federation.build import Federation, build
from ifl.methods.feddistill import FedDistill, FedDistillServer
from ifl.methods.local import Local
from ifl.seeding import rng


def two_classes_each(method: FedDistill, batch_size: int = 4) -> Federation:
    training = Training(Optimizers(PLAIN, PLAIN), batch_size=batch_size)
    return build(TINY, Classes(2), [SMALL, WIDE], 4, method, training, Float32(), DIM)


def written_out(twins: Sequence[Client], rounds: int, tau: int, gamma: float) -> int:
    """Algorithm 1 in plain loops; return how many labels were not met in a round."""
    teachers: list[dict[int, torch.Tensor]] = [{} for _ in twins]
    unmet = 0
    for _ in range(rounds):
        means: list[dict[int, torch.Tensor]] = []
        for me, taught in zip(twins, teachers, strict=True):
            seen: dict[int, list[torch.Tensor]] = {}
            for _ in range(tau):
                x, y = me.batch()
                output = me.model(x).softmax(dim=1)
                loss = torch.zeros(())
                for row, c in zip(output, y.tolist(), strict=True):
                    seen.setdefault(c, []).append(row.detach())
                    loss = loss - row[c].log()
                    if c in taught:
                        loss = loss - gamma * (taught[c] * row.log()).sum()
                weights = list(me.model.parameters())
                grads = torch.autograd.grad(loss / len(y), weights)
                with torch.no_grad():
                    for weight, grad in zip(weights, grads, strict=True):
                        weight.sub_(0.05 * grad)
            means.append({c: torch.stack(rows).mean(dim=0) for c, rows in seen.items()})
            unmet += len(me.shard.y.unique()) - len(seen)
        for i in range(len(twins)):
            teachers[i] = {}
            for c in range(CLASSES):
                others = [mean[c] for j, mean in enumerate(means) if j != i and c in mean]
                if others:
                    teachers[i][c] = torch.stack(others).mean(dim=0)
    return unmet


@pytest.mark.parametrize(("batch_size", "some_unmet"), [(4, True), (16, False)])
def test_it_is_the_papers_algorithm_written_out(batch_size: int, some_unmet: bool) -> None:
    federation = two_classes_each(FedDistill(tau=1, gamma=0.7), batch_size)
    twins = clients(two_classes_each(FedDistill(), batch_size))
    play(federation, 6)
    unmet = written_out(twins, 6, 1, 0.7)
    assert (unmet > 0) == some_unmet
    for ours, theirs in zip(clients(federation), twins, strict=True):
        for p, q in zip(parameters(ours.model), parameters(theirs.model), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_without_distillation_it_learns_as_without_communication(tiny: Build) -> None:
    taught, free, alone = (
        tiny(m, SMALL, WIDE) for m in (FedDistill(), FedDistill(gamma=0), Local())
    )
    for federation in (taught, free, alone):
        play(federation, 3)
    for one, two, three in zip(*map(clients, (taught, free, alone)), strict=True):
        assert equal(parameters(two.model), parameters(three.model))
        assert not equal(parameters(one.model), parameters(three.model))


def test_a_client_is_taught_by_the_others_alone(tiny: Build) -> None:
    server = FedDistillServer(clients(tiny(FedDistill(), count=3)))
    a, b, c, d = torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5], [0.1, 0.9]])
    uploads = {
        0: Message(logits=torch.stack([a, b]), y=torch.tensor([0, 1])),
        1: Message(logits=torch.stack([c, torch.zeros(2)]), y=torch.tensor([0, 1])),  # 1 not met
        2: Message(logits=torch.stack([d, a]), y=torch.tensor([3, 0])),
    }
    replies = server.reply(uploads, rng(0))
    assert torch.allclose(replies[0]["logits"], torch.stack([(c + a) / 2, torch.zeros(2)]))
    assert torch.allclose(replies[1]["logits"], torch.stack([a, b]))
    assert torch.allclose(replies[2]["logits"], torch.stack([torch.zeros(2), (a + c) / 2]))
    assert server.state() == {}


def test_bytes_are_the_closed_form_of_the_classes_that_are_held() -> None:
    federation, c = two_classes_each(FedDistill(tau=1)), 2
    logits = ("F32", [c, CLASSES], 4)
    up = c * (4 * CLASSES + 1) + header(logits=logits, y=("U8", [c], 1))
    assert totals(federation, 3) == [(4 * up, 4 * (c * 4 * CLASSES + header(logits=logits)))] * 3


def test_16_rounds_exchange_the_papers_102400_bits_of_logits_per_device() -> None:
    """Table 1: 16 times 100 logits up and 100 down, 32 bits each, whatever the network."""
    typed = ["method=feddistill", "clients=mlp_homogeneous", "clients.count=2", "fusion.dim=8"]
    federation = assemble(composed(*typed, "local.tau=1", "batch_size=4"))
    rows = [row for rows in play(federation, 16) for row in rows if row[2] == "logits"]
    for k in range(2):
        for direction in ("up", "down"):
            sent = sum(row[3] for row in rows if row[:2] == (direction, k))
            assert 8 * sent == 102_400 / 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"logits": torch.zeros(4, CLASSES + 1)}, r"shape \(4, 5\), expected \(4, 4\)"),
        ({"logits": torch.zeros(3, CLASSES)}, r"shape \(3, 4\), expected \(4, 4\)"),
        ({"logits": torch.full((4, CLASSES), float("nan"))}, "logits is not finite"),
        ({"y": torch.tensor([0, 1, 2, 9])}, "y holds 0 to 9, allowed are 0 to 3"),
    ],
)
def test_wrong_means_are_refused(change: dict[str, torch.Tensor], reason: str, tiny: Build) -> None:
    engine = tiny(FedDistill()).engine
    upload = {"logits": torch.zeros(4, CLASSES), "y": torch.arange(4), **change}
    _, refused = engine.channel.up({0: Message(**upload)}, {0: engine.server.expects(0)[0]})
    with pytest.raises(MessageError, match=reason):
        raise refused[0]


def test_gamma_is_a_number_from_0_on() -> None:
    with pytest.raises(ConfigError, match="method.gamma must be a number >= 0, got -1"):
        FedDistill(gamma=-1)


def test_a_teacher_of_zeros_adds_nothing_to_the_loss() -> None:
    logits = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(0))
    assert cross_entropy(logits, torch.zeros(3, CLASSES)) == 0

import torch
from conftest import SMALL, Build, clients
from torch import nn

from ifl.data.dataset import Shard
from ifl.federation.member import Member
from ifl.methods.local import Local
from ifl.methods.parts.class_statistics import ClassMeans, fusion_means


def test_means_are_weighted_and_of_the_classes_asked_for() -> None:
    means = ClassMeans(torch.tensor([5, 2, 7]))
    vectors = torch.tensor([[1.0, 0.0], [3.0, 4.0], [9.0, 9.0], [2.0, 2.0]])
    means.add(vectors, torch.tensor([2, 2, 0, 5]), torch.tensor([1, 3, 8, 2]))
    means.add(torch.tensor([[4.0, 6.0]]), torch.tensor([5]))
    expected = [[(2 * 2 + 4) / 3, (2 * 2 + 6) / 3], [(1 + 3 * 3) / 4, 3 * 4 / 4], [0, 0]]
    assert torch.allclose(means.means(), torch.tensor(expected))
    assert means.weights.tolist() == [3, 4, 0]


def test_fusion_means_are_those_of_every_sample_as_at_inference(tiny: Build) -> None:
    noisy = Member(
        "noisy", lambda: nn.Sequential(SMALL.base(), nn.BatchNorm1d(8), nn.Dropout()), SMALL.modular
    )
    me = clients(tiny(Local(), noisy, count=1))[0]
    keep = me.shard.y != 1
    me.hold(Shard(me.shard.x[keep], me.shard.y[keep]))
    found = fusion_means(me)
    assert me.model.base.training
    assert found.classes.tolist() == [0, 2, 3]
    me.model.eval()
    for row, c, weight in zip(found.means(), (0, 2, 3), found.weights, strict=True):
        mine = me.model.base(me.shard.inputs()[me.shard.y == c])
        assert torch.allclose(row, mine.mean(dim=0), atol=1e-6)
        assert weight == len(mine)


def test_portions_do_not_matter(tiny: Build) -> None:
    me = clients(tiny(Local(), count=1))[0]
    once, often = ClassMeans(me.classes), ClassMeans(me.classes)
    z = me.model.base(me.shard.inputs()).detach()
    once.add(z, me.shard.y)
    for start in range(0, 240, 7):
        often.add(z[start : start + 7], me.shard.y[start : start + 7])
    assert torch.allclose(once.means(), often.means(), atol=1e-7)

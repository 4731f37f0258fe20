"""Gaussians by class: what they are of a shard, what is drawn from them, what a codec leaves."""

import pytest
import torch
from conftest import CLASSES, DIM, SMALL, Build, clients, composed, options
from hydra.utils import instantiate

from ifl.client.client import Client
from ifl.comm.message import Message, decode, encode
from ifl.comm.wire import parse
from ifl.data.dataset import Shard
from ifl.methods.ifl_statistics import IFLStatistics
from ifl.methods.parts.gaussians import (
    count_type,
    drawn,
    fusion_gaussians,
    joined,
    merged,
)
from ifl.seeding import rng


@pytest.fixture
def skewed(tiny: Build) -> Client:
    """Return a client with 1, 6, 0 and 12 samples of the four classes."""
    (me,) = clients(tiny(IFLStatistics(), SMALL, count=1))
    some = [torch.where(me.shard.y == c)[0][:n] for c, n in enumerate((1, 6, 0, 12))]
    kept = torch.cat(some)
    me.hold(Shard(me.shard.x[kept], me.shard.y[kept]))
    return me


def three() -> Message:
    """Return Gaussians of two clients: of class 2 each, of class 0 one."""
    generator = torch.Generator().manual_seed(5)
    return Message(
        z=torch.randn(3, 2, generator=generator),
        sd=torch.tensor([[0.5, 2.0], [0.0, 1.0], [3.0, 0.1]]),
        y=torch.tensor([0, 2, 2]),
        samples=torch.tensor([60, 30, 10], dtype=torch.uint8),
    )


def test_they_are_mean_and_population_sd_of_each_class_that_is_held(skewed: Client) -> None:
    told = fusion_gaussians(skewed)
    assert told["y"].tolist() == [0, 1, 3]
    assert told["samples"].tolist() == [1, 6, 12]
    with torch.no_grad():
        z = skewed.model.base(skewed.shard.inputs())
    for row, c in enumerate((0, 1, 3)):
        mine = z[skewed.shard.y == c]
        assert torch.allclose(told["z"][row], mine.mean(dim=0), atol=1e-6)
        assert torch.allclose(told["sd"][row], mine.std(dim=0, unbiased=False), atol=1e-6)
    assert told["sd"][1:].min() > 0.01


def test_the_one_sample_of_a_class_has_no_spread_and_is_drawn_as_it_is(skewed: Client) -> None:
    told = fusion_gaussians(skewed)
    assert told["sd"][0].tolist() == [0.0] * DIM
    z, y = drawn(told, 400, rng(0, "test"))
    with torch.no_grad():
        (alone,) = skewed.model.base(skewed.shard.inputs()[skewed.shard.y == 0])
    assert torch.allclose(z[y == 0], alone.expand(int((y == 0).sum()), DIM), atol=1e-6)
    assert (y == 0).any()


def test_what_is_drawn_has_their_moments_and_frequencies() -> None:
    told, rows = three(), 100_000
    z, y = drawn(told, rows, rng(0, "moments"))
    assert (z.shape, z.dtype, y.shape, y.dtype) == ((rows, 2), torch.float32, (rows,), torch.int64)
    share = 0.6
    found = (y == 0).double().mean().item()
    assert abs(found - share) < 5 * (share * (1 - share) / rows) ** 0.5
    joined, samples = merged(told), rows * torch.tensor([0.6, 0.4])
    for row, c in enumerate((0, 2)):
        mine, n = z[y == c].double(), samples[row].item()
        mean, variance = joined["z"][row].double(), joined["sd"][row].double().square()
        assert ((mine.mean(dim=0) - mean).abs() < 5 * (variance / n).sqrt()).all()
        # A mixture of two Gaussians has a fourth moment of at most 3 (variance + shift^2)^2.
        assert ((mine.var(dim=0) - variance).abs() < 5 * variance * (12 / n) ** 0.5).all()


def test_without_spread_only_means_are_drawn_as_often_as_they_have_samples() -> None:
    told = three()
    told.tensors["sd"] = torch.zeros(3, 2)
    z, y = drawn(told, 10_000, rng(0, "means"))
    for mean, c, n in zip(told["z"], told["y"], (60, 30, 10), strict=True):
        its = (z == mean).all(dim=1)
        assert (y[its] == c).all()
        share = n / 100
        assert abs(int(its.sum()) / 10_000 - share) < 5 * (share * (1 - share) / 10_000) ** 0.5


def test_merged_they_are_those_of_all_samples_together(tiny: Build) -> None:
    both = clients(tiny(IFLStatistics(), SMALL, count=2))
    both[1].model.load_state_dict(both[0].model.state_dict())
    told = [fusion_gaussians(me) for me in both]
    together = merged(joined(told))
    x, y = (torch.cat([getattr(me.shard, name) for me in both]) for name in "xy")
    both[0].hold(Shard(x, y))
    whole = fusion_gaussians(both[0])
    assert together["y"].tolist() == whole["y"].tolist() == [*range(CLASSES)]
    assert together["samples"].tolist() == whole["samples"].tolist()
    assert together["samples"].dtype == torch.int32
    assert torch.allclose(together["z"], whole["z"], atol=1e-6)
    assert torch.allclose(together["sd"], whole["sd"], atol=1e-6)


def passed(message: Message, option: str) -> Message:
    """Return a message behind a codec."""
    codec = instantiate(composed(f"codec={option}").codec)
    agreed = {"classes": CLASSES}
    sent = encode(message, codec, CLASSES, lambda name: rng(0, name))
    return decode(parse(sent), codec, None, agreed)


@pytest.mark.parametrize("option", options("codec"))
def test_a_codec_leaves_counts_and_labels_exact_and_no_spread_below_0(
    option: str, skewed: Client
) -> None:
    told = fusion_gaussians(skewed)
    arrived = passed(told, option)
    assert arrived["samples"].dtype == told["samples"].dtype
    assert arrived["samples"].tolist() == [1, 6, 12]
    assert arrived["y"].tolist() == [0, 1, 3]
    assert arrived["sd"].min() >= 0
    assert arrived["sd"][0].tolist() == [0.0] * DIM  # of one sample
    assert drawn(arrived, 50, rng(0, "test"))[0].isfinite().all()


@pytest.mark.parametrize(
    ("option", "steps"), [("float32", 0), ("float16", 0), ("int8", 255), ("int4", 15)]
)
def test_spreads_are_within_half_a_step_of_their_class(
    option: str, steps: int, skewed: Client
) -> None:
    told = fusion_gaussians(skewed)
    off = (passed(told, option)["sd"] - told["sd"]).abs()
    most = told["sd"].amax(dim=1, keepdim=True)
    bound = most * (0.5 / steps if steps else 2**-11) * (1 + 1e-5)
    assert (off <= bound).all()
    assert off.max() > 0 or option == "float32"


def test_a_spread_below_0_is_the_same_spread() -> None:
    told, mirrored = three(), three()
    mirrored.tensors["sd"] = -told["sd"]
    assert torch.equal(merged(mirrored)["sd"], merged(told)["sd"])
    z, other = (drawn(m, 50, rng(0, "test"))[0] for m in (told, mirrored))
    middle = drawn(Message(**{**told.tensors, "sd": torch.zeros(3, 2)}), 50, rng(0, "test"))[0]
    assert torch.allclose(z + other, 2 * middle, atol=1e-5)


@pytest.mark.parametrize(
    ("most", "dtype"),
    [
        (1, torch.uint8),
        (255, torch.uint8),
        (256, torch.int16),
        (32_767, torch.int16),
        (32_768, torch.int32),
    ],
)
def test_counts_are_of_the_smallest_type(most: int, dtype: torch.dtype) -> None:
    assert count_type(most) == dtype
    assert torch.tensor(most, dtype=dtype).item() == most


def covariances(told: Message, dim: int = DIM) -> torch.Tensor:
    """The covariance of each row, from its triangle, entry by entry."""
    found = []
    for triangle in told["factor"].double():
        root, entries = torch.zeros(dim, dim, dtype=torch.float64), iter(triangle)
        for i in range(dim):
            for j in range(i + 1):
                root[i, j] = next(entries)
        found.append(root @ root.T)
    return torch.stack(found)


def test_full_ones_are_the_population_covariances_of_each_class(skewed: Client) -> None:
    told = fusion_gaussians(skewed, "full")
    assert told["factor"].shape == (3, DIM * (DIM + 1) // 2)
    assert torch.allclose(told["z"], fusion_gaussians(skewed)["z"], atol=1e-6)
    assert told["samples"].dtype == fusion_gaussians(skewed)["samples"].dtype
    with torch.no_grad():
        z = skewed.model.base(skewed.shard.inputs()).double()
    for found, c in zip(covariances(told), (0, 1, 3), strict=True):
        mine = z[skewed.shard.y == c].T
        expected = torch.cov(mine, correction=0) if c else torch.zeros(DIM, DIM).double()
        assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(
        covariances(told).diagonal(dim1=1, dim2=2).sqrt().float(),
        fusion_gaussians(skewed)["sd"],
        atol=1e-4,
    )
    assert not told["factor"][0].any()  # of one sample


def test_the_pooled_one_is_their_mean_by_samples(skewed: Client) -> None:
    (found,) = covariances(fusion_gaussians(skewed, "pooled"))
    full = covariances(fusion_gaussians(skewed, "full"))
    assert torch.allclose(found, (full[0] + 6 * full[1] + 12 * full[2]) / 19, atol=1e-6)


@pytest.mark.parametrize("covariance", ["full", "pooled"])
def test_merged_full_ones_are_those_of_all_samples_together(covariance: str, tiny: Build) -> None:
    both = clients(tiny(IFLStatistics(), SMALL, count=2))
    both[1].model.load_state_dict(both[0].model.state_dict())
    together = merged(joined([fusion_gaussians(me, covariance) for me in both]))
    x, y = (torch.cat([getattr(me.shard, name) for me in both]) for name in "xy")
    both[0].hold(Shard(x, y))
    whole = fusion_gaussians(both[0], covariance)
    assert together["samples"].tolist() == whole["samples"].tolist()
    assert together["samples"].dtype == torch.int32
    assert torch.allclose(together["z"], whole["z"], atol=1e-6)
    if covariance == "full":  # a client's pooled one says less than its full ones
        assert torch.allclose(covariances(together), covariances(whole), atol=1e-6)
    else:
        assert together["held"].tolist() == [CLASSES]
        assert torch.allclose(covariances(together), covariances(whole), atol=1e-6)


@pytest.mark.parametrize("covariance", ["full", "pooled"])
def test_what_is_drawn_has_their_covariances(covariance: str, tiny: Build) -> None:
    told = [
        fusion_gaussians(me, covariance) for me in clients(tiny(IFLStatistics(), SMALL, count=2))
    ]
    pool, rows = joined(told), 40_000
    z, y = drawn(pool, rows, rng(0, "moments"))
    assert (z.shape, z.dtype) == ((rows, DIM), torch.float32)
    c = 2
    both = merged(pool)
    own = [covariances(t)[c if covariance == "full" else 0] for t in told]
    n = [t["samples"][c].double() for t in told]
    expected = torch.zeros(DIM, DIM, dtype=torch.float64)
    for k, spread, t in zip(n, own, told, strict=True):
        off = (t["z"][c] - both["z"][c]).double()
        expected += k / sum(n) * (spread + off[:, None] * off[None, :])
    found = torch.cov(z[y == c].double().T, correction=0)
    scale = expected.diagonal().max()
    assert float((found - expected).abs().max() / scale) < 0.05
    off_diagonal = expected - torch.diag(expected.diagonal())
    assert float(off_diagonal.abs().max() / scale) > 0.1  # which a diagonal one does not have


@pytest.mark.parametrize("covariance", ["diagonal", "full", "pooled"])
def test_draws_below_0_become_0_where_that_is_wanted(covariance: str, skewed: Client) -> None:
    told = joined([fusion_gaussians(skewed, covariance)])
    free, y = drawn(told, 500, rng(0, "test"))
    cut, same = drawn(told, 500, rng(0, "test"), nonnegative=True)
    assert free.min() < 0
    assert torch.equal(cut, free.clamp(min=0))
    assert torch.equal(y, same)


@pytest.mark.parametrize("option", options("codec"))
@pytest.mark.parametrize("covariance", ["full", "pooled"])
def test_a_codec_leaves_covariances_to_draw_from(
    covariance: str, option: str, skewed: Client
) -> None:
    arrived = passed(joined([fusion_gaussians(skewed, covariance)] * 2), option)
    assert covariances(arrived).isfinite().all()
    assert torch.linalg.eigvalsh(covariances(arrived)).min() > -1e-9
    assert drawn(arrived, 50, rng(0, "test"))[0].isfinite().all()
    if covariance == "pooled":
        assert arrived["held"].tolist() == [3, 3]

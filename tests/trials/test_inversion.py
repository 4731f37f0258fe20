from collections.abc import Callable

import pytest
import torch
from conftest import CLASSES, SHAPE, images
from torch import Tensor
from torch.nn.functional import pad

from ifl.client.privacy import ClippedNoise
from ifl.comm.codecs import Float32
from ifl.comm.quantise import Int4, Int8
from ifl.trials.attack.exposure import Coded, Noisy
from ifl.trials.attack.inversion import (
    Decoder,
    Pairs,
    adapted,
    best_decoder,
    differs,
    train_decoder,
)

PLAIN = Coded(Float32())
PIXELS = 36
Rule = Callable[[Tensor], Tensor]


def turned(x: Tensor) -> Tensor:
    """Return images (n, 1, 6, 6) as rows (n, 36), turned: nothing is lost."""
    random = torch.randn(PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))
    rotation: Tensor = torch.linalg.qr(random)[0]
    return x.flatten(1) @ rotation.T


def nothing(x: Tensor) -> Tensor:
    return torch.ones(len(x), PIXELS)


def by_class(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([x[y == c].mean(dim=0) for c in range(CLASSES)])


def pairs(rule: Rule, held: Rule | None = None) -> Pairs:
    known, kept = images(400, seed=1), images(100, seed=2)
    x, held_x = known.inputs(), kept.inputs()
    return Pairs(x, known.y, rule(x), held_x, kept.y, (held or rule)(held_x), len(x))


def errors(decoder: Decoder, rule: Rule) -> tuple[float, float]:
    """Return a decoder's mean square error on images that nobody saw, and that of y alone."""
    unseen = images(200, seed=3)
    x = unseen.inputs()
    with torch.no_grad():
        found = decoder(rule(x), unseen.y)
    alone = decoder.per_class[unseen.y]
    return float((found - x).square().mean()), float((alone - x).square().mean())


def trained(rule: Rule, epochs: float = 60, tries: int = 1, dropout: float = 0.0) -> Decoder:
    own = pairs(rule)
    per_class = by_class(own.x, own.y)
    return best_decoder(own, per_class, PLAIN, epochs, tries, dropout, 0, "test").best


def test_a_decoder_beats_the_label_where_z_loses_nothing() -> None:
    error, alone = errors(trained(turned), turned)
    assert error < alone / 3


def test_of_z_that_tell_nothing_it_makes_the_mean_image_of_the_class() -> None:
    decoder = trained(nothing, epochs=10)
    y = torch.tensor([0, 3])
    assert decoder(torch.ones(2, PIXELS), y).allclose(decoder.per_class[y], atol=0.1)
    error, alone = errors(decoder, nothing)
    assert error == pytest.approx(alone, rel=0.02)


def test_before_it_learns_it_makes_that_of_any_z() -> None:
    per_class = by_class(*(lambda own: (own.inputs(), own.y))(images(400, seed=1)))
    y = torch.tensor([0, 3])
    assert Decoder(PIXELS, per_class)(torch.randn(2, PIXELS), y).equal(per_class[y])


def test_it_keeps_the_weights_that_erred_least_on_pairs_held_out() -> None:
    # what it learns is wrong for the pairs held out, so the start is best
    own = pairs(turned, held=lambda x: -turned(x))
    decoder = Decoder(PIXELS, by_class(own.x, own.y))
    curve = train_decoder(decoder, own, PLAIN, 20, torch.Generator().manual_seed(0))
    assert [epoch for epoch, _ in curve] == pytest.approx([2 * n for n in range(11)], abs=0.16)
    assert min(error for _, error in curve) == curve[0][1] < curve[-1][1]
    y = torch.tensor([1])
    assert decoder(torch.randn(1, PIXELS), y).equal(decoder.per_class[y])


def test_the_best_of_several_is_the_one_with_the_least_error_held_out() -> None:
    own = pairs(turned)
    found = best_decoder(own, by_class(own.x, own.y), PLAIN, 3, 3, 0.0, 0, "test")
    assert len(found.curves) == 3
    least = [min(error for _, error in curve) for curve in found.curves]
    assert len(set(least)) == 3  # each starts from weights of its own
    with torch.no_grad():
        error = (found.best(own.held_z, own.held_y) - own.held_x).square().mean()
    assert float(error) == pytest.approx(min(least), rel=1e-5)


def test_the_stream_decides() -> None:
    first, again = (trained(turned, 3, dropout=0.3).state_dict() for _ in range(2))
    other = trained(turned, 3, dropout=0.2).state_dict()
    assert all(first[name].equal(again[name]) for name in first)
    assert not all(first[name].equal(other[name]) for name in first)


def test_who_goes_on_with_clipped_z_takes_their_scale() -> None:
    own, clipped = pairs(turned), Noisy(ClippedNoise(1.0, 0.0))
    before = trained(turned)
    mine = adapted(before, own, clipped, 20, 0, "more")
    assert mine is not before
    assert mine.scale < before.scale

    def sent(x: Tensor) -> Tensor:
        return clipped.send(turned(x), torch.Generator())

    assert errors(mine, sent)[0] < errors(before, sent)[0]


def test_codecs_are_near_and_noise_is_not() -> None:
    z, draws = turned(images(50, seed=1).inputs()), torch.Generator().manual_seed(0)
    assert not differs(z, PLAIN, draws)
    assert not differs(z, Coded(Int8()), draws)
    assert differs(z, Noisy(ClippedNoise(1.0, 0.1)), draws)
    assert differs(10 * torch.eye(20), Coded(Int4()), draws) is False


@pytest.mark.parametrize("size", [(6, 6), (14, 14), (11, 17), (28, 28)])
def test_images_are_of_the_shape_and_range_of_images(size: tuple[int, int]) -> None:
    whole = pad(torch.zeros(CLASSES, 3, 1, 1), (0, size[1] - 1, 0, size[0] - 1))
    decoder = Decoder(8, whole)
    with torch.no_grad():
        for weights in decoder.parameters():
            weights.fill_(0.5)
    made = decoder(100 * torch.ones(5, 8), torch.zeros(5, dtype=torch.int64))
    assert made.shape == (5, 3, *size)
    assert made.abs().max() == 1
    assert SHAPE[1:] == (6, 6)

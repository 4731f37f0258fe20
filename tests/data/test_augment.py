from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Build, clients, composed
from hydra.utils import instantiate
from torch import Tensor

from ifl.data.augment import Distortion
from ifl.errors import ConfigError
from ifl.methods.local import Local
from ifl.seeding import rng

ALL = Distortion(degrees=15, shift=0.1, scale=0.15, shear=0.15, bend=0.1)
Draws = Callable[..., Tensor]


def picture(side: int = 29) -> Tensor:
    """Return one black image with a white dot right of its centre, another above."""
    x = -torch.ones(2, 1, side, side)
    x[0, 0, side // 2, side // 2 + 7] = 1
    x[1, 0, side // 2 - 7, side // 2] = 1
    return x


def brightest(x: Tensor) -> list[tuple[float, float]]:
    """Return where the light of each image is, right and down of its centre."""
    light = (x + 1).squeeze(1)
    around = torch.arange(x.shape[-1]) - x.shape[-1] // 2
    total = light.sum(dim=(1, 2))
    right = (light.sum(dim=1) * around).sum(dim=1) / total
    down = (light.sum(dim=2) * around).sum(dim=1) / total
    return list(zip(right.tolist(), down.tolist(), strict=True))


def most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every draw be at its upper bound."""
    monkeypatch.setattr("ifl.data.augment._uniform", lambda draws, *shape: torch.ones(*shape))


def test_a_rotation_turns_what_is_right_to_above_by_its_degrees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most(monkeypatch)
    right, above = brightest(Distortion(degrees=90)(picture(), rng(0)))
    assert right == pytest.approx((0, -7), abs=0.01)
    assert above == pytest.approx((-7, 0), abs=0.01)
    half, _ = brightest(Distortion(degrees=30)(picture(), rng(0)))
    assert half == pytest.approx((7 * 3**0.5 / 2, -3.5), abs=0.3)


def test_shift_scale_and_shear_are_in_halves_of_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    most(monkeypatch)
    # The view at a place shows what is a tenth of 14.5 pixels further right and down.
    moved, _ = brightest(Distortion(shift=2 / 14.5)(picture(), rng(0)))
    assert moved == pytest.approx((5, -2), abs=0.01)
    shrunk, _ = brightest(Distortion(scale=0.4)(picture(), rng(0)))
    assert shrunk == pytest.approx((5, 0), abs=0.2)
    same, sheared = brightest(Distortion(shear=3 / 7)(picture(), rng(0)))
    assert same == pytest.approx((7, 0), abs=0.01)
    assert sheared == pytest.approx((3, -7), abs=0.3)


def test_a_bend_displaces_by_at_most_its_bound_and_neighbours_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most(monkeypatch)
    bent, _ = brightest(Distortion(bend=2 / 14.5)(picture(), rng(0)))
    assert bent == pytest.approx((5, -2), abs=0.01)  # all knots alike: a shift
    monkeypatch.undo()
    ramp = torch.linspace(-1, 1, 29).expand(20, 1, 29, 29)
    moved = Distortion(bend=0.1)(ramp, rng(0)) - ramp
    inner = moved[..., 5:-5, 5:-5]
    assert 0.03 < inner.abs().max() < 0.13  # of half the side; bicubic overshoots knots a little
    assert (inner[..., 1:] - inner[..., :-1]).abs().max() < 0.05


def disc(high: int, wide: int, radius: float = 9.0) -> Tensor:
    """Return a white disc in the middle of a black image."""
    down, right = torch.meshgrid(
        torch.arange(high) - (high - 1) / 2, torch.arange(wide) - (wide - 1) / 2, indexing="ij"
    )
    return ((down**2 + right**2 <= radius**2).float() * 2 - 1).expand(6, 1, -1, -1).contiguous()


def extent(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return how wide and how high the light of each image is."""
    light = x.squeeze(1) > 0
    return light.any(dim=1).sum(dim=1), light.any(dim=2).sum(dim=1)


@pytest.mark.parametrize("sides", [(28, 56), (56, 28), (28, 28), (40, 31)])
@pytest.mark.parametrize("degrees", [30, 90])
def test_a_disc_stays_a_disc_on_an_image_of_any_sides(
    sides: tuple[int, int], degrees: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    most(monkeypatch)
    x = disc(*sides)
    turned = Distortion(degrees=degrees)(x, rng(0))
    for before, after in zip(extent(x), extent(turned), strict=True):
        assert (before - after).abs().max() <= 2
    assert float((turned - x).abs().mean()) < 0.12


@pytest.mark.parametrize("sides", [(28, 56), (56, 28)])
def test_shear_and_bend_are_as_on_a_square_of_the_same_pixels(
    sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    most(monkeypatch)
    for distortion in (
        Distortion(shear=0.5),
        Distortion(bend=0.2),
        Distortion(degrees=20, shear=1),
    ):
        square = distortion(disc(28, 28, 6.0), rng(0))
        other = distortion(disc(*sides, 6.0), rng(0))
        top, left = (sides[0] - 28) // 2, (sides[1] - 28) // 2
        assert torch.allclose(other[..., top : top + 28, left : left + 28], square, atol=1e-4)


def test_a_bend_is_as_smooth_along_either_side() -> None:
    ramps = torch.linspace(-1, 1, 84).expand(40, 1, 28, 84)
    moved = Distortion(bend=0.3)(ramps, rng(0)) - ramps
    inner = moved[..., 6:-6, 12:-12]
    across, down = inner.diff(dim=3).std(), inner.diff(dim=2).std()
    assert 0.7 < float(across / down) < 1.4


def test_amounts_of_nothing_leave_images_as_they_are() -> None:
    x = picture()
    assert Distortion()(x, rng(0)) is x
    tiny_amount = Distortion(degrees=1e-6)(x, rng(0))
    assert torch.allclose(tiny_amount, x, atol=1e-4)


def test_views_stay_images_and_bring_in_black() -> None:
    x = torch.rand(50, 3, 28, 28, generator=rng(1)) * 2 - 1
    views = ALL(x, rng(0))
    assert views.shape == x.shape
    assert views.dtype == x.dtype
    assert views.min() >= -1 - 1e-6
    assert views.max() <= 1 + 1e-6
    white = Distortion(shift=1)(torch.ones(50, 1, 8, 8), rng(0))
    assert white.min() == -1


def test_every_image_and_every_call_has_a_view_of_its_own() -> None:
    x = picture()[:1].expand(6, -1, -1, -1)
    draws = rng(0)
    first, second = ALL(x, draws), ALL(x, draws)
    seen = {tuple(view.flatten().tolist()) for view in (*first, *second)}
    assert len(seen) == 12
    assert torch.equal(first, ALL(x, rng(0)))


def test_clients_draw_views_from_streams_of_their_own(tiny: Build) -> None:
    plain, turned = (
        clients(tiny(Local(), augment=augment)) for augment in (Distortion(), Distortion(shift=0.5))
    )
    turned[1].batch()  # shifts nobody else's
    again = clients(tiny(Local(), augment=Distortion(shift=0.5)))
    (x, y), (view, same_y), (same_view, _) = (them[0].batch() for them in (plain, turned, again))
    assert torch.equal(y, same_y)  # nor the batches
    assert torch.equal(view, same_view)
    assert not torch.equal(x, view)


def test_class_means_and_tests_see_images_as_they_are(tiny: Build) -> None:
    me = clients(tiny(Local(), augment=Distortion(shift=0.5)))[0]
    assert torch.equal(torch.cat([x for x, _ in me.portions()]), me.shard.inputs())


@pytest.mark.parametrize(("option", "amounts"), [("none", 0), ("affine", 4), ("elastic", 5)])
def test_the_options_have_the_amounts_that_they_name(option: str, amounts: int) -> None:
    made = instantiate(composed(f"augment={option}").augment)
    values = (made.degrees, made.shift, made.scale, made.shear, made.bend)
    assert sum(value > 0 for value in values) == amounts


def halved(x: Tensor, draws: torch.Generator) -> Tensor:
    """Mask a random half of all values."""
    return x * (torch.rand(x.shape, generator=draws) < 0.5)


def test_any_callable_is_an_augmentation(tiny: Build) -> None:
    first, again = (clients(tiny(Local(), augment=halved))[0].batch() for _ in range(2))
    plain = clients(tiny(Local()))[0].batch()
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.y, plain.y)
    kept = first.x != 0
    assert 0.4 < float(kept.float().mean()) < 0.6
    assert torch.equal(first.x[kept], plain.x[kept])


WRONG: dict[str, tuple[Any, str]] = {
    "a number": (3, r"augment must be a callable \(x, generator\) -> x, got 3"),
    "of x alone": (lambda x: x, "augment fails on a batch .* positional argument"),
    "cropping": (lambda x, _: x[..., 1:], r"augment turns \(8, 1, 6, 6\) .* into \(8, 1, 6, 5\)"),
    "of doubles": (lambda x, _: x.double(), "into .* torch.float64 on cpu; it has to return the"),
    "in place, of nothing": (lambda x, _: x.clamp_(-1, 1) and None, "augment fails|into NoneType"),
    "to infinity": (lambda x, _: x / 0, "augment makes values that are not finite"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_augmentation_that_breaks_the_contract_is_one_sentence(kind: str, tiny: Build) -> None:
    augment, sentence = WRONG[kind]
    with pytest.raises(ConfigError, match=sentence) as error:
        tiny(Local(), augment=augment)
    assert "\n" not in str(error.value)


def test_what_is_no_image_is_not_distorted() -> None:
    for x in (torch.zeros(4, 30), torch.zeros(4, 1, 6, 6).long()):
        assert Distortion()(x, rng(0)) is x
        with pytest.raises(ConfigError, match="use augment=none"):
            ALL(x, rng(0))

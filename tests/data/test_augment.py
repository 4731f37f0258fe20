from collections.abc import Callable

import pytest
import torch
from conftest import Build, clients, composed
from hydra.utils import instantiate
from torch import Tensor

from ifl.data.augment import Distortion
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

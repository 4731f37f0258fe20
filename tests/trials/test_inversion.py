from collections.abc import Callable

import pytest
import torch
from conftest import CLASSES, SHAPE, images
from torch import Tensor, nn

from ifl.comm.codecs import Float32
from ifl.trials.attack.exposure import Coded
from ifl.trials.attack.inversion import Inverter, descend_to, total_variation, train_inverter

PLAIN = Coded(Float32())
PIXELS = 36


def rotation(rows: int = PIXELS) -> nn.Module:
    """Return a linear block that turns 6 x 6 images, and keeps some of the coordinates."""
    linear = nn.Linear(PIXELS, rows, bias=False)
    random = torch.randn(PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        linear.weight.copy_(torch.linalg.qr(random)[0][:rows])
    return nn.Sequential(nn.Flatten(), linear).requires_grad_(False)


def same(z: Tensor) -> Tensor:
    return z


def descent(
    block: nn.Module, x: Tensor, smooth: float, expect: Callable[[Tensor], Tensor]
) -> Tensor:
    weights = torch.full((len(x),), smooth)
    return descend_to(block, [expect(block(x))], [expect], torch.zeros_like(x), weights, 200)


def test_descent_through_a_block_that_loses_nothing_finds_the_images() -> None:
    x = images(4, seed=3).inputs()
    assert (descent(rotation(), x, 0.0, same) - x).abs().max() < 0.01


def test_descent_through_what_travels_finds_images_that_would_send_the_same() -> None:
    block, x = rotation(), images(4, seed=3).inputs()

    def halves(z: Tensor) -> Tensor:
        return z[:, :18]

    found = descent(block, x, 0.0, halves)
    assert torch.allclose(halves(block(found)), halves(block(x)), atol=0.02)
    assert (found - x).abs().mean() > 0.1  # what was not sent is not found


def test_each_release_is_fitted_by_its_own_rule() -> None:
    block, x = rotation(), images(4, seed=3).inputs()
    z, zeros = block(x), torch.zeros_like(x)
    rules = [same, lambda part: -part]
    found = descend_to(block, [z[:1], -z[1:]], rules, zeros, torch.zeros(4), 200)
    assert (found - x).abs().max() < 0.01


def test_total_variation_is_the_mean_step_down_and_right() -> None:
    x = torch.tensor([[[[0.0, 1.0, 1.0], [0.0, 0.0, 4.0]]]])
    assert total_variation(x).item() == pytest.approx((0 + 1 + 3) / 3 + (1 + 0 + 0 + 4) / 4)


def test_smoothness_makes_smooth() -> None:
    block, x = rotation(12), images(4, seed=3).inputs()
    rough, smooth = (descent(block, x, weight, same) for weight in (0.0, 2.0))
    assert (total_variation(smooth) < total_variation(rough)).all()


def trained(z: Callable[[Tensor], Tensor], seed: int = 0) -> tuple[Inverter, Tensor, Tensor]:
    """Return an inverter, its errors on unseen images, and those of the class's mean image."""
    known, unseen = images(400, seed=1), images(100, seed=2)
    x = known.inputs()
    per_class = torch.stack([x[known.y == c].mean(dim=0) for c in range(CLASSES)])
    torch.manual_seed(0)
    draws = torch.Generator().manual_seed(seed)
    inverter = Inverter(PIXELS, per_class)
    train_inverter(inverter, z(x), known.y, x, PLAIN, 300, draws)
    with torch.no_grad():
        found = inverter(z(unseen.inputs()), unseen.y)
    error = (found - unseen.inputs()).square().mean()
    return inverter, error, (per_class[unseen.y] - unseen.inputs()).square().mean()


def test_an_inverter_finds_images_that_it_never_saw() -> None:
    _, error, baseline = trained(rotation())
    assert error < baseline / 4


def test_an_inverter_of_what_tells_nothing_stays_at_the_mean_image_of_the_class() -> None:
    inverter, error, baseline = trained(lambda x: torch.ones(len(x), PIXELS))
    assert error == pytest.approx(float(baseline), rel=0.05)
    assert Inverter(PIXELS, inverter.per_class)(torch.randn(2, PIXELS), torch.tensor([0, 3])).equal(
        inverter.per_class[[0, 3]]
    )


def test_the_stream_decides() -> None:
    first, again, other = (trained(rotation(), seed)[1] for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


def test_images_are_of_the_shape_and_range_of_images() -> None:
    inverter = trained(rotation())[0]
    made = inverter(100 * torch.randn(5, PIXELS), torch.zeros(5, dtype=torch.int64))
    assert made.shape == (5, *SHAPE)
    assert made.abs().max() == 1

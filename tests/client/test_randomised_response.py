"""Randomised response: its frequencies, and what is learned from it without a bias."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import cross_entropy

from ifl.client.randomised_response import RandomisedResponse
from ifl.errors import ConfigError

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
QUARTER = RandomisedResponse(math.log(3), 2)  # e^epsilon = 3: p = 3/4, q = 1/4


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("epsilon", "classes"), [(0.5, 10), (1, 4), (2, 10), (4, 3)])
def test_each_label_is_told_as_often_as_the_formula_says(epsilon: float, classes: int) -> None:
    count, true = 60_000, 2
    told = RandomisedResponse(epsilon, classes)(torch.full((count,), true), stream())
    for label, seen in enumerate(told.bincount(minlength=classes).tolist()):
        weight = math.exp(epsilon) if label == true else 1
        expected = weight / (math.exp(epsilon) + classes - 1)
        deviation = math.sqrt(expected * (1 - expected) / count)
        assert abs(seen / count - expected) < 4.5 * deviation, label


def test_two_labels_are_told_alike_within_a_factor_of_e_to_the_epsilon() -> None:
    for epsilon in (0.1, 1, 7):
        response = RandomisedResponse(epsilon, 10)
        p = response.other + response.gap
        assert p / response.other == pytest.approx(math.exp(epsilon))
        assert p + 9 * response.other == pytest.approx(1)


def test_losses_are_those_of_the_told_label_by_hand() -> None:
    logits = torch.tensor([[0, math.log(3)]]).repeat(2, 1)  # predicts 1/4 and 3/4
    loss = QUARTER.forward(logits, torch.tensor([0, 1]))
    # told 0: 3/4 * 1/4 + 1/4 * 3/4 = 3/8; told 1: 1/4 * 1/4 + 3/4 * 3/4 = 5/8
    assert loss.item() == pytest.approx(-(math.log(3 / 8) + math.log(5 / 8)) / 2)
    # backward, told 0: (CE_0 - 1/4 (CE_0 + CE_1)) / (1/2) = (3 CE_0 - CE_1) / 2
    low, high = QUARTER.backward(logits[:1], torch.tensor([0])), math.log(4 / 3)
    assert low.item() == pytest.approx((3 * math.log(4) - high) / 2)


def test_the_backward_loss_is_that_of_the_true_label_in_the_mean() -> None:
    response, logits = RandomisedResponse(1, 3), torch.tensor([[0.3, -1.2, 2.0]])
    p, q = math.e / (math.e + 2), 1 / (math.e + 2)
    each = [response.backward(logits, torch.tensor([c])).item() for c in range(3)]
    for true in range(3):
        mean = sum((p if c == true else q) * loss for c, loss in enumerate(each))
        expected = cross_entropy(logits, torch.tensor([true])).item()
        assert mean == pytest.approx(expected, rel=1e-5)


def test_the_corrected_loss_is_smallest_at_the_true_distribution_and_the_plain_one_is_not() -> None:
    response, true = RandomisedResponse(1, 3), torch.tensor([0.7, 0.2, 0.1])
    p, q = math.e / (math.e + 2), 1 / (math.e + 2)
    told = [p * t + q * (1 - t) for t in true.tolist()]
    slopes = {}
    losses: dict[str, Loss] = {
        "forward": response.forward,
        "backward": response.backward,
        "none": cross_entropy,
    }
    for name, loss in losses.items():
        logits = true.log().requires_grad_()
        for label, share in enumerate(told):
            (share * loss(logits[None], torch.tensor([label]))).backward()
        assert logits.grad is not None
        slopes[name] = logits.grad.abs().max().item()
    assert max(slopes["forward"], slopes["backward"]) < 1e-6
    assert slopes["none"] > 0.05


def test_sums_by_class_are_unmixed_by_hand_and_without_a_bias() -> None:
    # 8 and 4 rows, told 3/4 * 8 + 1/4 * 4 = 7 and 5 in the mean
    assert torch.allclose(QUARTER.unmixed(torch.tensor([7.0, 5.0])), torch.tensor([8.0, 4.0]))
    y, z = torch.tensor([0, 0, 0, 1, 2, 2]), torch.arange(12.0).reshape(6, 2)
    response, draws = RandomisedResponse(1.5, 3), stream()
    true = torch.stack([z[y == c].sum(dim=0) for c in range(3)])
    found = []
    for _ in range(3000):
        told = response(y, draws)
        sums = torch.stack([z[told == c].sum(dim=0) for c in range(3)])
        found.append(response.unmixed(sums))
    values = torch.stack(found)
    error = (values.mean(dim=0) - true) / (values.std(dim=0) / 3000**0.5)
    assert error.abs().max() < 4.5


def test_extreme_epsilons_are_finite_and_a_large_one_is_no_noise() -> None:
    logits, y = torch.randn(50, 10, generator=stream()), torch.arange(50) % 10
    for epsilon in (0.001, 100):
        response = RandomisedResponse(epsilon, 10)
        assert response.forward(logits, y).isfinite()
        assert response.backward(logits, y).isfinite()
    sure = RandomisedResponse(50, 10)
    assert torch.equal(sure(y, stream()), y)
    for loss in (sure.forward, sure.backward):
        assert loss(logits, y).item() == pytest.approx(cross_entropy(logits, y).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "classes"), [(0, 10), (-1, 10), (math.nan, 10), (101, 10), (1e-4, 10), (1, 1)]
)
def test_what_is_no_response_is_a_sentence(epsilon: float, classes: int) -> None:
    with pytest.raises(ConfigError, match="must be (a|from 0.001 to 100)"):
        RandomisedResponse(epsilon, classes)

"""The epsilon of z against closed forms of the Gaussian mechanism."""

import math

import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from ifl.client.privacy_accounting import epsilon

SETTINGS = [
    (noise, releases, delta)
    for noise in (0.01, 0.1, 0.5, 1, 4, 100)
    for releases, delta in ((1, 1e-5), (6, 1e-5), (60, 1e-7))
]


def renyi(noise: float, releases: int, delta: float) -> float:
    """Mironov 2017 for sensitivity 2 and deviation ``noise``, converted by Balle et al. 2020."""

    def at(log: float) -> float:
        order = 1 + math.exp(log)
        cost = releases * order * 2**2 / (2 * noise**2)
        return cost + math.log(1 - 1 / order) - (math.log(delta) + math.log(order)) / math.exp(log)

    found = minimize_scalar(at, bounds=(-15, 15), method="bounded", options={"xatol": 1e-10})
    return float(found.fun)


def exact(noise: float, releases: int, delta: float) -> float:
    """Balle & Wang 2018, theorem 8: n releases are one of sqrt(n) times the sensitivity."""
    mu = 2 * math.sqrt(releases) / noise

    def excess(eps: float) -> float:
        tail = math.exp(eps + norm.logcdf(-eps / mu - mu / 2))
        return float(norm.cdf(mu / 2 - eps / mu)) - tail - delta

    return float(brentq(excess, 0, mu**2 / 2 + 20 * mu + 1, xtol=1e-12))


@pytest.mark.parametrize(("noise", "releases", "delta"), SETTINGS)
def test_epsilon_is_that_of_the_best_order_and_no_less_than_the_exact_one(
    noise: float, releases: int, delta: float
) -> None:
    found = epsilon(noise, releases, delta)
    assert found == pytest.approx(renyi(noise, releases, delta), rel=2e-3, abs=1e-4)
    assert exact(noise, releases, delta) <= found <= 1.35 * exact(noise, releases, delta)


def test_four_releases_cost_what_one_of_half_the_noise_costs() -> None:
    assert epsilon(1, 4, 1e-5) == pytest.approx(epsilon(0.5, 1, 1e-5), rel=1e-9)


def test_what_was_never_sent_costs_nothing_and_more_noise_or_delta_costs_less() -> None:
    assert epsilon(0.5, 0, 1e-5) == 0
    costs = [epsilon(noise, 5, 1e-5) for noise in (0.001, 0.5, 1, 1000)]
    assert costs == sorted(costs, reverse=True)
    assert epsilon(1, 5, 1e-3) < epsilon(1, 5, 1e-5)
    assert epsilon(1000, 1, 0.9) == 0

"""Accounts for the epsilon of noisy z by Opacus's accountant of Renyi privacy.

Sources: Mironov 2017, "Renyi Differential Privacy" (the Gaussian mechanism, composition); Balle et
al. 2020, "Hypothesis Testing Interpretations and Renyi Differential Privacy" (to epsilon, delta);
Yousefpour et al. 2021, "Opacus".
"""

import math
from itertools import repeat

REPLACED = 2.0  # times clip: how far apart two rows within the norm can be


def epsilon(noise: float, releases: int, delta: float) -> float:
    """Return the epsilon of an image whose row of z was sent that many times.

    Neighbours differ in that one image, replaced by any other one: a row moves by up to 2 clip,
    against noise of noise * clip. For one release of Renyi order a that costs
    a (2 clip)^2 / (2 (noise clip)^2); releases add up; the best order is taken. Nothing is
    taken off for sampling: batches are drawn without replacement, and it is known who sent
    which sample when.

    Args:
        noise: as a multiple of clip, > 0.
        releases: >= 0.
        delta: in (0, 1).
    """
    if not releases:
        return 0.0
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    for _ in repeat(None, releases):
        accountant.step(noise_multiplier=noise / REPLACED, sample_rate=1.0)
    slope = releases * REPLACED**2 / (2 * noise**2)  # of the cost in the order
    # Order - 1 of the least slope a - ln(delta) / (a - 1) + ln((a - 1) / a) is near one of these.
    near = (math.sqrt(-math.log(delta) / slope), -math.log(delta))
    low, high = (round(100 * math.log10(value)) for value in (min(near), max(near)))
    orders = [1 + 10 ** (n / 100) for n in range(low - 200, high + 201)]
    return max(0.0, float(accountant.get_epsilon(delta=delta, alphas=orders)))

"""Configures the privacy of uploads: labels by randomised response, z by clipping and noise.

Sources: Warner 1965; Kairouz, Bonawitz & Ramage 2016, "Discrete Distribution Estimation under
Local Privacy" (k-ary randomised response); Erlingsson, Pihur & Korolova 2014, "RAPPOR" (a response
that is drawn once and kept); Dwork & Roth 2014, appendix A (the Gaussian mechanism). What follows
from it in epsilon is in ``privacy_accounting``. All draws are of the run's streams, in float32:
that measures what privacy costs, while a deployment draws from a secure source (Mironov 2012).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ifl.checks import check_above, check_at_least, check_one_of
from ifl.client.randomised_response import RandomisedResponse
from ifl.errors import ConfigError

CORRECTIONS = ("forward", "backward", "none")
WEAKEST, STRONGEST = 0.001, 1000  # noise: an epsilon of millions, and of thousandths


@dataclass(frozen=True)
class ClippedNoise:
    """Clip each row to an L2 norm, then add Gaussian noise to every value: a pure function.

        M(z) = z min(1, clip / |z|) + noise * clip * xi,    xi ~ N(0, I)

    Args:
        clip: the largest norm, > 0.
        noise: standard deviation as a multiple of ``clip``, >= 0; with 0 nothing is drawn.

    Raises:
        ConfigError: a value is out of range.
    """

    clip: float
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_above("privacy.clip", self.clip, 0, "; null is no clipping")
        check_noise(self.noise)

    def __call__(self, z: Tensor, draws: torch.Generator) -> Tensor:
        """Return the rows as they leave a client.

        Args:
            z: (rows, d) float32; gradients pass.
            draws: a CPU generator; it moves on by rows * d normal numbers.

        Returns:
            (rows, d) float32, on the device of z.
        """
        norms = torch.linalg.vector_norm(z, dim=1, keepdim=True)  # (rows, 1)
        clipped = torch.where(norms > self.clip, z * (self.clip / norms), z)
        if not self.noise:
            return clipped
        xi = torch.randn(z.shape, generator=draws, dtype=z.dtype).to(z.device)
        return clipped + self.noise * self.clip * xi


@dataclass(frozen=True)
class Privacy:
    """The settings; by default nothing is hidden.

    Args:
        label_epsilon: of randomised response on labels, > 0; None to send them as they are.
        correction: of the loss on such labels, "forward" or "backward"; "none" shows what a
            correction is worth.
        clip: largest L2 norm of a row of z, > 0; None for any.
        noise: standard deviation of noise on z as a multiple of ``clip``; None or 0 for none.
        delta: in (0, 1), that the epsilon of z is told for.

    Raises:
        ConfigError: a value is out of range, there is noise without ``clip``, or noise without
            the package that accounts for it.
    """

    label_epsilon: float | None = None
    correction: str = "backward"
    clip: float | None = None
    noise: float | None = None
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if self.label_epsilon is not None:
            RandomisedResponse(self.label_epsilon, 2)  # checks it
        check_one_of("privacy.correction", self.correction, *CORRECTIONS)
        if self.noise is not None:
            check_noise(self.noise)
        if self.clip is not None:
            check_above("privacy.clip", self.clip, 0, "; null is no clipping")
        check_above("privacy.delta", self.delta, 0)
        if self.delta >= 1:
            raise ConfigError(f"privacy.delta must be below 1, got {self.delta}; 1e-5 is usual")
        if self.noise and self.clip is None:
            raise ConfigError(
                f"privacy.noise={self.noise} needs privacy.clip, the norm that it is a multiple "
                "of; set privacy.clip=1, say"
            )
        if self.noise:
            check_accountant(self.noise)

    def disclosure(self, classes: int) -> "Disclosure":
        """Return what clients do by these settings, where there are so many classes."""
        return Disclosure(
            None if self.label_epsilon is None else RandomisedResponse(self.label_epsilon, classes),
            None if self.clip is None else ClippedNoise(self.clip, self.noise or 0.0),
            self.correction,
            self.delta,
        )


@dataclass(frozen=True)
class Disclosure:
    """The privacy of uploads: applied to labels and z before sending, and to the loss on them.

    Args:
        labels: None to leave them as they are.
        z: likewise.
        correction: of the loss, for what was done to labels.
        delta: that the epsilon of z is told for.
    """

    labels: RandomisedResponse | None = None
    z: ClippedNoise | None = None
    correction: str = "backward"
    delta: float = 1e-5

    def __bool__(self) -> bool:
        """Return whether anything is hidden."""
        return self.labels is not None or self.z is not None

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the loss (a scalar) of logits (B, C) and labels (B,) as they were sent."""
        if not self.labels or self.correction == "none":
            return cross_entropy(logits, y)
        correct = self.labels.forward if self.correction == "forward" else self.labels.backward
        return correct(logits, y)


def check_noise(noise: float) -> None:
    """Raise ConfigError unless the noise is none, or one that means something."""
    check_at_least("privacy.noise", noise, 0, "; null or 0 is none")
    if noise and not WEAKEST <= noise <= STRONGEST:
        raise ConfigError(
            f"privacy.noise must be from {WEAKEST} to {STRONGEST} times privacy.clip, got {noise}; "
            "less hides nothing, more leaves nothing, and 0 is none"
        )


def check_accountant(noise: float) -> None:
    """Raise ConfigError unless what accounts for the epsilon of z is there."""
    try:
        from opacus.accountants import RDPAccountant  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'privacy.noise={noise} needs the package opacus: pip install -e ".[privacy]"; '
            "privacy.noise=0 does without"
        ) from error

"""Models what an eavesdropper observes of z: as decoded, or noisy.

An attacker knows the rule, since a protocol is public, and not the random numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Generator, Tensor

from ifl.client.privacy import ClippedNoise
from ifl.comm.codecs import Codec


class Exposure(Protocol):
    """A rule by which z leaves a client."""

    def send(self, z: Tensor, draws: Generator) -> Tensor:
        """Return what is held of z (n, d) float32 elsewhere: (n, d) float32."""

    def expect(self, z: Tensor) -> Tensor:
        """Return what would be held of z (n, d) if nothing were drawn; gradients pass."""


@dataclass(frozen=True)
class Coded:
    """z after a codec: what it was decoded to."""

    codec: Codec

    def send(self, z: Tensor, draws: Generator) -> Tensor:
        """Return z, encoded and decoded; a codec that rounds at random uses the draws."""
        seed = int(torch.randint(2**62, (1,), generator=draws))
        return self._passed(z, lambda: torch.Generator().manual_seed(seed))

    def expect(self, z: Tensor) -> Tensor:
        """Return the same, with the gradient of z itself (straight through; Bengio et al. 2013)."""
        return z + (self._passed(z.detach(), lambda: torch.Generator().manual_seed(0)) - z).detach()

    def _passed(self, z: Tensor, stream: Callable[[], Generator]) -> Tensor:
        return self.codec.decode(self.codec.encode(z, stream))


@dataclass(frozen=True)
class Noisy:
    """z clipped and with noise."""

    mechanism: ClippedNoise

    def send(self, z: Tensor, draws: Generator) -> Tensor:
        """Return z after the mechanism."""
        return self.mechanism(z, draws)

    def expect(self, z: Tensor) -> Tensor:
        """Return z clipped."""
        return replace(self.mechanism, noise=0.0)(z, torch.Generator())

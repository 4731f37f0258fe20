"""Models what an eavesdropper observes of z: as decoded, or noisy.

An attacker knows the rule, since a protocol is public, and not the random numbers.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from ifl.client.privacy import ClippedNoise
from ifl.comm.codecs import Codec


class Exposure(Protocol):
    """A rule by which z leaves a client."""

    def send(self, z: Tensor, draws: Generator) -> Tensor:
        """Return what is held of z (n, d) float32 elsewhere: (n, d) float32."""


@dataclass(frozen=True)
class Coded:
    """z after a codec: what it was decoded to."""

    codec: Codec

    def send(self, z: Tensor, draws: Generator) -> Tensor:
        """Return z, encoded and decoded; a codec that rounds at random uses the draws."""
        seed = int(torch.randint(2**62, (1,), generator=draws))
        return self.codec.decode(self.codec.encode(z, lambda: torch.Generator().manual_seed(seed)))


@dataclass(frozen=True)
class Noisy:
    """z clipped and with noise."""

    mechanism: ClippedNoise

    def send(self, z: Tensor, draws: Generator) -> Tensor:
        """Return z after the mechanism."""
        return self.mechanism(z, draws)

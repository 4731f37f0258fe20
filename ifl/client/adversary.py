"""Spoils what clients that lie upload: wrong labels, z that are scaled, constant, noisy or NaN.

A liar trains as it should; what it sends is changed on its way out. Flipped labels: Tolpegin et al.
2020, "Data Poisoning Attacks Against Federated Learning Systems", there in the training data;
scaled and noisy messages: Blanchard et al. 2017, "Machine Learning with Adversaries".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from ifl.checks import check_above, check_number, check_wholes
from ifl.errors import ConfigError

Sent = Mapping[str, Tensor]  # the tensors of an upload, by name
FUSION, LABELS = "z", "y"  # what is changed of a message; the rest is sent as it is


class Adversary(Protocol):
    """Changes what some clients upload."""

    @property
    def clients(self) -> Sequence[int]:
        """Return their numbers."""

    def spoil(self, sent: Sent, classes: int, draws: Generator) -> dict[str, Tensor]:
        """Return what is sent in place of an upload's tensors, with their shapes.

        Args:
            sent: z (rows, d) float32, y (rows,) int64 and others, by name; not written to.
            classes: labels are 0 to classes - 1.
            draws: a CPU stream of this upload.
        """


@dataclass(frozen=True)
class Honest:
    """Nobody lies."""

    @property
    def clients(self) -> Sequence[int]:
        """Return none."""
        return ()

    def spoil(self, sent: Sent, classes: int, draws: Generator) -> dict[str, Tensor]:
        """Return what was to be sent."""
        return dict(sent)


@dataclass(frozen=True)
class Liars:
    """The clients that lie.

    Args:
        clients: their numbers, from 0, no one twice.

    Raises:
        ConfigError: they are no such numbers.
    """

    clients: Sequence[int]

    def __post_init__(self) -> None:
        check_wholes("adversary.clients", self.clients, 0)
        if not self.clients or len({*self.clients}) < len(self.clients):
            raise ConfigError(
                "adversary.clients must name each client that lies once, such as [3], got "
                f"{[*self.clients]}; adversary=none has none"
            )
        object.__setattr__(self, "clients", (*self.clients,))

    def spoil(self, sent: Sent, classes: int, draws: Generator) -> dict[str, Tensor]:
        """Return the tensors, z or y changed where they are there."""
        spoilt = dict(sent)
        if FUSION in sent:
            spoilt[FUSION] = self.fusion(sent[FUSION], draws)
        if LABELS in sent:
            spoilt[LABELS] = self.labels(sent[LABELS], classes)
        return spoilt

    def fusion(self, z: Tensor, draws: Generator) -> Tensor:
        """Return what is sent for z (rows, d)."""
        return z

    def labels(self, y: Tensor, classes: int) -> Tensor:
        """Return what is sent for y (rows,)."""
        return y


@dataclass(frozen=True)
class LabelFlip(Liars):
    """Every label is wrong: y + 1, and 0 for the last class."""

    def labels(self, y: Tensor, classes: int) -> Tensor:
        """Return the next class of each."""
        return (y + 1) % classes


@dataclass(frozen=True)
class Scaled(Liars):
    """z times a number.

    Args:
        factor: negative, z points the other way.

    Raises:
        ConfigError: it is no finite number.
    """

    factor: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("adversary.factor", self.factor)

    def fusion(self, z: Tensor, draws: Generator) -> Tensor:
        """Return factor * z."""
        return self.factor * z


@dataclass(frozen=True)
class Constant(Liars):
    """One z for all rows, whatever their class.

    Args:
        value: of every coordinate.

    Raises:
        ConfigError: it is no finite number.
    """

    value: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("adversary.value", self.value)

    def fusion(self, z: Tensor, draws: Generator) -> Tensor:
        """Return the constant in z's shape."""
        return torch.full_like(z, self.value)


@dataclass(frozen=True)
class Noise(Liars):
    """z and Gaussian noise.

    Args:
        scale: > 0, its standard deviation over that of all numbers in the upload's z.

    Raises:
        ConfigError: it is not.
    """

    scale: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_above("adversary.scale", self.scale, 0, "; adversary=none adds no noise")

    def fusion(self, z: Tensor, draws: Generator) -> Tensor:
        """Return z + scale * sd(z) * N(0, 1)."""
        noise = torch.randn(z.shape, generator=draws).to(z)
        return z + self.scale * z.std(correction=0) * noise


@dataclass(frozen=True)
class NotANumber(Liars):
    """z is NaN throughout: a server refuses the upload, see ``on_bad_upload``."""

    def fusion(self, z: Tensor, draws: Generator) -> Tensor:
        """Return NaN in z's shape."""
        return torch.full_like(z, torch.nan)


def check_adversary(adversary: object, method: object, clients: int) -> None:
    """Raise ConfigError unless the liars are clients, and have a z to lie about.

    Args:
        adversary: what a yaml of conf/adversary made.
        clients: how many there are.
    """
    for name in ("clients", "spoil"):
        if not hasattr(adversary, name):
            raise ConfigError(
                f"adversary is a {type(adversary).__name__} without {name}; give its class what "
                "ifl.client.adversary.Adversary has, or choose an option of conf/adversary"
            )
    named: Sequence[int] = adversary.clients  # type: ignore[attr-defined]
    if not named:
        return
    if max(named) >= clients:
        raise ConfigError(
            f"adversary.clients must name clients from 0 to {clients - 1}, got {[*named]}"
        )
    if FUSION not in getattr(method, "kinds", {}):
        raise ConfigError(
            f"adversary changes the z that clients upload, and {type(method).__name__} uploads "
            "none; use adversary=none, or a method that sends z, such as method=ifl"
        )

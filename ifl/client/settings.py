"""Holds training settings that all parties share: optimisers, batch size, seed and device."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer

from ifl.checks import check_above, check_at_least, check_one_of, check_whole, typed
from ifl.client.optimizers import step
from ifl.client.precision import PRECISIONS
from ifl.client.steps import OptimizerMaker
from ifl.data.augment import Augment, Distortion, check_callable
from ifl.errors import ConfigError
from ifl.seeding import draws


@dataclass(frozen=True)
class Optimizers:
    """Makers of the optimisers of a base block and of a modular block (eta_b, eta_m).

    Args:
        decay_rounds: over which all learning rates fall (``ifl.client.steps``); None if they stay.

    Raises:
        ConfigError: one of them refuses its settings, tried by a step on a single parameter,
            or has a setting that is not finite, no rate above 0, or a momentum outside [0, 1).
    """

    base: OptimizerMaker
    modular: OptimizerMaker
    decay_rounds: int | None = None
    draws: bool = field(default=False, init=False)  # from a global generator, in a step

    def __post_init__(self) -> None:
        if self.decay_rounds is not None:
            check_whole("optimizer.decay_rounds", self.decay_rounds, 1)
        drawing = False
        for block, maker in (("base", self.base), ("modular", self.modular)):
            trial = nn.Parameter(torch.zeros(1))
            trial.grad = torch.zeros(1)
            try:
                optimizer = maker([trial])
                drawing = draws(partial(step, optimizer)) or drawing
            except (TypeError, ValueError, RuntimeError, AttributeError) as error:
                raise ConfigError(
                    f"optimizer.{block} refuses its settings ({error}); see the options of "
                    "torch.optim"
                ) from error
            if not isinstance(optimizer, Optimizer):
                raise ConfigError(
                    f"optimizer.{block} makes a {type(optimizer).__name__}; derive it from "
                    "torch.optim.Optimizer, whose state a checkpoint keeps"
                )
            self._check(f"optimizer.{block}", optimizer.defaults)
        object.__setattr__(self, "draws", drawing)

    def at(self, rates: Mapping[str, float]) -> "Optimizers":
        """Return the same optimisers at other learning rates, those of ``base`` and ``modular``.

        Raises:
            ConfigError: an optimiser takes no such rate.
        """
        base, modular = (
            partial(maker, lr=rates[block]) if block in rates else maker  # type: ignore[call-arg]
            for block, maker in (("base", self.base), ("modular", self.modular))
        )
        return replace(self, base=base, modular=modular)

    @staticmethod
    def _check(field: str, settings: Mapping[str, object]) -> None:
        """Refuse what torch lets pass."""
        for name, value in settings.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{field}.{name} must be a finite number, got {value}")
        if "lr" in settings:
            check_above(f"{field}.lr", settings["lr"], 0)
        momentum = settings.get("momentum", 0)
        number = isinstance(momentum, int | float) and not isinstance(momentum, bool)
        if not number or not 0 <= momentum < 1:  # type: ignore[operator]
            raise ConfigError(
                f"{field}.momentum must be a number >= 0 and < 1, got {typed(momentum)}; 0 is none"
            )


@dataclass(frozen=True)
class Training:
    """Training settings that the parties agree on before they start.

    Args:
        optimizers, batch_size, seed, device: of every client.
        augment: of the samples of every batch.
        precision: in which blocks compute, "float32" or "bfloat16"; weights stay float32.
        logit_adjustment: factor of the log class shares that a client adds to logits in the loss
            of its own samples (``ifl.client.steps.log_shares``); 0 for none, 1 for the source's.

    Raises:
        ConfigError: the batch size, the seed or the adjustment is out of range, or there is no
            such precision.
    """

    optimizers: Optimizers
    batch_size: int
    seed: int = 0
    device: str = "cpu"
    augment: Augment = Distortion()  # noqa: RUF009 (frozen)
    precision: str = "float32"
    logit_adjustment: float = 0.0

    def __post_init__(self) -> None:
        check_whole("batch_size", self.batch_size, 1)
        check_whole("seed", self.seed, 0)
        check_callable(self.augment)
        check_at_least("logit_adjustment", self.logit_adjustment, 0, "; 0 is none")
        check_one_of("runtime.precision", self.precision, *PRECISIONS)

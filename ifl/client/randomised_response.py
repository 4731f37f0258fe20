"""Randomises labels (k-ary randomised response) and corrects the loss on such labels.

Sources: Warner 1965, "Randomized Response"; Kairouz, Bonawitz & Ramage 2016 (k-ary); Patrini et
al. 2017, "Making Deep Neural Networks Robust to Label Noise: A Loss Correction Approach" (forward
and backward correction); Natarajan et al. 2013, "Learning with Noisy Labels" (backward).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ifl.checks import check_above, check_whole
from ifl.errors import ConfigError

LEAST, MOST = 0.001, 100  # epsilon


@dataclass(frozen=True)
class RandomisedResponse:
    """Tells a label as it is with probability p, any other one with probability q each.

        p = e^epsilon / (e^epsilon + C - 1),    q = 1 / (e^epsilon + C - 1)

    Whatever is told, two labels make it likely within a factor p / q = e^epsilon: pure
    epsilon-local differential privacy of a label.

    Args:
        epsilon: > 0, from 0.001 to 100.
        classes: C >= 2.

    Raises:
        ConfigError: a value is out of range.
    """

    epsilon: float
    classes: int

    def __post_init__(self) -> None:
        check_above("privacy.label_epsilon", self.epsilon, 0, "; null sends true labels")
        if not LEAST <= self.epsilon <= MOST:
            raise ConfigError(
                f"privacy.label_epsilon must be from {LEAST} to {MOST}, got {self.epsilon}; less "
                "makes labels useless, more hides nothing, and null sends true labels"
            )
        check_whole("data.classes", self.classes, 2)

    @property
    def other(self) -> float:
        """q, the probability of each label that is not the true one."""
        return math.exp(self._log_other)

    @property
    def gap(self) -> float:
        """p - q, by which the true label is likelier than any other."""
        return math.exp(self._log_gap)

    @property
    def _log_scale(self) -> float:
        return math.log1p((self.classes - 1) * math.exp(-self.epsilon))

    @property
    def _log_other(self) -> float:
        return -self.epsilon - self._log_scale

    @property
    def _log_gap(self) -> float:
        return math.log(-math.expm1(-self.epsilon)) - self._log_scale

    def __call__(self, y: Tensor, draws: torch.Generator) -> Tensor:
        """Return labels as they are told.

        A label is replaced, by one that is uniform over all C classes, with probability C q,
        and else kept: the true one so comes with 1 - C q + q = p.

        Args:
            y: (n,) int64 in [0, C).
            draws: a CPU generator.

        Returns:
            (n,) int64, on the device of y.
        """
        kept = torch.rand(len(y), generator=draws, dtype=torch.float64) < self.gap  # 1 - C q
        any_label = torch.randint(self.classes, (len(y),), generator=draws)
        return torch.where(kept.to(y.device), y, any_label.to(y.device))

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of told labels, corrected forward: a scalar.

            -log(q + (p - q) softmax(logits)_y),    mean over the batch

        The network's prediction of a true label, sent through the response, is held against
        the label that was told. Over many samples it is smallest where the prediction is that
        of the true label.

        Args:
            logits: (B, C) float32.
            y: (B,) int64, as told.
        """
        true = log_softmax(logits, dim=1).gather(1, y.unsqueeze(1))  # (B, 1)
        other = torch.full_like(true, self._log_other)
        return -torch.logaddexp(other, true + self._log_gap).mean()

    def backward(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of told labels, corrected backward: a scalar.

            (CE_y - q sum_c CE_c) / (p - q),    CE_c = -log softmax(logits)_c, mean over the batch

        Over what may be told it has the mean CE of the true label, whatever the prediction; so
        have its gradients. It varies much, and is unbounded below. Arguments as of ``forward``.
        """
        losses = -log_softmax(logits, dim=1)  # (B, C)
        own = losses.gather(1, y.unsqueeze(1)).squeeze(1)
        return ((own - self.other * losses.sum(dim=1)) / self.gap).mean()

    def unmixed(self, sums: Tensor) -> Tensor:
        """Return what sums over told classes are, in the mean, over true classes.

        Sums S'_c over the rows that are told to be of class c have the mean
        sum_y S_y P(c told | y) = (p - q) S_c + q sum_y S_y, which is solved for S:
            S_c = (S'_c - q sum_y S'_y) / (p - q)

        Args:
            sums: (C, ...) of counts or vectors.
        """
        return (sums - self.other * sums.sum(dim=0)) / self.gap

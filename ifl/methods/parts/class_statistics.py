"""Computes statistics of fusion outputs by class: means, and Gaussians that stand for samples.

What a client sends has one row for each class that it holds, with its label. Classes that it
does not hold do not travel, and no row stands for them. A message of Gaussians holds z, the mean,
sd, the standard deviation of every feature, y, the label, and samples, how many are behind them.
Sources: Luo et al. 2021, "No Fear of Heterogeneity: Classifier Calibration for Federated Learning
with Non-IID Data" (CCVR); Beitollahi et al. 2024, "Parametric Feature Transfer: One-shot Federated
Learning with Foundation Models" (FedPFT), whose mixture has one component with a diagonal
covariance here.
"""

import torch
from torch import Generator, Tensor

from ifl.client.client import Client
from ifl.client.steps import frozen
from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, floats, labels

COUNT_TYPES = (torch.uint8, torch.int16, torch.int32)  # those that torch can do sums with


class ClassMeans:
    """Weighted means of vectors by class, added up in portions, in float64.

    Args:
        classes: (C,) int64, no class twice; vectors of others are left out.
    """

    def __init__(self, classes: Tensor) -> None:
        self.classes = classes
        self.weights = torch.zeros(len(classes), dtype=torch.float64, device=classes.device)
        self._sums: Tensor | float = 0.0

    def add(self, vectors: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Add vectors (n, m) of classes y (n,), each counted ``weights`` (n,) times, or once."""
        members = (self.classes[:, None] == y).double()  # (C, n)
        if weights is not None:
            members *= weights
        self.weights += members.sum(dim=1)
        self._sums = self._sums + members @ vectors.double()

    def means(self) -> Tensor:
        """Return the means (C, m) float32; zeros where nothing was added."""
        return self.exact().float()

    def exact(self) -> Tensor:
        """Return the means (C, m) as they were added up, float64."""
        assert isinstance(self._sums, Tensor)
        seen = self.weights > 0
        return self._sums / torch.where(seen, self.weights, 1.0)[:, None]


def fusion_means(me: Client) -> ClassMeans:
    """Return the means of z by class over a client's shard, and how many samples are behind them.

    In evaluation mode, as z is at inference:
        C_k^(c) = 1/|D_k,c| sum of f_b,k(x) over the samples (x, c) of D_k,c.
    """
    means = ClassMeans(me.classes)
    with frozen(me.model.base), torch.no_grad():
        for x, y in me.portions():
            means.add(me.model.base(x), y)
    return means


def count_type(most: int) -> torch.dtype:
    """Return the smallest type that holds 0 to ``most``."""
    return next(dtype for dtype in COUNT_TYPES if most <= torch.iinfo(dtype).max)


def gaussians_form(client: Client) -> Form:
    """Expect a client's Gaussians: z (C_k, d), sd (C_k, d), y (C_k,), samples (C_k,)."""
    rows, n = len(client.classes), len(client.shard)
    counts = Expected((rows,), count_type(n), 1, n + 1)
    return {"z": floats(rows, "d"), "sd": floats(rows, "d"), "y": labels(rows), "samples": counts}


def fusion_gaussians(me: Client) -> Message:
    """Return the Gaussians of z over a client's shard, in evaluation mode, as z is at inference.

    For each class c that it holds, and each feature of f_b,k(x) over its n_c samples (x, c):
        mean = 1/n_c sum z,  sd^2 = 1/n_c sum z^2 - mean^2, which is 0 for one sample.
    The standard deviation travels, not its square: a lossy codec's grid then has half as many
    magnitudes to span, and the variance is >= 0 whatever the codec makes of it.
    """
    moments = ClassMeans(me.classes)
    with frozen(me.model.base), torch.no_grad():
        for x, y in me.portions():
            _add(moments, me.model.base(x).double(), torch.zeros(()), y)
    return _told(moments, count_type(len(me.shard)))


def merged(gaussians: Message) -> Message:
    """Return one Gaussian a class: mean and variance of what all of its Gaussians stand for."""
    moments = ClassMeans(gaussians["y"].unique())
    _add(moments, gaussians["z"].double(), gaussians["sd"], gaussians["y"], gaussians["samples"])
    return _told(moments, COUNT_TYPES[-1])


def drawn(gaussians: Message, rows: int, draws: Generator) -> tuple[Tensor, Tensor]:
    """Return samples of the Gaussians, each of them as often as it has samples behind it.

    Args:
        draws: a CPU generator.

    Returns:
        z (rows, d) float32, y (rows,) int64.
    """
    z, samples = gaussians["z"], gaussians["samples"].double().cpu()
    chosen = torch.multinomial(samples, rows, replacement=True, generator=draws).to(z.device)
    noise = torch.randn(rows, z.shape[1], generator=draws).to(z.device)
    return torch.addcmul(z[chosen], gaussians["sd"][chosen], noise), gaussians["y"][chosen]


def _add(
    moments: ClassMeans, mean: Tensor, sd: Tensor, y: Tensor, samples: Tensor | None = None
) -> None:
    """Add first and second moments of what has these means (n, d) float64."""
    squares = mean.square() + sd.to(mean).square()
    moments.add(torch.cat([mean, squares], dim=1), y, samples)


def _told(moments: ClassMeans, dtype: torch.dtype) -> Message:
    mean, square = moments.exact().chunk(2, dim=1)
    sd = (square - mean.square()).clamp(min=0).sqrt()  # rounding may leave less than 0
    samples = moments.weights.to(dtype)
    return Message(z=mean.float(), sd=sd.float(), y=moments.classes, samples=samples)

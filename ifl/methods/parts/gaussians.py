"""Sums up fusion outputs by class as Gaussians that stand for samples, and draws from them.

A message of Gaussians holds a row for each class that a client has: z, the mean, y, the label,
samples, how many are behind it, and its covariance,
    "diagonal": sd (rows, d), the standard deviation of every feature;
    "full": factor (rows, d(d+1)/2), the lower triangle of L row by row, where covariance = L L^T;
    "pooled": factor (1, d(d+1)/2), of the mean covariance within classes, by samples. In a message
        of several clients factor has a row for each, and held (clients,) says how many Gaussians
        in turn go with it.
Standard deviations and triangles travel, not what they are the roots of: a lossy codec's grid then
has half as many magnitudes to span, and a covariance has no negative direction whatever the codec
makes of it.
Sources: Luo et al. 2021, "No Fear of Heterogeneity: Classifier Calibration for Federated Learning
with Non-IID Data" (CCVR: full covariances); Beitollahi et al. 2024, "Parametric Feature Transfer:
One-shot Federated Learning with Foundation Models" (FedPFT: mixtures, here of one component, with
diagonal, full or, over classes, tied covariance).
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ifl.client.client import Client
from ifl.client.steps import frozen
from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, floats, labels
from ifl.methods.parts.class_statistics import ClassMeans

COVARIANCES = ("diagonal", "full", "pooled")
COUNT_TYPES = (torch.uint8, torch.int16, torch.int32)  # those that torch can do sums with
RIDGE = 1e-9  # of the mean variance, added to each: rounding leaves a root where there is one


def count_type(most: int) -> torch.dtype:
    """Return the smallest type that holds 0 to ``most``."""
    return next(dtype for dtype in COUNT_TYPES if most <= torch.iinfo(dtype).max)


def gaussians_form(client: Client, covariance: str = "diagonal", dim: int = 0) -> Form:
    """Expect a client's Gaussians, C_k rows with sd (C_k, d) or factor (C_k or 1, d(d+1)/2).

    Args:
        dim: d; for "diagonal", what was agreed.
    """
    rows, n = len(client.classes), len(client.shard)
    counts = Expected((rows,), count_type(n), 1, n + 1)
    if covariance == "diagonal":
        spread = {"sd": floats(rows, "d")}
    else:
        spread = {"factor": floats(rows if covariance == "full" else 1, dim * (dim + 1) // 2)}
    return {"z": floats(rows, "d"), **spread, "y": labels(rows), "samples": counts}


def fusion_gaussians(me: Client, covariance: str = "diagonal") -> Message:
    """Return the Gaussians of z over a client's shard, in evaluation mode, as z is at inference.

    For each class c that it holds, over its n_c samples (x, c) and z = f_b,k(x),
        mean = 1/n_c sum z,  covariance = 1/n_c sum (z - mean)(z - mean)^T,
    which is 0 for one sample; of that sd^2 is the diagonal, and the pooled one is the mean over
    classes, each as often as it has samples.
    """
    with frozen(me.model.base), torch.no_grad():
        if covariance == "diagonal":
            moments = ClassMeans(me.classes)
            for x, y in me.portions():
                _add(moments, me.model.base(x).double(), torch.zeros(()), y)
            return _told(moments, count_type(len(me.shard)))
        pairs = [(me.model.base(x).double(), y) for x, y in me.portions()]
    z, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    own = [z[y == c] for c in me.classes]
    means = torch.stack([rows.mean(dim=0) for rows in own])
    off = [rows - mean for rows, mean in zip(own, means, strict=True)]
    spreads = torch.stack([rows.T @ rows / len(rows) for rows in off])
    counts = torch.tensor([len(rows) for rows in own], device=y.device)
    if covariance == "pooled":
        spreads = _weighted(spreads, counts)[None]
    return Message(
        z=means.float(),
        factor=_factors(spreads),
        y=me.classes,
        samples=counts.to(count_type(len(me.shard))),
    )


def joined(uploads: Sequence[Message]) -> Message:
    """Return the Gaussians of several clients in one message, in their order."""
    names = uploads[0].tensors
    pool = {n: torch.cat([m.tensors[n] for m in uploads]) for n in names}
    if "factor" in names and len(pool["factor"]) < len(pool["y"]):
        pool["held"] = torch.tensor([len(m["y"]) for m in uploads], dtype=torch.int32)
    return Message(**pool)


def merged(gaussians: Message) -> Message:
    """Return one Gaussian a class: the moments of what all of its Gaussians stand for."""
    if "sd" in gaussians:
        moments = ClassMeans(gaussians["y"].unique())
        _add(
            moments, gaussians["z"].double(), gaussians["sd"], gaussians["y"], gaussians["samples"]
        )
        return _told(moments, COUNT_TYPES[-1])
    y, samples, z = gaussians["y"], gaussians["samples"].double(), gaussians["z"].double()
    roots = _triangles(gaussians["factor"].double(), z.shape[1])
    within = (roots @ roots.mT)[_rows_of(gaussians)]
    classes, means, spreads, counts = y.unique(), [], [], []
    for c in classes:
        its, n = y == c, samples[y == c]
        mean = (n[:, None] * z[its]).sum(dim=0) / n.sum()
        off = z[its] - mean
        spreads.append(_weighted(within[its] + off[:, :, None] * off[:, None, :], n))
        means.append(mean)
        counts.append(n.sum())
    spread, count = torch.stack(spreads), torch.stack(counts)
    told = {"z": torch.stack(means).float(), "y": classes, "samples": count.to(COUNT_TYPES[-1])}
    if "held" in gaussians:
        spread = _weighted(spread, count)[None]
        told["held"] = torch.tensor([len(classes)], dtype=torch.int32)
    return Message(factor=_factors(spread), **told)


def drawn(
    gaussians: Message, rows: int, draws: Generator, nonnegative: bool = False
) -> tuple[Tensor, Tensor]:
    """Return samples of the Gaussians, each of them as often as it has samples behind it.

    Args:
        draws: a CPU generator.
        nonnegative: make 0 of what is drawn below 0, as a ReLU would.

    Returns:
        z (rows, d) float32, y (rows,) int64.
    """
    z, samples = gaussians["z"], gaussians["samples"].double().cpu()
    chosen = torch.multinomial(samples, rows, replacement=True, generator=draws).to(z.device)
    noise = torch.randn(rows, z.shape[1], generator=draws).to(z.device)
    if "sd" in gaussians:
        found = torch.addcmul(z[chosen], gaussians["sd"][chosen], noise)
    else:
        found, of = z[chosen], _rows_of(gaussians)[chosen]
        for row in of.unique():  # one triangle at a time: a large d has large ones
            (root,) = _triangles(gaussians["factor"][row][None], z.shape[1])
            found[of == row] += noise[of == row] @ root.T
    return found.clamp_(min=0) if nonnegative else found, gaussians["y"][chosen]


def _rows_of(gaussians: Message) -> Tensor:
    """Return for each Gaussian the row of its factor."""
    count, device = len(gaussians["y"]), gaussians["y"].device
    if "held" not in gaussians:
        of = torch.arange(len(gaussians["factor"]), device=device)
        return of if len(of) == count else of.expand(count)
    held = gaussians["held"].long().to(device)
    return torch.arange(len(held), device=device).repeat_interleave(held)


def _weighted(spreads: Tensor, counts: Tensor) -> Tensor:
    """Return the mean (d, d) of matrices (n, d, d), each counted ``counts`` (n,) times."""
    return torch.einsum("n,nij->ij", counts.double() / counts.sum(), spreads)


def _factors(spreads: Tensor) -> Tensor:
    """Return the lower triangles (n, d(d+1)/2) float32 of roots of covariances (n, d, d) float64.

    Where there are fewer samples than features a covariance has no variance in some directions;
    there it gets ``RIDGE`` of its mean variance. A covariance of zeros has a root of zeros.
    """
    dim = spreads.shape[-1]
    ridge = RIDGE * spreads.diagonal(dim1=1, dim2=2).mean(dim=1)
    eye = torch.eye(dim, dtype=spreads.dtype, device=spreads.device)
    some = (ridge > 0)[:, None, None]
    # Of zeros the root of 1 is taken, and not used.
    full = torch.where(some, spreads + ridge[:, None, None] * eye, eye)
    roots = torch.where(some, torch.linalg.cholesky_ex(full).L, 0)
    i, j = torch.tril_indices(dim, dim, device=spreads.device)
    return roots[:, i, j].float()


def _triangles(factors: Tensor, dim: int) -> Tensor:
    """Return the lower triangular matrices (n, d, d) of such triangles."""
    roots = factors.new_zeros(len(factors), dim, dim)
    i, j = torch.tril_indices(dim, dim, device=factors.device)
    roots[:, i, j] = factors
    return roots


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

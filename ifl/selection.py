"""Which samples are passed on, where not all are."""

import torch
from torch import Tensor


def sample(y: Tensor, rows: int, draws: torch.Generator) -> Tensor:
    """Return the places of ``rows`` samples, each as likely as another, in ascending order.

    Args:
        y: (n,) int64 labels.
        rows: all of them if n is no larger.
        draws: a CPU generator.

    Returns:
        (min(rows, n),) int64, on the device of y.
    """
    return torch.randperm(len(y), generator=draws)[:rows].sort().values.to(y.device)


def balanced(y: Tensor, rows: int, draws: torch.Generator) -> Tensor:
    """Return the places of samples whose classes are as equally many as they can be.

    Those of a class are drawn at random, and so are the classes that get one more than others;
    a class with too few samples gives all that it has. Arguments and result as of ``sample``.
    """
    order = torch.randperm(len(y), generator=draws)
    labels = y.cpu()[order]
    members = torch.nn.functional.one_hot(labels)  # (n, classes)
    earlier = members.cumsum(dim=0).gather(1, labels.unsqueeze(1)).squeeze(1)  # of its class
    first = earlier.argsort(stable=True)[:rows]
    return order[first].sort().values.to(y.device)


PICKS = {"sample": sample, "balanced": balanced}

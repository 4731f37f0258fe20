"""Which samples are passed on, where not all are."""

import torch
from torch import Tensor

from ifl.checks import check_one_of, check_whole, typed
from ifl.errors import ConfigError


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


def check_relay(relay: object, rows: object, stage2: str) -> None:
    """Raise ConfigError unless a server can relay so many rows, or all of them."""
    check_one_of("method.relay", relay, "all", *PICKS)
    if (relay == "all") != (rows is None):
        raise ConfigError(
            "method.relay_rows goes with method.relay=sample or balanced, got "
            f"method.relay={relay} and method.relay_rows={typed(rows)}"
        )
    if rows is None:
        return
    check_whole("method.relay_rows", rows, 1)
    if stage2 == "per_client":
        raise ConfigError(
            f"method.stage2=per_client needs each client's pair whole, got method.relay={relay}; "
            "use method.stage2=pooled or method.relay=all"
        )

"""Adjusts logits by the classes that a client has, so that its steps unlearn no other class.

A client that lacks a class meets no sample that speaks for it, and each local step pushes its logit
down: what was learned of it from others is lost. With the log of the client's class shares added to
the logits in the loss, and in the loss alone, the network learns what tells classes apart, not how
many of each there are.

Source: Menon et al. 2021, "Long-tail learning via logit adjustment", arXiv 2007.07314, equation 10;
in federated learning Zhang et al. 2022, "Federated Learning with Label Distribution Skew via Logits
Calibration", arXiv 2209.00189, whose term is another one.
"""

import torch
from torch import Tensor


def log_shares(y: Tensor, classes: int) -> Tensor:
    """Return the log of each class's share of labels y (n,) int64: (classes,) float32.

    A class without a sample counts as if it had one, since the log of none is no number.
    """
    counts = torch.bincount(y, minlength=classes).to(torch.float32)
    return (counts.clamp(min=1) / len(y)).log()

"""Names what travels of anchors, and agrees on it at the server.

Balancing: predictions of unlabelled samples are scaled until each class has the share that it is
known to have, Berthelot et al. 2020, "ReMixMatch", arXiv 1911.09785 (once, by a running mean); here
columns and rows in turn, as Sinkhorn & Knopp 1967.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, floats

PREDICTIONS = "p"  # of a message: (rows, classes)
FUSIONS = "za"  # (rows, d)
WEIGHTS = "w"  # (rows,) int32, of these fusion outputs
COUNTS = "n"  # (classes,) int32, of a client's samples
MOST = 2**31 - 1  # of a weight or a count
SCALINGS = 2  # of columns and rows of predictions: more let rare errors weigh
TINY = 1e-12


def agreed_form(send: str, rows: int) -> Form:
    """Expect what the server says: predictions (rows, classes), z (rows, d), or nothing.

    Args:
        send: "predictions", "z" or "both".
        rows: of anchors; 0: nothing.
    """
    form: dict[str, Expected] = {}
    if rows and send != "z":
        form[PREDICTIONS] = floats(rows, "classes")
    if rows and send != "predictions":
        form[FUSIONS] = floats(rows, "d")
    return form


def upload_form(send: str, rows: int, balance: bool = False) -> Form:
    """Expect what a client says: likewise, and with z a weight (rows,) each.

    Args:
        balance: expect how many samples of each class it has, too.
    """
    form = dict(agreed_form(send, rows))
    if FUSIONS in form:
        form[WEIGHTS] = Expected((rows,), torch.int32, 0, MOST)
    if PREDICTIONS in form and balance:
        form[COUNTS] = Expected(("classes",), torch.int32, 0, MOST)
    return form


def speaks(upload: Message) -> bool:
    """Tell whether a client says something of anchors."""
    return PREDICTIONS in upload or FUSIONS in upload


def agree(uploads: Sequence[Message]) -> dict[str, Tensor]:
    """Return what was agreed of what clients sent, by name, or nothing.

    Predictions p (rows, classes) are added up, each row divided by its sum; a row of which nobody
    says anything is uniform. Where clients tell their counts the rows are balanced to these. Of z
    (rows, d) it is the mean by weight, the plain one where all are 0.
    """
    agreed: dict[str, Tensor] = {}
    if not uploads:
        return agreed
    if PREDICTIONS in uploads[0]:
        total = torch.stack([upload[PREDICTIONS] for upload in uploads]).sum(dim=0).clamp(min=0)
        told = [upload[COUNTS] for upload in uploads if COUNTS in upload]
        counts = torch.stack(told).sum(dim=0) if told else None
        if counts is not None:  # each class weighs alike, however many samples there are of it
            total = total / counts.clamp(min=1)
        sums = total.sum(dim=1, keepdim=True)
        share = torch.where(sums > TINY, total / sums.clamp(min=TINY), 1 / total.shape[1])
        if counts is not None:
            share = balanced(share, counts / counts.sum().clamp(min=1))
        agreed[PREDICTIONS] = share
    if FUSIONS in uploads[0]:
        z = torch.stack([upload[FUSIONS] for upload in uploads])  # (N, rows, d)
        weights = torch.stack([upload[WEIGHTS] for upload in uploads]).to(z)
        weights = torch.where(weights.sum(dim=0) > 0, weights, 1)
        agreed[FUSIONS] = (weights / weights.sum(dim=0)).unsqueeze(2).mul(z).sum(dim=0)
    return agreed


def balanced(p: Tensor, shares: Tensor, scalings: int = SCALINGS) -> Tensor:
    """Scale predictions p (rows, classes) so that classes have these shares (classes,) of them.

    Columns and rows are scaled in turn, rows last: each row of what is returned has the sum 1, and
    columns have the shares nearly, the more so with more scalings.
    """
    for _ in range(scalings):
        p = p * (shares / p.mean(dim=0).clamp(min=TINY))
        p = p / p.sum(dim=1, keepdim=True).clamp(min=TINY)
    return p

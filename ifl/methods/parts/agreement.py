"""Names what travels of anchors, and agrees on it at the server."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, floats

PREDICTIONS = "p"  # of a message: (rows, classes)
FUSIONS = "za"  # (rows, d)
WEIGHTS = "w"  # (rows,) int32, of these fusion outputs
MOST = 2**31 - 1  # of a weight
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


def upload_form(send: str, rows: int) -> Form:
    """Expect what a client says: likewise, and with z a weight (rows,) each."""
    form = agreed_form(send, rows)
    if FUSIONS not in form:
        return form
    return {**form, WEIGHTS: Expected((rows,), torch.int32, 0, MOST)}


def speaks(upload: Message) -> bool:
    """Tell whether a client says something of anchors."""
    return PREDICTIONS in upload or FUSIONS in upload


def agree(uploads: Sequence[Message]) -> dict[str, Tensor]:
    """Return what was agreed of what clients sent, by name, or nothing.

    Predictions p (rows, classes) are added up, each row divided by its sum; a row of which nobody
    says anything is uniform. Of z (rows, d) it is the mean by weight, the plain one where all are
    0.
    """
    agreed: dict[str, Tensor] = {}
    if not uploads:
        return agreed
    if PREDICTIONS in uploads[0]:
        total = torch.stack([upload[PREDICTIONS] for upload in uploads]).sum(dim=0).clamp(min=0)
        sums = total.sum(dim=1, keepdim=True)
        share = torch.where(sums > TINY, total / sums.clamp(min=TINY), 1 / total.shape[1])
        agreed[PREDICTIONS] = share
    if FUSIONS in uploads[0]:
        z = torch.stack([upload[FUSIONS] for upload in uploads])  # (N, rows, d)
        weights = torch.stack([upload[WEIGHTS] for upload in uploads]).to(z)
        weights = torch.where(weights.sum(dim=0) > 0, weights, 1)
        agreed[FUSIONS] = (weights / weights.sum(dim=0)).unsqueeze(2).mul(z).sum(dim=0)
    return agreed

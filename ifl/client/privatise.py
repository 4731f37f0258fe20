"""Privatises uploads: randomises labels, clips z and adds noise; reports the epsilon of a run.

Labels are told by permanent randomised response (Erlingsson et al. 2014, RAPPOR): a sample's label
is drawn once, from a stream of the seed, and told the same whenever the sample is sent. So the
epsilon of a label is that of the whole run, and no checkpoint has to keep what was drawn.
The noise on z is new in every round, and what it protects wears off with every row that is sent
of one image; a client counts them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ifl.client.client import Client
from ifl.client.learner import Batch
from ifl.client.memory import Kept
from ifl.client.privacy import Disclosure
from ifl.client.privacy_accounting import epsilon
from ifl.errors import ConfigError
from ifl.seeding import rng

COVERS_LABELS = (
    "the label of each training sample, over the whole run, as it is sent; not what z tells of "
    "it, nor a base block, which learns from the true label"
)
COVERS_Z = (
    "an image, against any other in its place, in all rows of z that were sent of it, given the "
    "base blocks and which samples were sent when; not what base blocks, which are trained "
    "without differential privacy, learned from it and show in these and other rows"
)


@dataclass
class Releases(Kept):
    """Counts of how often z of each sample was sent: (n,) int64, on the CPU."""

    released: Tensor | None = None


def release(me: Client, z: Tensor, batch: Batch, round_number: int) -> tuple[Tensor, Tensor]:
    """Return what a client sends for z (rows, d) of a batch, and for its y (rows,).

    Where nothing is hidden, that is z and y themselves.
    """
    hidden, y = me.disclosure, batch.y
    if hidden.labels:
        y = me.told.index_select(0, batch.places)
    if hidden.z:
        memory = me.memory.of(Releases)
        if memory.released is None:
            memory.released = torch.zeros(len(me.shard), dtype=torch.int64)
        memory.released.index_add_(0, batch.places.cpu(), torch.ones(len(y), dtype=torch.int64))
        z = hidden.z(z, rng(me.training.seed, "client", me.number, "privacy", round_number))
    return z, y


def told(hidden: Disclosure, clients: Iterable[Client]) -> dict[str, Any]:
    """Return the entry "privacy" of run.json, after the last round; none where nothing is hidden.

    It holds the settings, the epsilons and what they cover. ``releases`` is how often z of one
    image was sent at the most; of no noise, epsilon is None.
    """
    if not hidden:
        return {}
    entry: dict[str, Any] = {"label_epsilon": None, "epsilon": None}
    said = []
    if hidden.labels:
        entry |= {"label_epsilon": hidden.labels.epsilon, "label_covers": COVERS_LABELS}
        said.append(f"epsilon {hidden.labels.epsilon:.4g} for each label as it is sent")
    if hidden.z:
        counts = [me.memory.of(Releases).released for me in clients]
        times = max((int(count.max()) for count in counts if count is not None), default=0)
        entry |= {"clip": hidden.z.clip, "noise": hidden.z.noise, "releases": times}
        if hidden.z.noise:
            value = epsilon(hidden.z.noise, times, hidden.delta)
            entry |= {"epsilon": value, "delta": hidden.delta, "covers": COVERS_Z}
            said.append(
                f"epsilon {value:.4g} at delta {hidden.delta:g} for an image in z of it, sent "
                f"{times} times at most, given the base blocks"
            )
        else:
            said.append("no epsilon for z, which is clipped without noise")
    return {"privacy": {**entry, "said": f"Privacy: {'; '.join(said)}"}}


def check_hidden(method: object, hidden: Disclosure) -> None:
    """Raise ConfigError if something is to be hidden and the method would send it all the same."""
    if hidden and not getattr(method, "hides", False):
        raise ConfigError(
            "privacy.label_epsilon, privacy.clip and privacy.noise are kept by methods that hide "
            f"what they send, not by {type(method).__name__}; set them to null, or choose such a "
            "method, as method=ifl is"
        )


def check_choice(hidden: Disclosure, pick: str, relay: str) -> None:
    """Raise ConfigError if which rows are sent, or passed on, tells or bends what is hidden."""
    if hidden and pick == "loss":
        raise ConfigError(
            "method.upload.pick=loss tells by its choice what privacy.* hides; use "
            "method.upload.pick=random"
        )
    if hidden.labels and "balanced" in (pick, relay):
        name = "method.upload.pick" if pick == "balanced" else "method.relay"
        raise ConfigError(
            f"{name}=balanced chooses by labels, which privacy.label_epsilon randomises: the loss "
            "is not corrected for that; use method.upload.pick=random and method.relay=all or "
            "sample"
        )

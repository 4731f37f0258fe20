"""Tells labels from fusion outputs alone: what z leaks of y where y itself is not sent.

The attacker has labelled images of its own, and the z and y of all clients but the victim. It
trains a classifier z -> y and applies it to the victim's z. What it knows of the victim's base
block decides from which z the classifier learns:

  weights       the z that the block gives its own images
  architecture  the z of a surrogate that learned, without the victim's labels, to put its images
                where the victim's z lie
  pool          the z of the other clients: nothing is known of the block
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

from ifl.client.client import Client
from ifl.client.steps import descend, frozen
from ifl.seeding import global_stream, rng
from ifl.trials.attack.exposure import Exposure
from ifl.trials.attack.surrogate import fit_surrogate

LR, BATCH, WIDTH = 1e-3, 128, 128
POOL = 512  # rows of each other client


@dataclass(frozen=True)
class LabelRow:
    """The accuracy of an attacker's guesses at the labels of one client, a fraction."""

    seed: int
    target: str
    client: int
    base: str
    travels: str
    knowledge: str
    accuracy: float


class Classifier(nn.Module):
    """z (n, d) -> logits (n, classes), with one hidden layer.

    Args:
        z: (m, d) float32, from which the scale is taken.
    """

    def __init__(self, z: Tensor, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(z.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes)
        )
        self.scale = float(z.square().mean().sqrt()) or 1.0

    def forward(self, z: Tensor) -> Tensor:
        """Return logits (n, classes) float32 of z (n, d) float32."""
        logits: Tensor = self.layers(z / self.scale)
        return logits


def train_classifier(
    z: Tensor, y: Tensor, exposure: Exposure, classes: int, steps: int, draws: Generator
) -> Classifier:
    """Return a classifier that learned labels y (n,) int64 from what is held of z (n, d) float32.

    Adam on batches of 128, each exposed anew, the learning rate rising and falling
    once. Initial weights come from torch's global generator.
    """
    classifier = Classifier(exposure.send(z, draws), classes)
    optimizer = torch.optim.Adam(classifier.parameters(), LR, fused=True)
    schedule = OneCycleLR(optimizer, LR, total_steps=steps + 1)
    for _ in range(steps):
        rows = torch.randint(len(z), (BATCH,), generator=draws)
        logits = classifier(exposure.send(z[rows], draws))
        descend(cross_entropy(logits, y[rows]), optimizer)
        schedule.step()
    return classifier.eval().requires_grad_(False)


def outputs(client: Client, block: nn.Module) -> Tensor:
    """Return z (n, d) float32 of a client's samples by any block, held fixed."""
    with frozen(block), torch.no_grad():
        return torch.cat([block(x) for x, _ in client.portions()])


def label_rows(
    victim: Client,
    others: Sequence[Client],
    fresh: nn.Module,
    exposures: Mapping[str, Exposure],
    plain: Exposure,
    target: str,
    classes: int,
    steps: int,
) -> list[LabelRow]:
    """Return how well the victim's labels are told from its z, for all that travels.

    The first row is a guess without z: the commonest label of the attacker's images.

    Args:
        others: all clients but the victim, the one with the attacker's images first.
        fresh: a block as the victim's is built, with initial weights.
        plain: z as in the paper, from which the surrogate learns.
        steps: of the surrogate, and of each classifier.
    """
    seed, number, attacker = victim.training.seed, victim.number, others[0]
    base = victim.name.partition("(")[2][:-1]

    def draws(*purpose: str) -> Generator:
        return rng(seed, "attack", number, "labels", *purpose)

    def learned(z: Tensor, y: Tensor, exposure: Exposure, *purpose: str) -> Classifier:
        with global_stream(seed, "attack", number, "labels", *purpose, "weights"):
            return train_classifier(z, y, exposure, classes, steps, draws(*purpose))

    x, y = attacker.shard.inputs(), attacker.shard.y
    z, true = outputs(victim, victim.model.base), victim.shard.y
    pool_z, pool_y = [], []
    for client in others:
        some = torch.randperm(len(client.shard), generator=draws("pool", client.name))[:POOL]
        pool_z.append(outputs(client, client.model.base)[some])
        pool_y.append(client.shard.y[some])
    pool = torch.cat(pool_z), torch.cat(pool_y)
    head = learned(*pool, plain, "head")
    seen = z[torch.randperm(len(z), generator=draws("seen"))[:POOL]]
    block = fit_surrogate(fresh, head, x, y, seen, None, steps, draws("surrogate"))
    own = {
        "weights": (outputs(attacker, victim.model.base), y),
        "architecture": (outputs(attacker, block), y),
        "pool": pool,
    }
    guess = float((true == y.bincount().argmax()).float().mean())
    rows = [LabelRow(seed, target, number, base, "nothing", "none", guess)]
    for name, exposure in exposures.items():
        held = exposure.send(z, draws("exposure", name))
        for knowledge, pairs in own.items():
            classifier = learned(*pairs, exposure, knowledge, name)
            right = float((classifier(held).argmax(dim=1) == true).float().mean())
            rows.append(LabelRow(seed, target, number, base, name, knowledge, right))
    return rows

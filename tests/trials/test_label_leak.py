"""Labels told from z alone."""

from collections.abc import Callable

import pytest
import torch
from conftest import CLASSES, DIM, SHAPE, TINY, WIDE, Build, clients, images
from torch import Tensor

from ifl.client.privacy import ClippedNoise
from ifl.comm.codecs import Float32
from ifl.methods.ifl import IFL
from ifl.models import mlp_base
from ifl.trials.attack.exposure import Coded, Exposure, Noisy
from ifl.trials.attack.labels import LabelRow, label_rows, train_classifier

PLAIN = Coded(Float32())


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def right(z: Callable[[Tensor], Tensor]) -> float:
    """Return the accuracy of a classifier of z, on images that it never saw."""
    own, unseen = images(400, seed=1), images(200, seed=2)
    torch.manual_seed(0)
    classifier = train_classifier(z(own.inputs()), own.y, PLAIN, CLASSES, 300, stream())
    guesses = classifier(z(unseen.inputs())).argmax(dim=1)
    return sum(int(a) == int(b) for a, b in zip(guesses, unseen.y, strict=True)) / 200


def test_labels_are_told_from_z_that_hold_the_image_and_from_no_others() -> None:
    assert right(lambda x: x.flatten(1)) > 0.8
    assert right(lambda x: torch.ones(len(x), DIM)) < 0.4


@pytest.fixture
def found(tiny: Build) -> tuple[list[LabelRow], float]:
    """Return the rows of client 0, and the accuracy of guessing by hand."""
    federation = tiny(IFL(tau=5), WIDE, count=3)
    for number in range(1, 41):
        federation.engine.round(number)
    victim, *others = clients(federation)
    torch.manual_seed(0)
    fresh = mlp_base(SHAPE, [12], DIM)
    travels: dict[str, Exposure] = {"float32": PLAIN, "noise": Noisy(ClippedNoise(1.0, 100.0))}
    rows = label_rows(victim, others, fresh, travels, PLAIN, "paper", TINY.classes, 300)
    counts = [int((others[0].shard.y == c).sum()) for c in range(CLASSES)]
    commonest = counts.index(max(counts))
    return rows, sum(int(y) == commonest for y in victim.shard.y) / len(victim.shard)


def test_who_knows_the_block_tells_the_labels(found: tuple[list[LabelRow], float]) -> None:
    rows, guess = found
    by = {(row.travels, row.knowledge): row.accuracy for row in rows}
    assert by.pop(("nothing", "none")) == pytest.approx(guess)
    known = ("weights", "architecture", "pool")
    assert set(by) == {(name, way) for name in ("float32", "noise") for way in known}
    assert by["float32", "weights"] > guess + 0.3
    assert all(by["noise", way] < guess + 0.2 for way in known)


def test_the_victims_labels_are_not_used(tiny: Build, found: tuple[list[LabelRow], float]) -> None:
    federation = tiny(IFL(tau=5), WIDE, count=3)
    for number in range(1, 41):
        federation.engine.round(number)
    victim, *others = clients(federation)
    shard = victim.shard
    victim.shard = type(shard)(shard.x, (shard.y + 1) % CLASSES)  # after training
    torch.manual_seed(0)
    fresh = mlp_base(SHAPE, [12], DIM)
    rows = label_rows(victim, others, fresh, {"float32": PLAIN}, PLAIN, "paper", TINY.classes, 300)
    moved = {row.knowledge: row.accuracy for row in rows if row.travels == "float32"}
    before = {row.knowledge: row.accuracy for row in found[0] if row.travels == "float32"}
    # the same guesses, so what was right is wrong now
    assert all(moved[way] + before[way] <= 1 for way in before)
    assert moved["weights"] < 0.4

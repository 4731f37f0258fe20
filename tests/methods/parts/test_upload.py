"""Which samples a client sends: balanced, by loss, more or fewer than a batch."""

from typing import Any

import pytest
import torch
from conftest import CLASSES, DIM, SMALL, WIDE, Build, clients, equal, parameters, play
from torch.nn.functional import cross_entropy

from ifl.client.client import Client
from ifl.data.dataset import Shard
from ifl.errors import ConfigError
from ifl.methods.ifl import IFL
from ifl.methods.parts.row_selection import Upload
from ifl.seeding import rng


@pytest.fixture
def skewed(tiny: Build) -> Client:
    """A client with many samples of class 0 and two of every other one, all images different."""
    me = clients(tiny(IFL(), WIDE))[0]
    rare = torch.cat([(me.shard.y == c).nonzero().flatten()[:2] for c in range(1, CLASSES)])
    places = torch.cat([(me.shard.y == 0).nonzero().flatten(), rare])
    me.hold(Shard(me.shard.x[places], me.shard.y[places]))
    return me


def test_balanced_takes_all_of_rare_classes_and_changes_every_round(skewed: Client) -> None:
    upload = Upload("balanced", 12)
    x, y = upload.batch(skewed, 1)
    assert y.bincount().tolist() == [6, 2, 2, 2]
    assert len(x.flatten(1).unique(dim=0)) == 12
    assert torch.equal(upload.batch(skewed, 1).x, x)
    assert not torch.equal(upload.batch(skewed, 2).x, x)


def test_random_with_a_number_of_rows_takes_that_many_different_samples(skewed: Client) -> None:
    x, y = Upload("random", 11).batch(skewed, 1)
    assert len(x.flatten(1).unique(dim=0)) == len(y) == 11


def test_by_loss_takes_the_largest_of_four_times_as_many(skewed: Client) -> None:
    x, _ = Upload("loss", 3).batch(skewed, 5)
    candidates = torch.randperm(len(skewed.shard), generator=rng(0, "client", 0, "upload", 5))[:12]
    images, labels = skewed.shard.inputs()[candidates], skewed.shard.y[candidates]
    losses = [
        cross_entropy(skewed.model(image[None]), label[None]).item()
        for image, label in zip(images, labels, strict=True)
    ]
    best = sorted(range(12), key=lambda place: -losses[place])[:3]
    assert torch.allclose(x, images[best])
    everything = Upload("loss", len(skewed.shard)).batch(skewed, 5)
    assert len(everything.y) == len(skewed.shard)


CHOICES = [Upload(), Upload("random", 5), Upload("balanced", 5), Upload("loss", 5)]


@pytest.mark.parametrize("upload", CHOICES)
def test_whatever_is_chosen_comes_with_its_places(upload: Upload, tiny: Build) -> None:
    me = clients(tiny(IFL(), WIDE))[0]
    for number in (1, 2):
        batch = upload.batch(me, number)
        assert torch.equal(batch.x, me.shard.inputs()[batch.places])
        assert torch.equal(batch.y, me.shard.y[batch.places])
        assert len(batch.places) == (upload.rows or 8)  # B of the tiny federation


@pytest.mark.parametrize("pick", ["random", "balanced", "loss"])
def test_the_choice_is_a_stream_of_its_own(pick: str, tiny: Build) -> None:
    first, second = clients(tiny(IFL(), WIDE)), clients(tiny(IFL(), WIDE))
    for me in first:
        Upload(pick, 5).batch(me, 1)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.batch().x, other.batch().x)
        assert equal(parameters(one.model), parameters(other.model))


@pytest.mark.parametrize("rows", [3, 20])
def test_bytes_are_those_of_as_many_rows(rows: int, tiny: Build) -> None:
    federation = tiny(IFL(tau=1, upload=Upload("balanced", rows)), SMALL, WIDE, count=3)
    for traffic in play(federation, 2):
        sent = {(direction, kind): n for direction, client, kind, n in traffic if client == 2}
        assert (sent["up", "z"], sent["up", "y"]) == (rows * 4 * DIM, rows)
        assert sent["down", "z"] == 3 * sent["up", "z"]


def test_the_paper_sends_the_next_mini_batch(tiny: Build) -> None:
    one, other = clients(tiny(IFL()))[0], clients(tiny(IFL()))[0]
    assert torch.equal(Upload().batch(one, 1).x, other.batch().x)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"pick": "all"}, "method.upload.pick must be one of random, balanced, loss, got all"),
        ({"rows": 0}, "method.upload.rows must be a whole number >= 1, got 0"),
        ({"rows": 121}, r"exceed the smallest shard, got 121 while client 0 \(small\) has 120 s"),
    ],
)
def test_wrong_uploads_are_sentences(wrong: dict[str, Any], sentence: str, tiny: Build) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tiny(IFL(upload=Upload(**wrong)))


def test_a_choice_goes_with_a_fresh_batch_alone() -> None:
    with pytest.raises(ConfigError, match="method.upload chooses other samples than method.upl"):
        IFL(upload_batch="last", upload=Upload("loss"))

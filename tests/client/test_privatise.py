"""What leaves clients where labels or z are hidden, and what a run says of it."""

import json
import math
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import (
    CLASSES,
    PLAIN,
    SMALL,
    WIDE,
    Build,
    clients,
    composed,
    equal,
    options,
    parameters,
    play,
)
from hydra.utils import get_class
from omegaconf import OmegaConf
from torch import Generator, Tensor

from ifl.cli.run import main
from ifl.client.client import Client
from ifl.client.privacy import ClippedNoise, Privacy
from ifl.client.privacy_accounting import epsilon
from ifl.client.privatise import Releases, release, told
from ifl.client.randomised_response import RandomisedResponse
from ifl.comm.message import Message
from ifl.errors import ConfigError
from ifl.federation.engine import Engine
from ifl.federation.participation import Participation
from ifl.methods.ifl import IFL, IFLServer
from ifl.methods.parts.replay import Align, Pool, Pools, Replay
from ifl.methods.parts.row_selection import Upload
from ifl.runs.identity import fingerprint
from ifl.seeding import rng

LABELS, ROWS = Privacy(label_epsilon=1), Privacy(clip=1, noise=0.5)
ALL_OF_THEM = IFL(tau=1, upload=Upload("random", 120))  # the whole shard, in its order


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, Message]]:
    """The uploads of every exchange, as they arrive at the server."""
    uploads: list[dict[int, Message]] = []
    reply = IFLServer.reply

    def noted(
        self: IFLServer, arrived: dict[int, Message], draws: Generator
    ) -> Mapping[int, Message]:
        uploads.append(arrived)
        return reply(self, arrived, draws)

    monkeypatch.setattr(IFLServer, "reply", noted)
    return uploads


def released(me: Client) -> Tensor:
    """How often z of each sample was sent."""
    counts = me.memory.of(Releases).released
    assert counts is not None
    return counts


def test_labels_are_drawn_once_for_the_whole_run(
    tiny: Build, sent: list[dict[int, Message]]
) -> None:
    federation = tiny(ALL_OF_THEM, privacy=LABELS)
    play(federation, 3)
    for me in clients(federation):
        stream = rng(0, "client", me.number, "privacy", "labels")
        expected = RandomisedResponse(1, CLASSES)(me.shard.y, stream)
        assert 30 < (expected != me.shard.y).sum() < 90
        for uploads in sent:
            assert torch.equal(uploads[me.number]["y"], expected)
    assert not torch.equal(sent[0][0]["y"], sent[0][1]["y"])


def test_a_label_goes_with_its_image_wherever_the_batch_comes_from(
    tiny: Build, sent: list[dict[int, Message]]
) -> None:
    last = IFL(tau=1, upload_batch="last")
    for method in (IFL(tau=1), last, IFL(tau=1, upload=Upload("random", 11))):
        sent.clear()
        federation = tiny(method, privacy=LABELS)
        seen: list[Tensor] = []
        for number in range(1, 4):
            federation.engine.round(number)
            me = clients(federation)[0]
            with torch.no_grad():
                z = me.model.base(me.shard.inputs())  # its base block is not trained after z
            places = (sent[-1][0]["z"][:, None] - z).abs().sum(dim=2).argmin(dim=1)
            assert torch.equal(sent[-1][0]["y"], me.told[places])
            seen.append(me.shard.y[places] != sent[-1][0]["y"])
        assert torch.cat(seen).any()


def test_a_batch_is_released_as_itself_whatever_was_drawn_after_it(tiny: Build) -> None:
    me = clients(tiny(IFL(), privacy=Privacy(label_epsilon=1, clip=1)))[0]
    batch, z = me.batch(), torch.zeros(8, 8)
    me.batch()  # as a method may, before it sends
    _, y = release(me, z, batch, 1)
    assert torch.equal(y, me.told[batch.places])
    assert released(me).nonzero().flatten().tolist() == sorted(batch.places.tolist())


def test_z_is_clipped_and_noisy_by_a_stream_of_each_round(
    tiny: Build, sent: list[dict[int, Message]]
) -> None:
    federation = tiny(ALL_OF_THEM, privacy=ROWS)
    for number in (1, 2):
        federation.engine.round(number)
        for me in clients(federation):
            with torch.no_grad():
                z = me.model.base(me.shard.inputs())
            stream = rng(0, "client", me.number, "privacy", number)
            assert torch.allclose(sent[-1][me.number]["z"], ClippedNoise(1, 0.5)(z, stream))
            assert torch.equal(sent[-1][me.number]["y"], me.shard.y)


def test_stage_1_learns_from_true_labels_and_z_and_its_batches_stay(tiny: Build) -> None:
    plain, hidden = tiny(IFL(), WIDE), tiny(IFL(), WIDE, privacy=Privacy(1, clip=1, noise=0.5))
    assert plain.engine.round(1) == hidden.engine.round(1)
    for one, other in zip(clients(plain), clients(hidden), strict=True):
        assert equal(parameters(one.model.base), parameters(other.model.base))
        assert not equal(parameters(one.model.modular), parameters(other.model.modular))
        assert torch.equal(one.batch().x, other.batch().x)


def modulars(engine: Engine) -> list[Tensor]:
    return [p for me in engine.clients for p in parameters(me.model.modular)]


def test_with_nothing_hidden_nothing_changes(tiny: Build) -> None:
    method = IFL(replay=Replay(2, 3), align=Align(1))
    first, second = tiny(method), tiny(method, privacy=Privacy(noise=0, delta=0.5))
    assert play(first, 4) == play(second, 4)
    assert equal(modulars(first.engine), modulars(second.engine))
    assert all(not me.memory.state().keys() - {"pools"} for me in clients(second))
    assert told(second.disclosure, clients(second)) == {}


def test_settings_that_hide_nothing_tell_no_run_from_those_of_before() -> None:
    now = OmegaConf.to_container(composed())
    assert isinstance(now, dict)
    config: dict[str, Any] = {str(key): value for key, value in now.items() if key != "hydra"}
    before = {key: value for key, value in config.items() if key != "privacy"}
    for same in ({}, {"noise": 0}, {"noise": 0.0}):
        assert fingerprint({**before, "privacy": config["privacy"] | same}) == fingerprint(before)
    for other in ({"label_epsilon": 1}, {"clip": 1}, {"noise": 1}, {"delta": 1e-6}):
        assert fingerprint({**before, "privacy": config["privacy"] | other}) != fingerprint(before)


@pytest.mark.parametrize("correction", ["forward", "backward", "none"])
def test_stage_2_takes_a_step_on_the_corrected_loss(
    correction: str, tiny: Build, sent: list[dict[int, Message]]
) -> None:
    federation = tiny(IFL(), optimizer=PLAIN, privacy=Privacy(1, correction))  # SGD, rate 0.05
    me, p = clients(federation)[0], math.e / (math.e + CLASSES - 1)
    before = deepcopy(me.model.modular)
    federation.engine.round(1)
    z, y = (torch.cat([m.tensors[name] for m in sent[0].values()]) for name in ("z", "y"))
    sure = before(z).softmax(dim=1)[torch.arange(len(y)), y]
    losses = -sure.log()
    if correction == "forward":
        losses = -(sure * p + (1 - sure) * (1 - p) / (CLASSES - 1)).log()
    elif correction == "backward":
        told = (
            (1 - p) / (CLASSES - 1) + torch.eye(CLASSES) * (p - (1 - p) / (CLASSES - 1))
        ).inverse()
        losses = (told[y] * -before(z).log_softmax(dim=1)).sum(dim=1)
    losses.mean().backward()
    for weight, learned in zip(before.parameters(), me.model.modular.parameters(), strict=True):
        assert weight.grad is not None
        assert torch.allclose(weight - 0.05 * weight.grad, learned, atol=1e-6)


def test_alignment_draws_to_the_class_means_of_true_labels(tiny: Build) -> None:
    me = clients(tiny(IFL(), privacy=Privacy(label_epsilon=3)))[0]
    rows = 40_000
    y = torch.arange(rows) % CLASSES
    z = torch.eye(8)[y]  # class c has its mean at the c-th unit vector
    response = me.disclosure.labels
    assert response
    as_sent = response(y, torch.Generator().manual_seed(1))
    me.memory.of(Pools).pools = [Pool(z=z, y=as_sent)]
    pull, classes = Align(1).pull(me), torch.arange(CLASSES)
    assert pull
    assert pull(z[:CLASSES], classes) < 1e-5  # already there
    as_told = z[:CLASSES] + response.other * (1 - CLASSES * z[:CLASSES, :])
    as_told[:, CLASSES:] = 0  # means of the classes as told
    assert pull(as_told, classes) > 1e-4


def test_releases_are_counted_and_paid_for(tiny: Build) -> None:
    federation = tiny(ALL_OF_THEM, privacy=ROWS)
    play(federation, 5)
    entry = told(federation.disclosure, clients(federation))["privacy"]
    assert (entry["releases"], entry["delta"], entry["label_epsilon"]) == (5, 1e-5, None)
    assert entry["epsilon"] == epsilon(0.5, 5, 1e-5)
    assert "given the base blocks" in entry["covers"]

    federation = tiny(IFL(tau=1), privacy=ROWS)  # 2 of 15 batches of an order are a round's
    play(federation, 30)
    for me in clients(federation):
        counts = released(me)
        assert counts.sum() == 30 * 8
        assert counts.max() <= 5  # never twice in one of the 5 orders that 60 batches begin
    assert told(federation.disclosure, clients(federation))["privacy"]["releases"] == max(
        int(released(me).max()) for me in clients(federation)
    )


def test_who_stays_away_releases_nothing(tiny: Build) -> None:
    half = Participation(fraction=0.5)
    method = IFL(tau=1, upload=Upload("random", 60))  # the whole shard of each
    federation = tiny(method, count=4, participation=half, privacy=ROWS)
    play(federation, 6)
    came = [
        sum(me in half.present(clients(federation), 0, n) for n in range(1, 7))
        for me in clients(federation)
    ]
    assert told(federation.disclosure, clients(federation))["privacy"]["releases"] == max(came) < 6


def test_clipping_alone_has_no_epsilon_and_says_so(tiny: Build) -> None:
    federation = tiny(IFL(tau=1), privacy=Privacy(clip=1))
    play(federation, 2)
    entry = told(federation.disclosure, clients(federation))["privacy"]
    assert entry["epsilon"] is None
    assert entry["said"] == "Privacy: no epsilon for z, which is clipped without noise"


@pytest.mark.parametrize("option", options("method"))
def test_methods_that_would_hide_nothing_refuse(option: str, tiny: Build) -> None:
    method = get_class(composed(f"method={option}").method._target_)()
    for privacy in (LABELS, Privacy(clip=1)):
        if method.hides:
            tiny(method, privacy=privacy).engine.round(1)
        else:
            with pytest.raises(ConfigError, match="kept by methods that hide what they send, not "):
                tiny(method, privacy=privacy)


@pytest.mark.parametrize(
    ("method", "privacy", "sentence"),
    [
        (IFL(upload=Upload("loss")), ROWS, "method.upload.pick=loss tells by its choice what"),
        (IFL(upload=Upload("loss")), LABELS, "method.upload.pick=loss tells by its choice what"),
        (IFL(upload=Upload("balanced")), LABELS, "method.upload.pick=balanced chooses by labels"),
        (IFL(relay="balanced", relay_rows=4), LABELS, "method.relay=balanced chooses by labels"),
    ],
)
def test_choices_that_tell_or_bend_what_is_hidden_are_refused(
    method: IFL, privacy: Privacy, sentence: str, tiny: Build
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tiny(method, privacy=privacy)


def test_other_choices_go_on(tiny: Build) -> None:
    for method in (IFL(upload=Upload("balanced")), IFL(relay="balanced", relay_rows=4)):
        tiny(method, privacy=ROWS).engine.round(1)
    tiny(IFL(relay="sample", relay_rows=4), SMALL, WIDE, privacy=LABELS).engine.round(1)


def test_a_run_tells_its_epsilons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = "privacy.label_epsilon=1 privacy.clip=1 privacy.noise=0.5 rounds=2 local.tau=1"
    small = ["clients=mlp_homogeneous", "clients.count=2", "fusion.dim=16", f"outputs={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["run.py", *typed.split(), *small])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    assert main() == 0
    (path,) = tmp_path.rglob("run.json")
    entry = json.loads(path.read_text())["privacy"]
    assert (entry["label_epsilon"], entry["clip"], entry["noise"]) == (1, 1, 0.5)
    assert entry["epsilon"] == epsilon(0.5, entry["releases"], 1e-5)
    *_, privacy, ended = capsys.readouterr().out.splitlines()
    assert privacy == (
        f"Privacy: epsilon 1 for each label as it is sent; epsilon {entry['epsilon']:.4g} at delta "
        f"1e-05 for an image in z of it, sent {entry['releases']} times at most, given the base "
        f"blocks: {path.parent}"
    )
    assert ended.startswith("Finished (rounds=2 reached): ")

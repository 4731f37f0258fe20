"""Clients that lie: what they send in place of z and y, and that all else stays as it was."""

from pathlib import Path

import pytest
import torch
from conftest import (
    CLASSES,
    EVERY,
    SMALL,
    WIDE,
    Build,
    clients,
    composed,
    equal,
    parameters,
    play,
)
from hosts import hosts, tables
from overheard import overheard

from ifl.cli.build import assemble, make
from ifl.client.adversary import (
    Adversary,
    Constant,
    Honest,
    LabelFlip,
    Liars,
    Noise,
    NotANumber,
    Scaled,
)
from ifl.errors import ConfigError, DivergenceError, IFLError
from ifl.federation.engine import Engine
from ifl.federation.schedule import Schedule
from ifl.methods.fl import FL
from ifl.methods.ifl import IFL
from ifl.seeding import rng

Z = torch.tensor([[1.0, -2.0], [3.0, 6.0]])
Y = torch.tensor([0, 3])
REST = torch.tensor([[0.5]])


def spoilt(adversary: Adversary) -> dict[str, torch.Tensor]:
    sent = {"z": Z.clone(), "y": Y.clone(), "p": REST}
    found = adversary.spoil(sent, CLASSES, rng(0, "test"))
    assert torch.equal(sent["z"], Z)  # what the client itself goes on with
    assert found["p"] is REST
    return found


def test_labels_are_those_of_the_next_class() -> None:
    found = spoilt(LabelFlip([1]))
    assert found["y"].tolist() == [1, 0]
    assert torch.equal(found["z"], Z)


@pytest.mark.parametrize(
    ("adversary", "z"),
    [
        (Scaled([1], factor=-2), [[-2.0, 4.0], [-6.0, -12.0]]),
        (Constant([1], value=0.5), [[0.5, 0.5], [0.5, 0.5]]),
        (Honest(), Z.tolist()),
    ],
)
def test_z_is_scaled_or_constant_and_labels_stay(adversary: Adversary, z: list[object]) -> None:
    found = spoilt(adversary)
    assert found["z"].tolist() == z
    assert torch.equal(found["y"], Y)


def test_noise_is_as_large_as_it_says_and_follows_from_its_stream() -> None:
    z = torch.linspace(-1, 1, 20_000).reshape(100, 200)
    found, again = (Noise([0], scale=3).spoil({"z": z}, 4, rng(0, "n"))["z"] for _ in range(2))
    assert torch.equal(found, again)
    assert (found - z).std().item() == pytest.approx(3 * z.std().item(), rel=0.05)
    assert not torch.equal(found, Noise([0], scale=3).spoil({"z": z}, 4, rng(1, "n"))["z"])


def test_the_pool_holds_the_lie_and_the_liar_trains_as_ever(tiny: Build) -> None:
    honest, lied = (
        tiny(IFL(tau=1), SMALL, WIDE, count=3, adversary=its)
        for its in (Honest(), Constant([2], value=7))
    )
    uploads = []
    for federation in (honest, lied):
        heard = overheard(federation.engine.server)
        play(federation, 1)
        uploads.append(heard[0][0])
    assert torch.equal(uploads[0][1]["z"], uploads[1][1]["z"])
    assert (uploads[1][2]["z"] == 7).all()
    assert torch.equal(uploads[0][2]["y"], uploads[1][2]["y"])
    for me, other in zip(clients(honest), clients(lied), strict=True):
        assert equal(parameters(me.model.base), parameters(other.model.base))
        assert not equal(parameters(me.model.modular), parameters(other.model.modular))


def test_nan_is_refused_as_on_bad_upload_says(tiny: Build) -> None:
    with pytest.raises(DivergenceError, match=r"upload 1 of client 1 \(small\): z is not finite"):
        play(tiny(IFL(tau=1), count=3, adversary=NotANumber([1])), 1)
    federation = tiny(IFL(tau=1), count=3, adversary=NotANumber([1]), on_bad_upload="skip")
    outcome = federation.engine.round(1)
    assert (outcome.clients, outcome.refused) == (2, 1)


FEW = ["clients=mlp_homogeneous", "fusion.dim=16", "clients.count=3", "batch_size=4", "local.tau=1"]
ALIKE = [option for option in EVERY if not option.startswith("late_vendor")]  # in who takes part


def ended(engine: Engine) -> str:
    """Return what ends a federation in its first two rounds; nothing if it goes on."""
    try:
        outcomes = [engine.round(number) for number in (1, 2)]
    except IFLError as error:
        return str(error)
    assert [outcome.clients for outcome in outcomes] == [3, 3]
    return ""


@pytest.mark.parametrize("option", ALIKE)
def test_every_method_that_sends_z_goes_on_or_says_why_not(option: str) -> None:
    for attack in ("label_flip", "constant", "scaled adversary.factor=1e35"):
        typed = [*FEW, *f"adversary={attack} method={option}".split(), "adversary.clients=[2]"]
        refused = ""
        try:
            said = ended(assemble(composed(*typed)).engine)
        except ConfigError as error:
            refused = str(error)
        if refused:
            assert "uploads none" in refused
            assert "z" not in make(composed(f"method={option.split()[0]}").method).kinds
            return
        assert not said or "1e35" in attack
        assert "\n" not in said


def test_lies_are_the_same_in_processes(tmp_path: Path) -> None:
    typed = [*FEW, "adversary=noise", "adversary.clients=[1]", "method.robust=median"]
    found = [
        tables(assemble(composed(*typed, *engine)), tmp_path / name, Schedule(3, eval_every=3))
        for name, engine in (("here", ()), ("there", ("engine._target_=hosts.hosts",)))
    ]
    assert found[0] == found[1]
    assert hosts().exchanges > 0


def test_liars_that_are_no_clients_or_have_no_z_are_a_sentence(tiny: Build) -> None:
    with pytest.raises(ConfigError, match=r"must name clients from 0 to 1, got \[2\]"):
        tiny(IFL(tau=1), count=2, adversary=LabelFlip([2]))
    with pytest.raises(ConfigError, match="FL uploads none; use adversary=none, or a method that"):
        tiny(FL(tau=1), count=2, adversary=LabelFlip([1]))
    with pytest.raises(ConfigError, match="adversary is a str without clients"):
        tiny(IFL(tau=1), count=2, adversary="mallory")


@pytest.mark.parametrize("named", [[], [1, 1], [-1], "all", [True]])
def test_liars_are_named_once_each(named: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"^adversary\.clients must "):
        Liars(named)

"""Builds blocks from their configuration, told what they leave out."""

from typing import Any

import pytest
import torch
from conftest import CLASSES, DIM, SHAPE, TINY, composed, composed_by_hydra
from torch import nn

from ifl.cli.build import Blocks, assemble, make_block
from ifl.errors import ConfigError


class Own(nn.Module):
    """A block that keeps what it was made with."""

    def __init__(self, shape: Any, /, width: int = 1, *, fusion_dim: int, classes: int = 2) -> None:
        super().__init__()
        self.made = shape, width, fusion_dim, classes


class Anything(nn.Module):
    def __init__(self, *classes: object, **more: object) -> None:
        super().__init__()
        self.made = classes, more


def named(shape: Any, fusion_dim: int, classes: int) -> nn.Module:
    return Anything(list(shape), fusion_dim, classes)


def made(target: str, **config: Any) -> Any:
    return make_block({"_target_": f"{__name__}.{target}", **config}, TINY, DIM).made


def test_a_block_is_told_what_it_leaves_out() -> None:
    assert made("named")[0] == ([*SHAPE], DIM, CLASSES)
    assert made("Own", _args_=["place"]) == ("place", 1, DIM, CLASSES)  # a default gives way


def test_what_a_configuration_sets_wins() -> None:
    assert made("named", fusion_dim=3)[0] == ([*SHAPE], 3, CLASSES)
    assert made("named", shape=[2], classes=None)[0] == ([2], DIM, None)
    assert made("named", _args_=[[2], 3])[0] == ([2], 3, CLASSES)
    assert made("Own", _args_=[[2], 5], classes=7) == ([2], 5, DIM, 7)


def test_a_block_that_names_none_is_told_nothing() -> None:
    assert made("Anything") == ((), {})
    assert made("Anything", width=3) == ((), {"width": 3})
    flatten = {"_target_": "torch.nn.Flatten"}
    assert isinstance(make_block(flatten, TINY, DIM), nn.Flatten)
    with pytest.raises(ConfigError, match="missing 1 required positional argument: 'shape'"):
        made("Own")  # only by its place


class Holding(nn.Module):
    def __init__(self, shape: Any, inner: nn.Module | None = None, *widths: int) -> None:
        super().__init__()
        self.made, self.inner = shape, inner
        shape.append(9)  # what it is given is its own


@pytest.mark.parametrize("nested", [False, True])
def test_blocks_after_the_first_are_made_of_the_same_and_share_nothing(nested: bool) -> None:
    inner = {"inner": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}}
    config = {"_target_": f"{__name__}.Holding", **(inner if nested else {})}
    make = Blocks(config, TINY, DIM)
    first, second, third = (make() for _ in range(3))
    assert first.made == second.made == third.made == [*SHAPE, 9]
    assert type(first.made) is type(third.made)
    assert first.made is not second.made
    assert second.made is not third.made
    if nested:
        assert second.inner is not third.inner


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"_target_": "foo.Bar"}, "Error locating target 'foo.Bar'"),
        ({"_target_": 3}, "Expected a callable target, got '3'"),
        ({"_target_": f"{__name__}.named", "_args_": [1, 2, 3, 4]}, "takes 3 positional arguments"),
        (3, "Cannot instantiate config of type int"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(config: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_block(config, TINY, DIM)


def test_members_that_say_all_make_the_same_networks() -> None:
    told = [
        "+clients.members.0.base.fusion_dim=9",
        "+clients.members.0.base.shape=[1,28,28]",
        "+clients.members.0.modular.fusion_dim=9",
        "+clients.members.0.modular.classes=10",
    ]
    first, second = (
        assemble(composed("fusion.dim=9", "clients.count=1", *more)).engine.clients[0].model
        for more in ([], told)
    )
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "seed=3 rounds=null validation=0.2",
        "experiment=frugal data=kmnist10k local.tau=5 method.replay.rows=7 seed=1",
        "clients=paper clients.members.1.base.widths=[4,5] optimizer=adam optimizer.lr=1e-4",
        "method=ifl +method.extra=1 codec=int4",
        "anchors=other anchors.data.root=x optimizer.decay_rounds=9",
    ],
)
def test_configurations_of_tests_are_those_that_hydra_composes(typed: str) -> None:
    assert composed(*typed.split()) == composed_by_hydra(typed.split())

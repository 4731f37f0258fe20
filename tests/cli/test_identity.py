"""Pins the folder names of runs: what a yaml leaves out or says otherwise renames none."""

import inspect
from collections.abc import Mapping
from typing import Any

import pytest
from conftest import composed
from omegaconf import DictConfig, OmegaConf

from ifl import models
from ifl.cli.config import plain
from ifl.runs.identity import READY_MADE, TOLD, fingerprint, relevant

# 8 hex digits by option, of when blocks had to say what they are now told. Of experiments a few.
FOLDERS: Mapping[str, Mapping[str, str]] = {
    "data": {
        "digits": "5f47e34f",
        "fashion_mnist": "1637781c",
        "kmnist": "ec644462",
        "kmnist10k": "68c40fff",
        "mnist": "04e8943b",
    },
    "partition": {
        "classes": "791a5958",
        "dirichlet": "cb01fde7",
        "iid": "5f47e34f",
    },
    "clients": {
        "cnn_homogeneous": "4d9fc47a",
        "deep": "2094c0fa",
        "diverse": "8f78bcaf",
        "mlp_homogeneous": "aaa1c9bb",
        "paper": "5f47e34f",
        "paper_one_head": "682958ff",
        "resnet18": "47a1fa7e",
        "shallow": "23aa94e3",
        "shallow_and_deep": "691e4caa",
        "vit": "31f6009e",
    },
    "fusion": {
        "d128": "c3337895",
        "d432": "5f47e34f",
    },
    "local": {
        "tau1": "9e6906d6",
        "tau10": "5f47e34f",
    },
    "method": {
        "centralized": "4d9ae5fe",
        "feddistill": "7a383dc9",
        "fedgh": "12805e4d",
        "fl": "671ad5ea",
        "fsl": "2c47eff0",
        "ifl": "5f47e34f",
        "ifl_aligned": "d98e8a55",
        "ifl_frugal": "3e44b6cf",
        "lg_fedavg": "0ccb6a6b",
        "local": "69038fde",
    },
    "optimizer": {
        "adam": "9cd70512",
        "momentum": "5f47e34f",
        "sgd": "bb796da3",
    },
    "codec": {
        "bfloat16": "5851fcc8",
        "float16": "36677259",
        "float32": "5f47e34f",
        "int4": "b69a861c",
        "int8": "25c10414",
        "topk": "a57aec1e",
    },
    "augment": {
        "affine": "4c6fe3dc",
        "elastic": "0d108e5d",
        "none": "5f47e34f",
    },
    "experiment": {
        "bench/w1": "2a901ae4",
        "beyond/ablation": "2e0710ad",
        "frugal": "b84b345a",
        "open/optimizer": "5da70546",
        "paper/communication": "c98737c9",
        "paper/homogeneous": "8813a875",
    },
}
# Whose settings are others now: what the runs of before did is typed, and is found.
DONE_BEFORE: Mapping[str, str] = {
    "method=cse_fsl method.sync_clients=false": "51cc6c48",
    "method=fedproto method.predict=head": "6ad3a925",
    "method=ifl_statistics method.nonnegative=false": "e35ef2a7",
    "experiment=frugal rounds=60 local.tau=40 method.replay.steps=10 optimizer.lr=0.03 "
    "optimizer.decay_rounds=60": "5754c302",
}
W1 = """
- name: CNN
  base:
    _target_: ifl.models.conv_base
    shape: ${data.shape}
    channels: [16, 32, 48]
    fusion_dim: ${fusion.dim}
  modular:
    _target_: ifl.models.mlp_modular
    fusion_dim: ${fusion.dim}
    widths: [128]
    classes: ${data.classes}
"""  # conf/experiment/bench/w1.yaml as it was


def mark(config: DictConfig) -> str:
    return fingerprint(plain(config))


def test_the_default_run_keeps_its_folder() -> None:
    assert mark(composed()) == "5f47e34f"


@pytest.mark.parametrize("group", FOLDERS)
def test_an_option_keeps_its_folder(group: str) -> None:
    found = {option: mark(composed(f"{group}={option}")) for option in FOLDERS[group]}
    assert found == FOLDERS[group]


@pytest.mark.parametrize("typed", DONE_BEFORE)
def test_a_run_of_before_is_found_by_what_it_did_and_not_by_a_default_of_now(typed: str) -> None:
    before, (chosen, *settings) = DONE_BEFORE[typed], typed.split()
    assert mark(composed(chosen, *settings)) == before
    assert mark(composed(chosen)) != before


def test_what_a_method_came_to_have_later_is_its_own_setting() -> None:
    config = plain(composed("method=fedproto"))
    told = relevant(config)
    assert told["method.predict"] == "prototypes"
    config["method"].pop("predict")  # a run.json of before
    without = relevant(config)
    assert without == {k: v for k, v in told.items() if k != "method.predict"}
    assert without == relevant(plain(composed("method=fedproto", "method.predict=head")))
    config["method"] |= {"_target_": "mine.Method", "predict": "head", "epochs": 1}
    assert relevant(config)["method.predict"] == "head"  # of a method of one's own, all counts
    assert relevant(config)["method.epochs"] == 1


def test_a_block_that_says_what_it_could_leave_out_has_the_same_folder() -> None:
    short = composed("experiment=bench/w1")
    long = composed("experiment=bench/w1")
    long.clients.members = OmegaConf.create(W1)
    assert set(short.clients.members[0].base) == {"_target_", "channels"}
    assert relevant(plain(long)) == relevant(plain(short))
    assert mark(long) == mark(short) == "2a901ae4"
    wide = composed("experiment=bench/w1", "fusion.dim=99")
    assert relevant(plain(wide))["clients.members.0.modular.fusion_dim"] == 99
    assert mark(wide) != mark(short)


def test_a_value_of_its_own_counts() -> None:
    own = composed("+clients.members.0.base.fusion_dim=99")
    assert relevant(plain(own))["clients.members.0.base.fusion_dim"] == 99
    assert mark(own) != mark(composed())


@pytest.mark.parametrize(
    "block",
    [
        {"_target_": "torch.nn.Flatten"},
        {"_target_": "my.ifl.models.mlp_base", "widths": 3},
        {"_target_": "ifl.models.mlp_base", "_args_": [1, 2, 3]},
        {"widths": 3},
        None,
        3,
    ],
)
def test_only_ready_made_blocks_that_name_their_settings_are_spelt_out(block: Any) -> None:
    config: dict[str, Any] = {"data": {"shape": [1, 2, 3], "classes": 4}, "fusion": {"dim": 5}}
    told = relevant({**config, "clients": {"members": [{"base": block, "modular": block}]}})
    assert not {key for key in told if key.endswith(("shape.0", "fusion_dim", ".classes"))} - {
        "data.shape.0",
        "data.classes",
    }


@pytest.mark.parametrize("members", [3, [], [3], None])
def test_members_that_are_none_have_a_fingerprint_too(members: object) -> None:
    assert relevant({"data": 3, "clients": {"members": members}})["data"] == 3


def test_the_table_of_ready_made_blocks_is_what_these_take() -> None:
    blocks = {
        f"ifl.models.{name}": tuple(n for n in inspect.signature(block).parameters if n in TOLD)
        for name, block in vars(models).items()
        if inspect.isfunction(block)
        and block.__module__ == "ifl.models"
        and name.endswith(("_base", "_modular"))
    }
    assert {name: {*told} for name, told in READY_MADE.items()} == {
        name: {*told} for name, told in blocks.items()
    }

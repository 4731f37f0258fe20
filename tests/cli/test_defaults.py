"""Compares the defaults of the configuration with those of the library, and with run identity."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import pytest
from conftest import CONF, composed, options
from hydra.utils import get_object
from omegaconf import OmegaConf

from ifl.cli.build import make
from ifl.cli.config import known_keys
from ifl.client.privacy import Privacy
from ifl.client.settings import Optimizers, Training
from ifl.data.augment import Distortion
from ifl.federation.build import build
from ifl.federation.evaluation import Evaluation
from ifl.federation.participation import Participation
from ifl.federation.schedule import Schedule
from ifl.federation.workers import Workers
from ifl.methods.parts.anchors import Anchored
from ifl.methods.parts.replay import Replay
from ifl.runs.identity import LATER, LATER_OF

Call = Callable[..., Any]
Facts = dict[tuple[str, str], tuple[object, object]]  # what: (value in yaml, default in code)

GROUPS = (
    *("data", "partition", "clients", "method", "optimizer", "codec", "augment", "anchors"),
    "adversary",
)
FILES = {(g, o): OmegaConf.load(CONF / g / f"{o}.yaml") for g in GROUPS for o in options(g)}
BUILT = [option for option, file in FILES.items() if "_target_" in file]
# An option that begins with ``defaults`` is another one with some values replaced: a preset.
BASES = [option for option in BUILT if "defaults" not in FILES[option]]
# What a set of torchvision is called and holds, which it finds out itself where no yaml says it.
OF_THE_SET = {"name", "shape", "classes", "train", "test"}
NO_DEFAULT = ("local", "fusion")  # sections whose values every part of the library wants told
# The library does the least unless it is told; a command trains for long, on a machine of its own.
DIFFERENT = {
    ("", "eval_every"): "a round is cheaper than testing every composition after it",
    ("", "checkpoint_every"): "a command may be killed",
    ("runtime", "workers"): "the library starts no thread that nobody asked for",
    **dict.fromkeys(
        [(f"codec={o}", "labels") for o in ("bfloat16", "float16", "int4", "int8", "topk")],
        "the paper sends whole bytes, codec=float32 too; who saves bytes saves those of labels",
    ),
}
# Settings that no _target_ takes: (section, key) -> who takes it, and as what.
TAKEN: dict[tuple[str, str], tuple[Call, str]] = {
    ("", "seed"): (Training, "seed"),
    ("", "eval_every"): (Schedule, "eval_every"),
    ("", "checkpoint_every"): (Schedule, "checkpoint_every"),
    ("", "keep_state"): (Schedule, "keep_state"),
    ("", "keep_predictions"): (Schedule, "keep_predictions"),
    ("", "on_bad_upload"): (build, "on_bad_upload"),
    ("runtime", "device"): (Training, "device"),
    ("", "logit_adjustment"): (Training, "logit_adjustment"),
    ("runtime", "precision"): (Training, "precision"),
    ("runtime", "resident"): (build, "resident"),
    ("runtime", "workers"): (Workers, "count"),
    ("runtime", "threads"): (Workers, "threads"),
    ("optimizer", "decay_rounds"): (Optimizers, "decay_rounds"),
    **{
        (section, name): (taker, name)
        for section, taker in (
            ("participation", Participation),
            ("privacy", Privacy),
            ("stop", Schedule),
            ("evaluate", Evaluation),
        )
        for name in composed()[section]
    },
}


def default(call: Call, name: str) -> object:
    """Return a parameter's default; what a dataclass makes anew is made."""
    for field in fields(call) if is_dataclass(call) else ():
        if field.name == name and field.default_factory is not MISSING:
            return field.default_factory()
    return inspect.signature(call).parameters[name].default


def defaults(config: Any, option: str) -> Iterator[tuple[tuple[str, str], tuple[object, object]]]:
    """Yield what an option's ``_target_`` has a default for, too; nested ones included.

    What it takes from another setting (``${batch_size}``) is not its own and says nothing.
    """
    raw = OmegaConf.to_container(config)
    assert isinstance(raw, dict)
    call = get_object(raw["_target_"])
    for name, parameter in inspect.signature(call).parameters.items():
        if name not in raw or parameter.default is parameter.empty or "${" in str(raw[name]):
            continue
        nested = "_target_" in raw[name] if isinstance(raw[name], dict) else False
        if nested:
            yield from defaults(config[name], f"{option}.{name}")
        value = make(config[name]) if nested else raw[name]
        expected = default(call, name)
        yield (option, name), (value, [*expected] if isinstance(expected, tuple) else expected)


def facts() -> Facts:
    """Return all that both the configuration and the library have a default for."""
    config = composed()
    found: Facts = {}
    for (section, key), (taker, name) in TAKEN.items():
        value = config[section][key] if section else config[key]
        found[section, key] = value, default(taker, name)
    for group, name in BASES:
        config = composed(f"{group}={name}")[group]
        its = dict(defaults(config, f"{group}={name}"))
        if config._target_ == "ifl.data.from_torchvision":
            its = {what: both for what, both in its.items() if what[1] not in OF_THE_SET}
        found |= its
    return found


def test_yaml_and_library_have_the_same_defaults_but_for_those_that_are_meant_to_differ() -> None:
    found = facts()
    assert {what for what, (value, other) in found.items() if value != other} == {*DIFFERENT}
    sections = {what[0] for what in found}
    assert {"augment=none", "method=ifl", "method=ifl.replay"} <= sections
    assert known_keys().keys() - {"", *GROUPS, *NO_DEFAULT} <= sections


@pytest.mark.parametrize("option", [name for group, name in BASES if group == "method"])
def test_a_method_takes_the_papers_local_steps_unless_it_is_told(option: str) -> None:
    method = composed(f"method={option}").method
    assert method.tau == default(get_object(method._target_), "tau")


def test_settings_that_came_later_count_by_their_defaults_as_if_they_were_not_there() -> None:
    config = composed()
    takers: dict[str, Call] = {"augment": Distortion, "optimizer": Optimizers}
    takers |= {
        "": Training,
        "privacy": Privacy,
        "evaluate": Evaluation,
        "stop": Schedule,
        "runtime": Training,
    }
    takers |= {"method.replay": Replay, "method.anchors": Anchored}
    for key, (first, *same) in LATER.items():
        section, _, name = key.rpartition(".")
        if name == "_target_":
            now = first.replace("ifl.augment", "ifl.data.augment")
            assert OmegaConf.select(config, key) == now
            continue
        assert OmegaConf.select(config, key) == first == default(takers[section], name), key
        assert all(value == 0 for value in same), key  # of noise, where none is 0
    for section in (
        "augment",
        "anchors",
        "adversary",
        "privacy",
        "evaluate",
    ):  # they came as a whole
        assert {f"{section}.{name}" for name in config[section]} <= {*LATER}


# Settings whose default is not what runs of before did.
OTHERWISE = {
    ("ifl.methods.fedproto.FedProto", "predict"),
    ("ifl.methods.ifl_statistics.IFLStatistics", "nonnegative"),
}


@pytest.mark.parametrize("address", LATER_OF)
def test_what_methods_came_to_have_later_counts_by_what_they_did_before(address: str) -> None:
    for name, (first, *_) in LATER_OF[address].items():
        now = default(get_object(address), name)
        assert (now != first) == ((address, name) in OTHERWISE), name

"""Attacks one seed: trains a federation, then attacks every client of it."""

import argparse
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ifl.cli.build import assemble, make, make_block
from ifl.cli.config import CONF
from ifl.client.privacy import ClippedNoise
from ifl.data.dataset import Dataset
from ifl.errors import ConfigError
from ifl.seeding import global_stream
from ifl.trials.attack.attacks import (
    PLAIN,
    PLAIN_NAME,
    STATISTICS,
    Attack,
    CurveRow,
    Effort,
    Pictures,
    Row,
)
from ifl.trials.attack.exposure import Coded, Exposure, Noisy
from ifl.trials.attack.labels import LabelRow, label_rows
from ifl.trials.attack.similarity import WINDOW

PAPER = "paper"  # the target that is no experiment: IFL as the command line has it
SENT = (PLAIN_NAME, "int4")  # what travels in other targets, and where labels are told
ATTACKED = "ifl.methods.ifl.IFL"  # the class whose z and y are attacked


@dataclass
class Spoils:
    """All that attacks on one federation, or several, came to."""

    rows: list[Row] = field(default_factory=list)
    curves: list[CurveRow] = field(default_factory=list)
    labels: list[LabelRow] = field(default_factory=list)
    pictures: dict[str, list[Pictures]] = field(default_factory=dict)  # by target
    data: str = ""

    def add(self, other: "Spoils") -> None:
        """Append another's rows."""
        self.rows += other.rows
        self.curves += other.curves
        self.labels += other.labels
        self.data = other.data


def exposures(clip: float, noise: Sequence[float]) -> dict[str, Exposure | None]:
    """Return what travels, by its name: every codec of conf/codec, noise, class means."""
    coded: dict[str, Exposure | None] = {PLAIN_NAME: PLAIN}
    for path in sorted((CONF / "codec").glob("*.yaml")):
        if path.stem != PLAIN_NAME:
            coded[path.stem] = Coded(make(OmegaConf.load(path)))
    try:
        noisy = {f"clip {clip:g}, noise {s:g}": Noisy(ClippedNoise(clip, s)) for s in noise}
    except ConfigError as error:
        raise ConfigError(str(error).replace("privacy.", "--")) from error
    return {**coded, **noisy, STATISTICS: None}


def attacked(options: argparse.Namespace, seed: int, target: str) -> Spoils:
    """Train a federation and attack its clients."""
    torch.set_num_threads(1)
    config = composed(options, seed, target)
    federation = assemble(config)
    clients, members = federation.engine.clients, config.clients.members
    check_attackable(federation.data)
    if len(clients) < 2:
        raise ConfigError(
            f"clients.count must be at least 2, a victim and an attacker, got {len(clients)}"
        )
    smallest = min(len(client.shard) for client in clients)
    if options.images > smallest:
        raise ConfigError(
            f"--images must not exceed the smallest shard, {smallest} images, got {options.images}"
        )
    for number in range(1, config.rounds + 1):
        federation.engine.round(number)
    travel = exposures(options.clip, options.noise)
    if target != PAPER:
        travel = {name: travel[name] for name in SENT}
    told = {name: rule for name in SENT if (rule := travel.get(name))}
    classes, spoils = federation.data.classes, Spoils(data=federation.data.name)
    effort = Effort(options.epochs, options.tries, options.views, options.steps)
    for victim in clients[: options.victims]:
        later, earlier = clients[victim.number + 1 :], clients[: victim.number]
        others = [*later, *earlier]

        def fresh(purpose: str, number: int = victim.number) -> nn.Module:
            with global_stream(seed, "attack", number, purpose):
                own = members[number % len(members)].base
                block = make_block(own, federation.data, config.fusion.dim)
            return block.to(memory_format=torch.channels_last)

        surrogates: dict[str, nn.Module] = {}
        if not options.weights_only:
            surrogates["architecture"] = fresh("modules")
            surrogates["none"] = deepcopy(others[0].model.base)
        given = surrogates, travel, options.images, classes, effort, target
        attack = Attack(victim, others[0], *given)
        attack.run()
        spoils.rows += attack.rows
        spoils.curves += attack.curves
        spoils.pictures.setdefault(target, []).append(Pictures(attack.base, attack.pictures))
        if not options.weights_only:
            block = fresh("labels")
            spoils.labels += label_rows(
                victim, others, block, told, PLAIN, target, classes, effort.steps
            )
        print(f"seed {seed}, {target}: {victim.name} attacked", flush=True)
    return spoils


def check_attackable(data: Dataset) -> None:
    """Raise ConfigError unless the samples are images that can be compared.

    Their values have to be those of uint8, scaled, and they as large as a window of SSIM.
    """
    x = data.train.x
    images = len(data.shape) == 3 and (x.dtype == torch.uint8 or x.is_floating_point())
    if not images or min(data.shape[1:]) < WINDOW:
        raise ConfigError(
            f"attacks reconstruct images of {WINDOW} x {WINDOW} pixels or more, got {data.name} "
            f"with samples of the shape {list(data.shape)}; use --data digits, say"
        )
    inputs = data.train.inputs()
    if inputs.min() < -1 or inputs.max() > 1:
        raise ConfigError(
            f"attacks compare images in [-1, 1], got {data.name} with values from "
            f"{float(inputs.min()):.3g} to {float(inputs.max()):.3g}; scale them"
        )


def composed(options: argparse.Namespace, seed: int, target: str) -> DictConfig:
    """Return the configuration of one seed of a target, an experiment or "paper".

    Raises:
        ConfigError: its method is not IFL, whose z and y are what is attacked, or it has no
            number of rounds.
    """
    experiment = [] if target == PAPER else [f"experiment={target}"]
    rounds = [] if options.rounds is None else [f"rounds={options.rounds}"]
    own = [f"data={options.data}", *experiment, "runtime.workers=1", *options.overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*own, *rounds, f"seed={seed}"])
    if config.method._target_ != ATTACKED:
        raise ConfigError(
            f"method must be one whose class is {ATTACKED}, got {config.method._target_}; choose "
            "method=ifl, say"
        )
    if config.rounds is None:
        raise ConfigError("rounds must be a number to attack after, got null; give --rounds")
    return config

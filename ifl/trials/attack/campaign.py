"""Attacks one seed: trains a federation, then attacks every client of it."""

import argparse
from collections.abc import Sequence
from copy import deepcopy

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from ifl.cli.build import assemble, make, make_block
from ifl.cli.config import CONF
from ifl.client.privacy import ClippedNoise
from ifl.data.dataset import Dataset
from ifl.errors import ConfigError
from ifl.seeding import global_stream
from ifl.trials.attack.attacks import PAPER, PLAIN, STATISTICS, Attack, Effort, Pictures, Row
from ifl.trials.attack.exposure import Coded, Exposure, Noisy
from ifl.trials.attack.similarity import WINDOW

ATTACKED = "ifl.methods.ifl.IFL"  # the class whose z and y are attacked


def exposures(clip: float, noise: Sequence[float]) -> dict[str, Exposure | None]:
    """Return what travels, by its name: every codec of conf/codec, noise, class means."""
    coded: dict[str, Exposure | None] = {PAPER: PLAIN}
    for path in sorted((CONF / "codec").glob("*.yaml")):
        if path.stem != "float32":
            coded[path.stem] = Coded(make(OmegaConf.load(path)))
    try:
        noisy = {f"clip {clip:g}, noise {s:g}": Noisy(ClippedNoise(clip, s)) for s in noise}
    except ConfigError as error:
        raise ConfigError(str(error).replace("privacy.", "--")) from error
    return {**coded, **noisy, STATISTICS: None}


def attacked(options: argparse.Namespace, seed: int) -> tuple[list[Row], list[Pictures], str]:
    """Train a federation and attack each of its clients; return the name of its data set too."""
    torch.set_num_threads(1)
    config = composed(options, seed)
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
    for number in range(1, options.rounds + 1):
        federation.engine.round(number)
    rows, pictures = [], []
    for victim in clients:
        attacker = clients[(victim.number + 1) % len(clients)]
        with global_stream(seed, "attack", victim.number, "modules"):
            own = members[victim.number % len(members)].base
            fresh = make_block(own, federation.data, config.fusion.dim)
            fresh = fresh.to(memory_format=torch.channels_last)
            surrogates = {"architecture": fresh, "none": deepcopy(attacker.model.base)}
            attack = Attack(
                victim,
                attacker,
                surrogates,
                exposures(options.clip, options.noise),
                options.images,
                federation.data.classes,
                Effort(options.steps),
            )
            found, images = attack.run()
        rows += found
        pictures.append(images)
        print(f"seed {seed}: {victim.name} attacked", flush=True)
    return rows, pictures, federation.data.name


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


def composed(options: argparse.Namespace, seed: int) -> DictConfig:
    """Return the configuration of one seed.

    Raises:
        ConfigError: its method is not IFL, whose z and y are what is attacked.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        typed = [f"data={options.data}", "runtime.workers=1", *options.overrides, f"seed={seed}"]
        config = compose("config", typed)
    if config.method._target_ != ATTACKED:
        raise ConfigError(
            f"method must be one whose class is {ATTACKED}, got {config.method._target_}; choose "
            "method=ifl, say"
        )
    return config

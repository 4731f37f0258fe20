"""Composes two vendors' blocks: ifl compose BASE MODULAR --data NAME [data.KEY=value ...].

The accuracy on the test part of the data, or with --predictions a guess for every sample, of a
base block and a modular block that ifl export wrote. Both are checked as ifl validate does.
"""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from ifl.checks import place
from ifl.cli.arguments import ready
from ifl.cli.config import CONF
from ifl.cli.console import spell_out
from ifl.errors import BlockError, ConfigError, IFLError

if TYPE_CHECKING:
    from torch import Tensor

    from ifl.blocks.card import Card
    from ifl.blocks.program import Block
    from ifl.data.dataset import Dataset

TOLD = (HydraException, OmegaConfBaseException, YAMLError, IFLError, OSError)


def main() -> int:
    """Do what the command line says; return the exit code."""
    spell_out()
    lines = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=lines[2].strip())
    parser.add_argument("base", type=place, help="the folder of a base block")
    parser.add_argument("modular", type=place, help="the folder of a modular block")
    parser.add_argument("overrides", nargs="*", type=override, metavar="data.KEY=value")
    parser.add_argument("--data", required=True, help="an option of conf/data, such as digits")
    parser.add_argument("--part", choices=["test", "train"], default="test", help="of the data")
    parser.add_argument(
        "--predictions", type=place, metavar="FILE", help="a new CSV file: a guess for each sample"
    )
    parser.add_argument("--config-dir", type=place, help="holds your own data/*.yaml")
    options = parser.parse_intermixed_args()
    typed = [f"data={options.data}", *options.overrides]
    try:
        print(composed(options, typed))
    except TOLD as error:
        from ifl.cli.explain import explained

        print(f"Error: {explained(error, CONF, typed)}", file=sys.stderr)
        return 1
    return 0


def override(argument: str) -> str:
    """Return a setting of the data.

    Raises:
        argparse.ArgumentTypeError: it is one of something else.
    """
    key, equals, _ = argument.partition("=")
    if not equals or not (key.lstrip("+").startswith("data.") or key == "validation"):
        raise argparse.ArgumentTypeError(f"must be data.KEY=value or validation=F, got {argument}")
    return argument


def composed(options: argparse.Namespace, typed: Sequence[str]) -> str:
    """Check the blocks, compose them on the data; return what came of it."""
    from ifl.blocks.files import read_block
    from ifl.blocks.pairing import check_data, check_pair, expectation
    from ifl.federation.identity import data_digest

    if options.predictions and os.path.lexists(options.predictions):
        raise BlockError(
            f"{options.predictions} is there already, and nothing is overwritten; name another"
        )
    base, modular = read_block(options.base), read_block(options.modular)
    check_pair(base.card, modular.card)
    data = data_of(typed, options.config_dir)
    numbers = [str(number) for number in range(data.classes)]
    check_data(base.card, data.shape, data.test.kind, data.class_names or numbers)
    shard = getattr(data, options.part)
    found = guessed(base, modular, shard.inputs())
    if options.predictions:
        write(options.predictions, shard.y, found, base.card, data.class_names)
    right = int((found == shard.y).sum())
    same = data_digest(data) == base.card.data_sha256
    whose = "the data of the base block's run" if same else "not the data of the base block's run"
    lines = [
        f"base      {told(base.card)}",
        f"modular   {told(modular.card)}",
        f"expected  {expectation(base.card, modular.card)}",
        f"data      {data.name}, {options.part} part, {len(shard)} samples; {whose}",
        f"accuracy  {100 * right / len(shard):.1f} % ({right} of {len(shard)})",
    ]
    return "\n".join([*lines, *([str(options.predictions)] if options.predictions else [])])


def told(card: "Card") -> str:
    """Return in a line what a block is."""
    return f"{card.title}, {card.method}, {card.rounds} rounds on {card.data}, run {card.run}"


def data_of(typed: Sequence[str], folder: Path | None) -> "Dataset":
    """Load a data set as a run does.

    Args:
        typed: overrides of the configuration.
        folder: of yaml files of one's own.
    """
    from ifl.cli.build import make
    from ifl.cli.config import typed_from
    from ifl.data.dataset import check_dataset, hold_out
    from ifl.seeding import global_stream

    own = [f"hydra.searchpath=['file://{folder.resolve()}']"] if folder else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*map(ready, typed), *own])
    if OmegaConf.is_missing(config.data, "root"):
        raise ConfigError("data.root has to be set: data.root=...")
    if config.data.get("root") is not None:
        config.data.root = typed_from(config.data.root)
    OmegaConf.resolve(config.data)
    with global_stream(0, "data"):
        data = check_dataset(make(config.data))
    return hold_out(data, config.validation)


def guessed(base: "Block", modular: "Block", x: "Tensor") -> "Tensor":
    """Return the guessed classes (n,) int64 of samples x (n, ...)."""
    from ifl.federation.evaluation import guesses

    (found,) = guesses({"base": base}, {"modular": modular}, x).values()
    return found


def write(
    path: Path, labels: "Tensor", found: "Tensor", card: "Card", names: Sequence[str]
) -> None:
    """Write a row for each sample: its number, its label, the guess, and the guess by name."""
    from ifl.blocks.pairing import unnamed

    called = names if unnamed(card.classes) and names else card.classes
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sample", "label", "guess", "class"])
        for number, (label, guess) in enumerate(zip(labels.tolist(), found.tolist(), strict=True)):
            writer.writerow([number, label, guess, called[guess]])

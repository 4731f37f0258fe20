"""Reconstruct images, and tell labels, from the fusion outputs that a client uploads.

python scripts/attack.py [key=value ...] [--targets paper frugal one_round] [--seeds 0,1,2]
                         [--data kmnist10k] [--images 64] [--noise 0.01 0.1 1] [--out FOLDER]
                         [--mixtures 1 2 4 8 16]

IFL is trained (key=value as for scripts/run.py) and then attacked. The victim is every client in
turn; the attacker is the next one, or a server that holds that one's images. It has z as decoded,
their labels y, and images of its own from the same source, none of the victim's. The images
attacked are training images of the victim, after the last round. What it knows:

  weights       the victim's base block itself, or answers to any questions to it: the worst case
  architecture  how that block is built; it trains a surrogate from initial weights
  none          nothing, as in the protocol; its own base block goes on as a surrogate

A surrogate learns from 512 z and y of the victim, z as it is whatever travels. On its own images
and distorted views of them the attacker trains convolutional decoders (z, y) -> x and takes the
best of three, by a tenth of the images that it held out; for each other thing that travels this
one goes on learning. All start from what y alone tells, the mean image of the class.

With --mixtures nothing is trained: it measures how like its nearest own image a mixture of that
many images is that a client publishes as an anchor (ifl/trials/attack/mixtures.py).

Labels are told from z without y, with the same knowledge but for "none": there the attacker has
z and y of the other clients alone, the pool (ifl/trials/attack/labels.py).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path

import pandas as pd
from hydra.errors import CompactHydraException
from joblib import Parallel, delayed
from omegaconf.errors import OmegaConfBaseException

from ifl.analysis.pictures import png
from ifl.checks import place, positive
from ifl.cli.config import CONF
from ifl.cli.console import spell_out
from ifl.cores import available_cores
from ifl.errors import IFLError
from ifl.trials.attack.attacks import CurveRow, Row
from ifl.trials.attack.campaign import PAPER, Spoils, attacked, composed, exposures
from ifl.trials.attack.labels import LabelRow
from ifl.trials.attack.mixtures import MixtureRow, published, table
from ifl.trials.attack.pages import figure, tables

OWN = {"data": "--data", "rounds": "--rounds", "seed": "--seeds", "experiment": "--targets"}


def write(options: argparse.Namespace) -> str:
    """Attack every seed of every target, write what came of it; return the tables."""
    for target in options.targets:
        composed(options, options.seeds[0], target)
    exposures(options.clip, options.noise)
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = [(seed, target) for seed in options.seeds for target in options.targets]
    at_once = min(options.jobs or available_cores(), len(jobs))
    done = Parallel(n_jobs=at_once)(delayed(attacked)(options, *job) for job in jobs)
    spoils = Spoils()
    for part in done:
        spoils.add(part)
    files: dict[str, Sequence[Row | LabelRow | CurveRow]] = {
        "attack": spoils.rows,
        "labels": spoils.labels,
        "curves": spoils.curves,
    }
    frames = {name: pd.DataFrame([asdict(row) for row in rows]) for name, rows in files.items()}
    for name, frame in frames.items():
        if len(frame):
            path = options.out / f"{name}.csv"
            frame.round(5).to_csv(path, index=False, lineterminator="\n")
    pictures = {k: v for part in done[: len(options.targets)] for k, v in part.pictures.items()}
    drawn = figure(pictures, spoils.data, options.seeds[0])
    (options.out / "attack.png").write_bytes(png(drawn, dpi=110))
    shown = tables(frames["attack"], frames["labels"], frames["curves"], spoils.data)
    text = "\n".join(f"{part.caption}\n\n{part.markdown()}" for part in shown)
    (options.out / "attack.md").write_text(text, encoding="utf-8")
    return text


def write_mixtures(options: argparse.Namespace) -> str:
    """Measure what mixtures show for every seed of the first target, write it; return the table."""
    options.out.mkdir(parents=True, exist_ok=True)
    rows, data = list[MixtureRow](), ""
    for seed in options.seeds:
        found, data = published(options, seed, options.targets[0])
        rows += found
    frame = pd.DataFrame([asdict(row) for row in rows])
    frame.round(5).to_csv(options.out / "mixtures.csv", index=False, lineterminator="\n")
    shown = table(rows, data)
    text = f"{shown.caption}\n\n{shown.markdown()}"
    (options.out / "mixtures.md").write_text(text, encoding="utf-8")
    return text


def number(argument: str) -> float:
    """Return the number > 0 that an argument stands for."""
    value = float(argument)
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"must be a number > 0, got {argument}")
    return value


def natural(argument: str) -> int:
    """Return the whole number >= 0 that an argument stands for."""
    if not argument.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number >= 0, got {argument}")
    return int(argument)


def override(argument: str) -> str:
    """Return a setting of scripts/run.py, unless it is one that has an option here."""
    key = argument.partition("=")[0]
    if key in OWN:
        raise argparse.ArgumentTypeError(f"{argument} is said with {OWN[key]} here")
    return argument


def listed(argument: str) -> list[int]:
    """Return the seeds of 0,1,2."""
    if not all(part.isdecimal() for part in argument.split(",")):
        raise argparse.ArgumentTypeError(f"must be whole numbers such as 0,1,2, got {argument}")
    return [int(part) for part in argument.split(",")]


def main() -> int:
    """Do what the command line says; return the exit code."""
    spell_out()
    lines = (__doc__ or "").partition("\n")
    kept = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=lines[0] + lines[2], formatter_class=kept)
    known = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
    parser.add_argument("overrides", nargs="*", type=override, metavar="key=value")
    parser.add_argument("--data", choices=known, default="digits")
    experiments = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
    parser.add_argument(
        "--targets",
        nargs="+",
        choices=[PAPER, *experiments],
        default=[PAPER],
        help="paper: IFL as key=value has it; or experiments",
    )
    parser.add_argument("--rounds", type=positive, help="before the attack; as configured")
    parser.add_argument("--seeds", type=listed, default=[0], help="such as 0,1,2")
    parser.add_argument("--images", type=positive, default=64, help="attacked, of each client")
    parser.add_argument("--clip", type=number, default=1.0, help="norm of z, where there is noise")
    parser.add_argument("--noise", type=float, nargs="*", default=[0.01, 0.1, 1.0])
    parser.add_argument("--victims", type=positive, help="so many clients; all by default")
    parser.add_argument("--epochs", type=number, default=40, help="of a decoder")
    parser.add_argument("--tries", type=positive, default=3, help="decoders; the best is taken")
    parser.add_argument("--views", type=natural, default=4, help="distorted, of each own image")
    parser.add_argument("--steps", type=positive, default=400, help="of a surrogate or classifier")
    parser.add_argument(
        "--weights-only", action="store_true", help="leave out surrogates and labels"
    )
    parser.add_argument(
        "--mixtures",
        type=positive,
        nargs="+",
        metavar="COUNT",
        help="images in one; no attack on z",
    )
    parser.add_argument("--jobs", type=positive, help="attacks at a time; one per core by default")
    parser.add_argument("--out", type=place, default=Path("outputs/attack"))
    options = parser.parse_intermixed_args()
    try:
        print(write_mixtures(options) if options.mixtures else write(options), end="")
    except (CompactHydraException, OmegaConfBaseException, IFLError, OSError) as error:
        from ifl.cli.explain import explained

        print(f"Error: {explained(error, CONF, sys.argv[1:])}", file=sys.stderr)
        return 1
    return 0

"""Reconstruct images from the fusion outputs that a client uploads.

python scripts/attack.py [key=value ...] [--seeds 0,1,2] [--data kmnist10k] [--rounds 100]
                         [--images 16] [--noise 0.01 0.1 1] [--out FOLDER]

IFL is trained (key=value as for scripts/run.py) and then attacked. The victim is every client in
turn; the attacker is the next one, or a server that holds that one's images. It has z as decoded,
their labels y, and images of its own from the same source, none of the victim's. The images
attacked are training images of the victim, after the last round. What it knows:

  weights       the victim's base block itself, or answers to any questions to it: the worst case
  architecture  how that block is built; it trains a surrogate from initial weights
  none          nothing, as in the protocol; its own base block goes on as a surrogate

A surrogate learns from 512 z and y of the victim, z as in the paper whatever travels. Two
attackers: an inverter (z, y) -> x that is trained for what travels, and descent on x through the
block. Both start from what y alone tells, the mean image of the class.
"""

import argparse
import sys
from dataclasses import asdict
from math import inf
from pathlib import Path

import pandas as pd
from hydra.errors import CompactHydraException
from joblib import Parallel, delayed
from omegaconf.errors import OmegaConfBaseException

from ifl.analysis.charts import png
from ifl.checks import place, positive
from ifl.cli.config import CONF
from ifl.cli.console import spell_out
from ifl.cores import available_cores
from ifl.errors import IFLError
from ifl.trials.attack.campaign import attacked, composed, exposures
from ifl.trials.attack.pages import figure, tables

OWN = {"data": "--data", "rounds": "--rounds", "seed": "--seeds"}


def write(options: argparse.Namespace) -> str:
    """Attack every seed, write what came of it; return the tables."""
    composed(options, options.seeds[0])
    exposures(options.clip, options.noise)
    options.out.mkdir(parents=True, exist_ok=True)
    at_once = min(options.jobs or available_cores(), len(options.seeds))
    done = Parallel(n_jobs=at_once)(delayed(attacked)(options, seed) for seed in options.seeds)
    rows = [asdict(row) for found, _, _ in done for row in found]
    table = pd.DataFrame(rows)
    table.round(5).to_csv(options.out / "attack.csv", index=False, lineterminator="\n")
    _, pictures, data = done[0]
    (options.out / "attack.png").write_bytes(png(figure(pictures, data, options.seeds[0]), dpi=110))
    shown = tables(table, data)
    text = "\n".join(f"{part.caption}\n\n{part.markdown()}" for part in shown)
    (options.out / "attack.md").write_text(text, encoding="utf-8")
    return text


def number(argument: str) -> float:
    """Return the number > 0 that an argument stands for."""
    value = float(argument)
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"must be a number > 0, got {argument}")
    return value


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
    parser.add_argument("--rounds", type=positive, default=100, help="of IFL before the attack")
    parser.add_argument("--seeds", type=listed, default=[0], help="such as 0,1,2")
    parser.add_argument("--images", type=positive, default=16, help="attacked, of each client")
    parser.add_argument("--clip", type=number, default=1.0, help="norm of z, where there is noise")
    parser.add_argument("--noise", type=float, nargs="*", default=[0.01, 0.1, 1.0])
    parser.add_argument(
        "--steps",
        type=positive,
        default=400,
        help="of an inverter and a surrogate; others in proportion",
    )
    parser.add_argument("--jobs", type=positive, help="seeds at a time; one per core by default")
    parser.add_argument("--out", type=place, default=Path("outputs/attack"))
    options = parser.parse_intermixed_args()
    try:
        print(write(options), end="")
    except (CompactHydraException, OmegaConfBaseException, IFLError, OSError) as error:
        from ifl.cli.explain import explained

        print(f"Error: {explained(error, CONF, sys.argv[1:])}", file=sys.stderr)
        return 1
    return 0

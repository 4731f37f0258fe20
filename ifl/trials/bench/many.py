"""Measures a round and its memory where 100 clients of very many are drawn, and the others rest.

python scripts/scale.py --many [--clients 100 1000 ...] [--networks paper small]

Every N is a process of its own that draws 100 clients for each of some rounds of IFL, with
runtime.resident=100: at N = 100 all are always there. Time is the median of rounds in CPU seconds
of one thread, after a first round, so that what else the machine does hardly counts.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ifl.cli.config import CONF
from ifl.data.dataset import Dataset, Shard
from ifl.trials.memory import peak_mb

DRAWN = 100  # clients of a round
CLASSES = 10
# Of each kind of networks: side of an image, B, the largest N, and the configuration.
NETWORKS: Mapping[str, tuple[int, int, int, Sequence[str]]] = {
    "paper": (28, 16, 10_000, ["clients=paper"]),
    "small": (
        *(8, 8, 100_000),
        [
            *("clients=mlp_homogeneous", "fusion.dim=32"),
            "clients.members.0.base.widths=[100]",
            "clients.members.0.modular.widths=[64]",
        ],
    ),
}
COLUMNS = {
    "seconds": "CPU seconds per round",
    "build_seconds": "CPU seconds to build",
    "peak_mb": "peak memory (MB)",
}
COLOURS = {"paper": "#0072B2", "small": "#D55E00"}
LABELS = {"paper": "clients=paper", "small": "12,494 parameters"}


def images(samples: int, side: int) -> Dataset:
    """Return random images (samples, 1, side, side) uint8, and as many classes as there are digits.

    What they show is of no account: nothing is learnt from them but how long it takes.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (1, side, side)
    x = torch.randint(0, 256, (samples, *shape), generator=generator, dtype=torch.uint8)
    train = Shard(x, torch.arange(samples) % CLASSES)
    return Dataset("random", train, train.first(250), shape, CLASSES)


def one(networks: str, clients: int, rounds: int) -> dict[str, Any]:
    """Measure N clients in this process, over so many rounds after the first."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from ifl.cli.build import assemble

    side, batch_size, _, chosen = NETWORKS[networks]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [*chosen, f"clients.count={clients}", f"batch_size={batch_size}"]
        overrides += ["evaluate.bases=8", "evaluate.modulars=8", "runtime.workers=1"]
        overrides += [f"participation.fraction={DRAWN / clients}", f"runtime.resident={DRAWN}"]
        config = compose("config", overrides)
    data = {"_target_": f"{__name__}.images", "samples": clients * batch_size, "side": side}
    OmegaConf.update(config, "data", data, merge=False, force_add=True)
    start = time.process_time()
    engine = assemble(config).engine
    built, spent = time.process_time() - start, []
    for number in range(1, rounds + 2):
        start = time.process_time()
        engine.round(number)
        spent.append(time.process_time() - start)
    return {
        "networks": networks,
        "clients": clients,
        "rounds": rounds,
        "seconds": statistics.median(spent[1:]),
        "build_seconds": built,
        "peak_mb": peak_mb(),
    }


def exponent(table: pd.DataFrame, column: str) -> float:
    """Return b of the least-squares fit column = a * clients^b, in logarithms."""
    return float(np.polyfit(np.log(table["clients"]), np.log(table[column]), 1)[0])


def draw(table: pd.DataFrame) -> Figure:
    """Draw every column against N, on logarithmic axes, with the exponents of the fits."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    for axes, (column, label) in zip(figure.subplots(1, 3), COLUMNS.items(), strict=True):
        for networks, rows in table.groupby("networks"):
            name, power = str(networks), exponent(rows, column)
            text = f"{LABELS[name]}: N to the power {power:.2f}"
            axes.loglog(rows["clients"], rows[column], "o-", color=COLOURS[name], label=text)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set(major_formatter="{x:g}", minor_formatter="")
        axes.xaxis.set(major_formatter="{x:,.0f}", minor_formatter="")
        axes.set(xlabel="clients N", ylabel=label)
        axes.margins(y=0.35)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="upper left")
    figure.suptitle(f"IFL, {DRAWN} clients a round, runtime.resident={DRAWN}")
    return figure


def measure(networks: Sequence[str], clients: Sequence[int], rounds: int, out: Path) -> None:
    """Measure every N that networks are for in a process of its own; print, write and draw."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in networks:
        for count in (n for n in clients if n <= NETWORKS[name][2]):
            command = [sys.executable, "-m", f"{__package__}.scale", "--one", "--many"]
            command += ["--networks", name, "--clients", str(count), "--rounds", str(rounds)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    table = pd.DataFrame(rows)
    first = table.groupby("networks")["seconds"].transform("first")
    table["ratio"] = table["seconds"] / first  # to the round of the fewest clients
    table.round(4).to_csv(out / "many.csv", index=False)
    if table.groupby("networks").size().min() > 1:
        draw(table).savefig(out / "many.png", dpi=150)
    for (kind, its), column in ((pair, c) for pair in table.groupby("networks") for c in COLUMNS):
        if len(its) > 1 and np.isfinite(power := exponent(its, column)):
            print(f"{kind}, {COLUMNS[column]}: N to the power {power:.2f}")

"""Measure time and memory of a round against the number of clients, with fitted exponents.

python scripts/scale.py [--clients 4 8 ...] [--data kmnist10k] [--out outputs/reference/scale]
python scripts/scale.py --many [--clients 100 1000 ...] [--networks paper small]

Every N is a process of its own that runs IFL with clients=paper (B = 16, tau = 10) for a
warm-up round and then three; time is their median, memory the process's peak. With --many it is
``ifl.trials.bench.many``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ifl.checks import place, positive
from ifl.cli.config import CONF
from ifl.cli.console import spell_out
from ifl.errors import IFLError
from ifl.trials.bench import many
from ifl.trials.bench.many import NETWORKS, exponent
from ifl.trials.memory import peak_mb

FEW, MANY = [4, 8, 16, 32, 64, 128, 256], [100, 1_000, 10_000, 100_000]
COLUMNS = {"seconds": "seconds per round", "peak_mb": "peak memory (MB)"}


def one(data: str, clients: int) -> dict[str, float]:
    """Measure N clients in this process."""
    from hydra import compose, initialize_config_dir

    from ifl.cli.build import assemble

    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"data={data}", f"clients.count={clients}", "batch_size=16"]
        engine = assemble(compose("config", overrides)).engine
    spent = []
    for number in range(1, 5):
        start = time.perf_counter()
        engine.round(number)
        spent.append(time.perf_counter() - start)
    return {
        "clients": clients,
        "seconds": statistics.median(spent[1:]),
        "peak_mb": peak_mb(),
    }


def draw(table: pd.DataFrame, data: str) -> Figure:
    """Draw both columns against N, on logarithmic axes."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, (column, label) in zip(figure.subplots(1, 2), COLUMNS.items(), strict=True):
        axes.loglog(table["clients"], table[column], "o-", color="#0072B2")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.set(xlabel="clients N", ylabel=label, xticks=table["clients"])
        axes.set_title(f"N to the power {exponent(table, column):.2f}")
        axes.xaxis.set(major_formatter="{x:g}", minor_formatter="")
        axes.yaxis.set(major_formatter="{x:g}", minor_formatter="")
        axes.grid(alpha=0.3)
    figure.suptitle(f"IFL, clients=paper, {data}, B = 16, tau = 10")
    return figure


def main() -> int:
    """Measure every N, print the table, draw it; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    files = (CONF / "data").glob("*.yaml")
    known = sorted(path.stem for path in files if "???" not in path.read_text("utf-8"))
    parser.add_argument("--clients", type=positive, nargs="+", help="all N to be measured")
    parser.add_argument(
        "--data", choices=known, default="kmnist10k", help="N times 16 images at least"
    )
    parser.add_argument("--out", type=place, default=Path("outputs/reference/scale"))
    parser.add_argument("--many", action="store_true", help="100 to 100,000 clients, 100 a round")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--rounds", type=positive, default=5, help="with --many")
    parser.add_argument("--one", action="store_true", help="measure in this process, print JSON")
    options = parser.parse_args()
    options.clients = options.clients or (MANY if options.many else FEW)
    if options.many and min(options.clients) < many.DRAWN:
        parser.error(f"--many draws {many.DRAWN} clients, so that --clients must be as many")
    try:
        if options.many and options.one:
            found = many.one(options.networks[0], options.clients[0], options.rounds)
            print(json.dumps(found))
        elif options.many:
            many.measure(options.networks, options.clients, options.rounds, options.out)
        elif options.one:
            print(json.dumps(one(options.data, options.clients[0])))
        else:
            measure(options)
    except (IFLError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(error.stderr, end="", file=sys.stderr)
        return 1
    return 0


def measure(options: argparse.Namespace) -> None:
    """Measure every N in a process of its own; print, write and draw the table."""
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for clients in options.clients:
        command = [sys.executable, "-m", f"{__package__}.scale", "--one"]
        command += ["--data", options.data, "--clients", str(clients)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print("  ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
    table = pd.DataFrame(rows)
    table.round(4).to_csv(options.out / "scale.csv", index=False)
    draw(table, options.data).savefig(options.out / "scale.png", dpi=150)
    for column, label in COLUMNS.items():
        print(f"{label}: N to the power {exponent(table, column):.2f}")


if __name__ == "__main__":
    sys.exit(main())

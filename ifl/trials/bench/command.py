"""Time the project's rounds against a plain loop over tensors in memory.

python scripts/bench.py [--blocks 7] [--data kmnist10k] [--grid 50] [--peers] [--json FILE]

Workloads: 4 clients, tau = 10, B = 32, momentum SGD, evaluation every 10 rounds.
  W1   FedAvg, a CNN of three convolutions and three linear layers: arithmetic dominates.
  W2   FedAvg, one 784 x 10 linear layer: nothing but overhead.
  IFL  IFL, clients=paper.
The floor of each is the loop that one would write by hand: torch.optim.SGD, torch's default
threads, ReLU before pooling, no messages, no ledger. Blocks of ten rounds and an evaluation of
either side alternate; a ratio is the median over pairs of blocks.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from typing import Any

import torch

from ifl.checks import place, positive
from ifl.cli.config import CONF
from ifl.cli.console import spell_out
from ifl.errors import IFLError
from ifl.trials.bench.peers import peers
from ifl.trials.bench.rounds import ROUNDS, WORKLOADS, FloorFL, federation, measure


def grid(data: str, threads: int, rounds: int, runs: int = 8) -> dict[str, float]:
    """Time a grid of W1 runs by launcher=local against the floor, one run after the other.

    Both include what a run needs besides rounds: loading the data, building the federation;
    the project's side also the start of its processes and every file it writes.
    """
    start = time.perf_counter()
    torch.set_num_threads(threads)
    for _ in range(runs):
        floor = FloorFL(federation(data, "W1"))
        torch.set_num_threads(threads)
        for _ in range(rounds // ROUNDS):
            floor()
    plain_seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-m", "ifl", "-m", "launcher=local"]
        command += [*WORKLOADS["W1"], f"data={data}", f"rounds={rounds}", f"outputs={outputs}"]
        start = time.perf_counter()
        subprocess.run([*command, f"seed=range({runs})"], check=True, capture_output=True)
        grid_seconds = time.perf_counter() - start
    return {
        "floor_seconds": plain_seconds,
        "project_seconds": grid_seconds,
        "ratio": grid_seconds / plain_seconds,
    }


def peak_memory_mb(data: str, workload: str) -> float:
    """Return the peak memory of a process that runs one block of the project, in MB."""
    program = (
        f"from {__package__}.rounds import Project, federation; "
        "from ifl.trials.memory import peak_mb; "
        f"Project(federation({data!r}, {workload!r}))(); print(peak_mb())"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> int:
    """Print the table, write the JSON where asked; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    files = (CONF / "data").glob("*.yaml")
    known = sorted(path.stem for path in files if "???" not in path.read_text("utf-8"))
    parser.add_argument("--blocks", type=positive, default=7, help="timed blocks of ten rounds")
    parser.add_argument("--data", choices=known, default="digits", help="such as kmnist10k")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--grid", type=positive, metavar="ROUNDS", help="time 8 runs of W1 too")
    parser.add_argument("--peers", action="store_true", help="fluke and Flower too, if installed")
    parser.add_argument("--json", type=place, help="where to write the figures")
    options = parser.parse_args()
    if options.grid and options.grid % ROUNDS:
        parser.error(f"--grid must be a multiple of {ROUNDS}, got {options.grid}")
    if options.json and (options.json.is_dir() or not options.json.parent.is_dir()):
        parser.error(f"--json must name a file in a folder that is there, got {options.json}")
    try:
        report = measured(options)
    except IFLError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what is asked for, printing it as it comes; return the report."""
    threads = torch.get_num_threads()
    report: dict[str, Any] = {
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "threads": threads,
        "data": options.data,
        "blocks": options.blocks,
        "workloads": {},
    }
    print(f"{options.data}, floor on {threads} threads, medians of {options.blocks} blocks")
    print("ms per step     floor  on 1 thread  project  ratio (min-max)  eval  wire  peak MB")
    for workload in options.only:
        row = measure(options.data, workload, options.blocks, threads)
        row["peak_mb"] = peak_memory_mb(options.data, workload)
        report["workloads"][workload] = row
        print(
            f"{workload:12} {row['floor_ms_per_step']:8.2f} "
            f"{row['floor_1_thread_ms_per_step']:12.2f} {row['project_ms_per_step']:8.2f}  "
            f"{row['ratio']:.2f} ({row['ratio_min']:.2f}-{row['ratio_max']:.2f})  "
            f"{row['evaluation_share']:4.0%}  {row['serialisation_share']:4.0%}  "
            f"{row['peak_mb']:7.0f}",
            flush=True,
        )
    if options.grid:
        report["grid"] = grid(options.data, threads, options.grid)
        print("8 runs of W1, seconds:", {k: round(v, 2) for k, v in report["grid"].items()})
    if options.peers:
        names = [name for name in options.only if name != "IFL"]
        report["peers"] = peers({name: federation(options.data, name) for name in names})
    return report

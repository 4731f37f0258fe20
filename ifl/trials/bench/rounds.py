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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ifl.checks import positive
from ifl.cli.build import assemble
from ifl.cli.config import CONF
from ifl.errors import IFLError
from ifl.federation.build import Federation
from ifl.federation.engine import Engine
from ifl.trials.bench.peers import peers

TAU, BATCH, ROUNDS = 10, 32, 10
WORKLOADS = {
    "W1": ["experiment=bench/w1"],
    "W2": ["experiment=bench/w2"],
    "IFL": [],
}


def federation(data: str, workload: str) -> Federation:
    """Return the federation that scripts/run.py would build."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return assemble(compose("config", [f"data={data}", *WORKLOADS[workload]]))


class Project:
    """Ten rounds and an evaluation, conducted as in scripts/run.py."""

    def __init__(self, built: Federation) -> None:
        self.engine: Engine = built.engine
        self.x, self.y = built.data.test.inputs(), built.data.test.y
        self.number = 0

    def __call__(self) -> None:
        """Run one block."""
        for _ in range(ROUNDS):
            self.number += 1
            self.engine.round(self.number)
            self.engine.channel.ledger.close_round()
        self.engine.evaluate(self.x, self.y)


def plain(block: nn.Module) -> nn.Sequential:
    """Return a copy in torch's default memory format with ReLU before pooling."""
    block = deepcopy(block).to(memory_format=torch.contiguous_format)
    layers = list(block.children()) or [block]
    for i, (first, second) in enumerate(pairwise(layers)):
        if isinstance(first, nn.MaxPool2d) and isinstance(second, nn.ReLU):
            layers[i : i + 2] = [second, first]
    return nn.Sequential(*layers)


class Floor:
    """What both floors share: plain copies of the networks and shards, and a batch."""

    def __init__(self, built: Federation, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.nets = []
        for client in built.engine.clients:
            parts = plain(client.model.base), plain(client.model.modular)
            self.nets.append(nn.Sequential(*parts))
        self.optimizers = [
            [torch.optim.SGD(p.parameters(), lr, momentum) for p in net if list(p.parameters())]
            for net in self.nets
        ]
        self.shards = [(c.shard.inputs(), c.shard.y) for c in built.engine.clients]
        self.test = built.data.test.inputs(), built.data.test.y

    def __call__(self) -> None:
        """Run one block: ten rounds and an evaluation."""
        raise NotImplementedError

    def batch(self, client: int) -> tuple[Tensor, Tensor]:
        """Return a random batch."""
        x, y = self.shards[client]
        chosen = torch.randint(0, len(y), (BATCH,))
        return x[chosen], y[chosen]

    def learn(self, loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
        """Take one step."""
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()


class FloorFL(Floor):
    """FedAvg by hand."""

    def __call__(self) -> None:
        """Run one block."""
        samples = [len(y) for _, y in self.shards]
        weights = [n / sum(samples) for n in samples]
        for _ in range(ROUNDS):
            for k, net in enumerate(self.nets):
                for _ in range(TAU):
                    x, y = self.batch(k)
                    self.learn(cross_entropy(net(x), y), *self.optimizers[k])
            states = [net.state_dict() for net in self.nets]
            mean = {
                name: sum(w * s[name] for w, s in zip(weights, states, strict=True))
                for name in states[0]
            }
            for net in self.nets:
                net.load_state_dict(mean)
        with torch.no_grad():
            (self.nets[0](self.test[0]).argmax(1) == self.test[1]).float().mean().item()


class FloorIFL(Floor):
    """IFL by hand."""

    def __call__(self) -> None:
        """Run one block."""
        for _ in range(ROUNDS):
            pool = []
            for k, (base, modular) in enumerate(self.nets):
                modular.requires_grad_(False)
                for _ in range(TAU):
                    x, y = self.batch(k)
                    self.learn(cross_entropy(modular(base(x)), y), self.optimizers[k][0])
                modular.requires_grad_(True)
                x, y = self.batch(k)
                with torch.no_grad():
                    pool.append((base(x), y))
            z, y = (torch.cat(part) for part in zip(*pool, strict=True))
            for k, (_, modular) in enumerate(self.nets):
                self.learn(cross_entropy(modular(z), y), self.optimizers[k][1])
        with torch.no_grad():
            for base, _ in self.nets:
                z = base(self.test[0])
                for _, modular in self.nets:
                    (modular(z).argmax(1) == self.test[1]).float().mean().item()


def seconds(block: Callable[[], object]) -> float:
    """Return how long one block takes."""
    start = time.perf_counter()
    block()
    return time.perf_counter() - start


def measure(data: str, workload: str, blocks: int, threads: int) -> dict[str, float]:
    """Time blocks of the floor, on all threads and on one, and of the project in turn."""
    built = federation(data, workload)
    floor: Floor = (FloorIFL if workload == "IFL" else FloorFL)(built)
    project = Project(built)
    spent = {"evaluation": 0.0, "serialisation": 0.0}
    project.engine.evaluate = _timed(project.engine.evaluate, "evaluation", spent)  # type: ignore[method-assign]
    channel = project.engine.channel
    channel.up = _timed(channel.up, "serialisation", spent)  # type: ignore[method-assign]
    channel.down = _timed(channel.down, "serialisation", spent)  # type: ignore[method-assign]

    def on(number: int) -> Callable[[], None]:
        def block() -> None:
            torch.set_num_threads(number)
            floor()
            torch.set_num_threads(1)

        return block

    sides: dict[str, Callable[[], None]] = {
        "floor": on(threads),
        "floor_1_thread": on(1),
        "project": project,
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for block in sides.values():  # warm-up
        block()
    spent.update(dict.fromkeys(spent, 0.0))
    for _ in range(blocks):
        for name, block in sides.items():
            times[name].append(seconds(block))
    steps = ROUNDS * TAU * len(built.engine.clients)
    ratios = [p / f for p, f in zip(times["project"], times["floor"], strict=True)]
    return {
        **{f"{name}_ms_per_step": 1e3 * statistics.median(t) / steps for name, t in times.items()},
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        **{f"{name}_share": value / sum(times["project"]) for name, value in spent.items()},
    }


def _timed(method: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """Return the method with its duration added to ``spent[name]`` at every call."""

    def timed(*args: Any) -> Any:
        start = time.perf_counter()
        result = method(*args)
        spent[name] += time.perf_counter() - start
        return result

    return timed


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
        f"import re; from {__package__}.rounds import *; "
        f"Project(federation({data!r}, {workload!r}))(); "
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1]) * 1024 / 1e6


def main() -> int:
    """Print the table, write the JSON where asked; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    known = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
    parser.add_argument("--blocks", type=positive, default=7, help="timed blocks of ten rounds")
    parser.add_argument("--data", choices=known, default="digits", help="such as kmnist10k")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--grid", type=positive, metavar="ROUNDS", help="time 8 runs of W1 too")
    parser.add_argument("--peers", action="store_true", help="fluke and Flower too, if installed")
    parser.add_argument("--json", type=Path, help="where to write the figures")
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

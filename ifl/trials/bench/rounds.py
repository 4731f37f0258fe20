"""Times rounds of the project against a plain loop over tensors in memory."""

import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ifl.cli.build import assemble
from ifl.cli.config import CONF
from ifl.federation.build import Federation
from ifl.federation.engine import Engine

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
    """The common part of both floors: plain copies of the networks and shards, and a batch."""

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
    for party in project.engine.parties.here:
        party.encoded = _timed(party.encoded, "serialisation", spent)  # type: ignore[method-assign]
    channel.receive = _timed(channel.receive, "serialisation", spent)  # type: ignore[method-assign]
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

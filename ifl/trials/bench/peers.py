"""Times FedAvg of other frameworks on the tensors and networks of scripts/bench.py.

fluke: Polato 2024, arXiv 2412.15728. Flower: Beutel et al. 2020, arXiv 2007.14390.
What they leave to the user is as in the floor of bench.py: how a batch is drawn, a test set in
one piece, accuracy as the only metric. A block of ten rounds and an evaluation goes uncounted;
then the median of three is taken. A round in which a client fails is an error, not a time.
"""

import contextlib
import io
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:  # Flower's actors import this module
    from ifl.federation.build import Federation

TAU, BATCH, ROUNDS, BLOCKS, LR, MOMENTUM = 10, 32, 10, 3, 0.01, 0.9
THREADS = torch.get_num_threads()  # torch's default: a federation lowers it for its workers


def network(workload: str) -> nn.Module:
    """Return the network of conf/experiment/bench, with ReLU before pooling."""
    if workload == "W2":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    layers: list[nn.Module] = []
    for depth, out in pairwise((1, 16, 32, 48)):
        layers += [nn.Conv2d(depth, out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(432, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 10))


class Work:
    """A peer's networks, data and test, and the times at which its rounds ended."""

    def __init__(self, workload: str, built: "Federation") -> None:
        self.network = network(workload)
        self.shards = [(client.shard.inputs(), client.shard.y) for client in built.engine.clients]
        self.test = built.data.test.inputs(), built.data.test.y
        self.start, self.ends = time.perf_counter(), list[float]()

    def end_round(self, round: int) -> None:
        """Note that a round and its evaluation are over; fluke calls it by this name."""
        self.ends.append(time.perf_counter())

    def figures(self) -> dict[str, float]:
        """Return ms per local step, and what came before the end of round 1 less one round."""
        block = statistics.median(b - a for a, b in pairwise(self.ends[ROUNDS - 1 :: ROUNDS]))
        return {
            "ms_per_step": 1e3 * block / (ROUNDS * TAU * len(self.shards)),
            "start_up_seconds": self.ends[0] - self.start - block / ROUNDS,
        }


def fluke(work: Work) -> None:
    """Run fluke's ``FedAVG``."""
    from fluke import DDict, FlukeENV
    from fluke.algorithms.fedavg import FedAVG
    from fluke.data import DataSplitter, DummyDataContainer, FastDataLoader
    from fluke.evaluation import ClassificationEval
    from torchmetrics import Accuracy

    # fluke counts local work in epochs: one pass over tau * B samples makes tau steps of B.
    size, count = TAU * BATCH, len(work.shards)
    if min(len(y) for _, y in work.shards) < size:
        raise ValueError(f"fluke needs shards of tau * B = {size} samples; take larger data")
    loader = partial(FastDataLoader, num_labels=10)
    train = [loader(x[:size], y[:size], batch_size=BATCH, shuffle=True) for x, y in work.shards]
    test = loader(*work.test, batch_size=len(work.test[1]))
    accuracy = Accuracy(task="multiclass", num_classes=10)
    FlukeENV().set_evaluator(ClassificationEval(ROUNDS, 10, accuracy=accuracy))
    FlukeENV().set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=True)
    optimizer = DDict(name="SGD", lr=LR, momentum=MOMENTUM)
    client = DDict(batch_size=BATCH, local_epochs=1, loss="CrossEntropyLoss", optimizer=optimizer)
    client.scheduler = DDict(name="StepLR", step_size=1, gamma=1)
    settings = DDict(client=client, server=DDict(weighted=True), model=work.network)
    data = DummyDataContainer(train, [None] * count, test, num_classes=10)
    federation = FedAVG(count, DataSplitter(data), settings)
    federation.attach(work)
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        federation.run((1 + BLOCKS) * ROUNDS, eligible_perc=1)


@cache
def _load(path: str) -> Any:
    """Read the network and the shards once in every actor, as in Flower's examples."""
    return torch.load(path, weights_only=False)


def flower(work: Work, actors: int | None = None) -> None:
    """Run Flower's ``FedAvg`` in simulation, with one-thread actors or as many as by default."""
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    rounds, trained = (1 + BLOCKS) * ROUNDS, list[int]()

    def train(message: Message, context: Context) -> Message:
        net, shards = _load(path)
        x, y = shards[int(context.node_config["partition-id"])]
        net.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        # Flower's clients keep nothing between rounds: momentum starts at zero in each.
        optimizer = torch.optim.SGD(net.parameters(), LR, MOMENTUM)
        for _ in range(TAU):
            chosen = torch.randint(0, len(y), (BATCH,))
            optimizer.zero_grad()
            cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimizer.step()
        metrics = MetricRecord({"num-examples": len(y)})
        reply = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics})
        return Message(content=reply, reply_to=message)

    def evaluate(number: int, arrays: ArrayRecord) -> None:
        if number and number % ROUNDS == 0:
            work.network.load_state_dict(arrays.to_torch_state_dict())
            with torch.no_grad():
                (work.network(work.test[0]).argmax(1) == work.test[1]).float().mean().item()
        if number:  # 0: before the first round
            work.end_round(number)

    def note(replies: list[RecordDict], weight: str) -> MetricRecord:
        trained.append(len(replies))
        return MetricRecord()

    def serve(grid: Grid, context: Context) -> None:
        strategy = FedAvg(
            fraction_evaluate=0.0,
            min_available_nodes=len(work.shards),  # it would start with two
            train_metrics_aggr_fn=note,
        )
        initial = ArrayRecord(work.network.state_dict())
        strategy.start(grid, initial, num_rounds=rounds, evaluate_fn=evaluate)

    client_app, server_app = ClientApp(), ServerApp()
    client_app.train()(train)
    server_app.main()(serve)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    # A Ray of its own, on the loopback (see also peers), that prints nothing.
    ray = {"address": "local", "_node_ip_address": "127.0.0.1", "num_cpus": actors}
    backend: dict[str, Any] = {
        "init_args": ray | {"log_to_driver": False, "logging_level": "ERROR"}
    }
    if actors:
        backend["client_resources"] = {"num_cpus": 1, "num_gpus": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "work.pt")
        torch.save((work.network, work.shards), path)
        run_simulation(server_app, client_app, len(work.shards), backend_config=backend)
    if trained != [len(work.shards)] * rounds:
        raise RuntimeError(f"clients of Flower failed; in each round there trained {trained}")


PEERS: dict[str, tuple[list[str], Callable[[Work], None]]] = {
    "fluke": (["fluke-fl"], fluke),
    "Flower": (["flwr", "ray"], flower),
    "Flower 2x1": (["flwr", "ray"], partial(flower, actors=2)),
}


def peers(federations: "Mapping[str, Federation]") -> dict[str, Any]:
    """Time every installed peer on W1 and W2 and print a row for each.

    The first start-up of a peer includes its imports. "Flower" has its default backend, actors
    of two cores each; "Flower 2x1" has two actors of one thread each.
    """
    # Read at import: no telemetry, and Ray's way to keep to the loopback, on any system.
    telemetry = ("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED")
    os.environ.update(dict.fromkeys((*telemetry, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"), "0"))
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # else it prints a warning
    torch.set_num_threads(THREADS)
    report: dict[str, Any] = {}
    print("peer        version  workload  ms/step  start-up s")
    for name, (needs, run) in PEERS.items():
        try:
            number, *_ = map(version, needs)
        except PackageNotFoundError as missing:
            print(f"{name} is not timed: {missing.name} is not installed; see the extra peers.")
            continue
        report[name] = {"version": number}
        for workload in sorted({"W1", "W2"} & federations.keys()):
            work = Work(workload, federations[workload])
            run(work)
            row = report[name][workload] = work.figures()
            times = f"{row['ms_per_step']:7.2f}  {row['start_up_seconds']:10.1f}"
            print(f"{name:10}  {number:>7}  {workload:8}  {times}", flush=True)
    return report

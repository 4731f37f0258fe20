"""FedAvg of other frameworks on the tensors and networks of scripts/bench.py.

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
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:  # Flower's actors import this module
    from ifl.federation import Federation

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
    """What a peer is to train and test, and when its rounds ended."""

    def __init__(self, workload: str, built: "Federation") -> None:
        self.network = network(workload)
        self.shards = [(client.shard.inputs(), client.shard.y) for client in built.engine.clients]
        self.test = built.data.test.inputs(), built.data.test.y
        self.start, self.ends, self.accuracy = time.perf_counter(), list[float](), 0.0

    def end_round(self, round: int) -> None:
        """Note that a round and its evaluation are over; fluke calls it by this name."""
        self.ends.append(time.perf_counter())

    def server_evaluation(self, round: int, eval_type: str, evals: dict[str, float]) -> None:
        """Note the latest accuracy; fluke calls it by this name, with {} between evaluations."""
        self.accuracy = evals.get("accuracy", self.accuracy)

    def figures(self) -> dict[str, float]:
        """Return ms per local step, and what came before the end of round 1 less one round."""
        block = statistics.median(b - a for a, b in pairwise(self.ends[ROUNDS - 1 :: ROUNDS]))
        return {
            "ms_per_step": 1e3 * block / (ROUNDS * TAU * len(self.shards)),
            "start_up_seconds": self.ends[0] - self.start - block / ROUNDS,
            "accuracy": self.accuracy,
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


_load = cache(partial(torch.load, weights_only=False))  # once per actor, as in Flower's examples


def flower(work: Work, **backend: dict[str, Any]) -> None:
    """Run Flower's simulation engine with its ``FedAvg``, on the default backend or another."""
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    rounds, trained = (1 + BLOCKS) * ROUNDS, list[int]()

    def train(message: Message, context: Context) -> Message:
        net, shards = _load(path)
        x, y = shards[int(context.node_config["partition-id"])]
        net.load_state_dict(message.content["arrays"].to_torch_state_dict())
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
                right = work.network(work.test[0]).argmax(1) == work.test[1]
            work.accuracy = right.float().mean().item()
        if number:  # 0: before the first round
            work.end_round(number)

    def note(replies: list[RecordDict], weight: str) -> MetricRecord:
        trained.append(len(replies))
        return MetricRecord()

    def serve(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, train_metrics_aggr_fn=note)
        initial = ArrayRecord(work.network.state_dict())
        strategy.start(grid, initial, num_rounds=rounds, evaluate_fn=evaluate)

    client_app, server_app = ClientApp(), ServerApp()
    client_app.train()(train)
    server_app.main()(serve)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    # A Ray of its own, on the loopback (see also peers), that prints nothing.
    ray = {"address": "local", "_node_ip_address": "127.0.0.1", "include_dashboard": False}
    ray |= {"log_to_driver": False, "logging_level": "ERROR", **backend.pop("init_args", {})}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "work.pt")
        torch.save((work.network, work.shards), path)
        run_simulation(server_app, client_app, len(work.shards), "ray", {"init_args": ray} | backend)
    if trained != [len(work.shards)] * rounds:
        raise RuntimeError(f"Flower's clients failed: {sum(trained)} of {4 * rounds} trained")


pair = partial(flower, client_resources={"num_cpus": 1, "num_gpus": 0.0}, init_args={"num_cpus": 2})
# Row -> what it needs installed, what it imports, what runs it.
PEERS: dict[str, tuple[list[str], list[str], Callable[[Work], None]]] = {
    "fluke": (["fluke-fl"], ["fluke.algorithms.fedavg", "fluke.evaluation"], fluke),
    "Flower": (["flwr", "ray"], ["flwr.simulation", "flwr.serverapp.strategy", "ray"], flower),
    "Flower 2x1": (["flwr", "ray"], ["flwr.simulation", "flwr.serverapp.strategy", "ray"], pair),
}


def peers(federations: "Mapping[str, Federation]") -> dict[str, Any]:
    """Time every installed peer on W1 and W2 and print a row for each.

    Start-up includes the imports. "Flower" has its default backend, actors of two cores each;
    "Flower 2x1" has two actors of one thread each.
    """
    # Read at import. No telemetry; the last one is how Ray stays on the loopback on any system.
    for name in "FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED":
        os.environ[name] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

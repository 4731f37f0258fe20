"""Time each change that makes a round fast against the same thing without that change.

python scripts/bench_changes.py [--data kmnist10k] [--blocks 9]

W1 and IFL are the workloads of scripts/bench.py. Both sides of a row alternate; a ratio is
the median over pairs of blocks, with the change to without it: 0.8 saves a fifth.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from ifl.checks import positive
from ifl.cli.console import spell_out
from ifl.client.client import Client
from ifl.client.steps import batched, descend, frozen
from ifl.comm.channel import Channel
from ifl.comm.message import Message
from ifl.federation.evaluation import compose
from ifl.federation.workers import Workers
from ifl.trials.bench.rounds import federation, plain, seconds

Block = Callable[[], object]
STEPS = 40


def trainer(client: Client, net: nn.Module, fused: bool = True, drop: bool = True) -> Block:
    """Return a block of training steps of a network on the client's batches.

    Args:
        drop: gradients are set to None by hand; else by zero_grad().
    """
    optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9, fused=fused)

    def block() -> None:
        for x, y in client.batches(STEPS):
            loss = cross_entropy(net(x), y)
            if drop:
                descend(loss, optimizer)
            else:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return block


def relu_first(net: nn.Module) -> nn.Module:
    """Return the network as ``bench.plain`` makes it, but with channels last."""
    return plain(net).to(memory_format=torch.channels_last)


def steps(client: Client) -> Iterator[tuple[str, Block, Block]]:
    """Yield (change, block with it, block without) of a training step."""
    whole = nn.Sequential(*(m for m in client.model.modules() if not list(m.children())))

    def copy() -> nn.Module:
        return deepcopy(whole)

    fast = trainer(client, copy())
    contiguous = copy().to(memory_format=torch.contiguous_format)
    yield "channels last", fast, trainer(client, contiguous)
    yield "pooling before ReLU", fast, trainer(client, relu_first(copy()))
    yield "fused optimiser", fast, trainer(client, copy(), fused=False)
    yield "gradients dropped by hand", fast, trainer(client, copy(), drop=False)


def stage1(client: Client) -> tuple[str, Block, Block]:
    """Return stage 1 of IFL with and without weight gradients of the frozen block."""

    def block() -> None:
        for x, y in client.batches(STEPS):
            client.step(x, y, client.base_optimizer)

    def held() -> None:
        with frozen(client.model.modular):
            block()

    return "no gradients of the frozen block", held, block


def evaluations(clients: list[Client], x: Tensor, y: Tensor) -> Iterator[tuple[str, Block, Block]]:
    """Yield the changes of the evaluation of all compositions."""
    bases = {str(c.number): c.model.base for c in clients}
    modulars = {str(c.number): c.model.modular for c in clients}

    @contextmanager
    def quiet() -> Iterator[None]:
        with torch.inference_mode():
            yield

    def by(rows: int, context: Callable[[], object] = quiet, again: bool = False) -> Block:
        def block() -> None:
            with context():  # type: ignore[attr-defined]
                for images, labels in batched(x, y, rows):
                    for base in bases.values():
                        z = None
                        for modular in modulars.values():
                            z = base(images) if again or z is None else z
                            (modular(z).argmax(dim=1) == labels).sum()

        return block

    yield "each base block run once", by(250), by(250, again=True)
    yield "evaluation by 250 images", by(250), by(len(y))
    yield "inference mode", by(250), by(250, torch.no_grad)
    two = Workers(2)
    yield (
        "evaluation by two workers",
        lambda: compose(bases, modulars, x, y, two),
        lambda: compose(bases, modulars, x, y),
    )


def broadcast(channel: Channel) -> tuple[str, Block, Block]:
    """Return the broadcast of IFL's pool to four clients, parsed once and once per receiver."""
    z, y = torch.rand(4 * 32, 432), torch.randint(0, 10, (4 * 32,))
    pool = Message(z=z, y=y)

    def once() -> None:
        for _ in range(STEPS):
            channel.down(dict.fromkeys(range(4), pool))

    def each() -> None:
        for _ in range(STEPS):
            channel.down({k: Message(z=z, y=y) for k in range(4)})

    return "a broadcast serialised once", once, each


def turns(clients: list[Client]) -> tuple[str, Block, Block]:
    """Return the local steps of all clients by two one-thread workers and by one."""

    def learn(client: Client) -> None:
        for x, y in client.batches(STEPS):
            client.step(x, y)

    two = Workers(2)
    return "two workers", lambda: two.map(learn, clients), lambda: list(map(learn, clients))


def main() -> int:
    """Print the table."""
    spell_out()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--blocks", type=positive, default=9, help="pairs of timed blocks")
    parser.add_argument("--data", default="digits", help="digits, or kmnist10k with IFL_DATA set")
    options = parser.parse_args()
    built = federation(options.data, "IFL")
    clients = list(built.engine.clients)
    cnn = list(federation(options.data, "W1").engine.clients)
    linear = list(federation(options.data, "W2").engine.clients)
    torch.set_num_threads(1)
    rows = [("W1 step", row) for row in steps(cnn[0])]
    rows += [("W2 step", row) for row in list(steps(linear[0]))[2:]]
    rows += [("W1 local steps", turns(cnn)), ("IFL stage 1, client 1", stage1(clients[1]))]
    test = built.data.test
    rows += [("IFL evaluation", row) for row in evaluations(clients, test.inputs(), test.y)]
    rows += [("IFL downlink", broadcast(built.engine.channel))]
    print(f"{options.data}, one thread; time with the change / without it")
    for where, (change, fast, slow) in rows:
        fast(), slow()
        ratios = sorted(seconds(fast) / seconds(slow) for _ in range(options.blocks))
        middle = statistics.median(ratios)
        print(f"{where:22} {change:34} {middle:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})", flush=True)
    return 0

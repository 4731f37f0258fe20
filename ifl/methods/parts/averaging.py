"""Averages parameters: packs a module's state into messages, averages, loads it back.

Source: McMahan et al. 2017, algorithm 1 (FederatedAveraging), the server's last line.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ifl.client.client import Client
from ifl.client.state import learner_state, load_learner
from ifl.comm.message import Message
from ifl.comm.schema import Expected, Form, floats
from ifl.methods.base import StatelessServer
from ifl.runs.checkpoint import State

PARAMS = "params"


def state(module: nn.Module) -> list[Tensor]:
    """Return every floating-point parameter and buffer, without graph, as the state dict does.

    One that has several names, as tied weights have, is there once.
    """
    floats = [t for t in module.state_dict().values() if t.is_floating_point()]
    return list({(t.data_ptr() or id(t), t.shape, t.stride()): t for t in floats}.values())


def pack(module: nn.Module, samples: int) -> Message:
    """Return a message of the module's state and the number of samples behind it (int64)."""
    return Message(samples=torch.tensor(samples), **numbered(state(module)))


def numbered(tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return tensors in the order of ``state``, as a message names them."""
    return {f"{PARAMS}.{i}": tensor for i, tensor in enumerate(tensors)}


def parameters_of(message: Message) -> list[Tensor]:
    """Return what ``numbered`` named, in its order."""
    named = dict(message.group(PARAMS))
    return [named[str(i)] for i in range(len(named))]


def told(module: nn.Module) -> Message:
    """Return a message of the module's state alone, for ``unpack``."""
    return Message(**_named(module))


def parameters_form(module: nn.Module) -> Form:
    """Expect what ``told`` tells of a module like this one."""
    return {name: floats(*tensor.shape) for name, tensor in _named(module).items()}


def _named(module: nn.Module) -> dict[str, Tensor]:
    return numbered(state(module))


def average(uploads: Mapping[int, Message]) -> Message:
    """Return the mean of packed states, each weighted by its samples: sum n_k w_k / sum n_k."""
    packed = [dict(m.group(PARAMS)) for m in uploads.values()]
    samples = torch.stack([m["samples"] for m in uploads.values()]).double()
    weights = (samples / samples.sum()).tolist()
    return Message(
        **{f"{PARAMS}.{name}": weighted([p[name] for p in packed], weights) for name in packed[0]}
    )


def weighted(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return sum_k weights[k] * tensors[k], summed in float64, in the tensors' type."""
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor, alpha=weight)
    return total.to(tensors[0].dtype)


def equalise(modules: Iterable[nn.Module], weights: Sequence[float]) -> None:
    """Write the weighted sum of the modules' states into each of them."""
    for copies in zip(*map(state, modules), strict=True):
        total = weighted(copies, weights)
        for tensor in copies:
            tensor.copy_(total)


def unpack(module: nn.Module, message: Message) -> None:
    """Write a packed state into the module."""
    for tensor, packed in zip(state(module), parameters_of(message), strict=True):
        tensor.copy_(packed)


def averaged(module: nn.Module, samples: int) -> Generator[Message, Message | None, None]:
    """Say a client's part in ``average``: send the module's state, take over the reply."""
    reply = yield pack(module, samples)
    assert reply is not None
    unpack(module, reply)


class Newest:
    """A module's state that the server keeps for all clients, and which of them hold the newest.

    Args:
        module: the server's own; now, what all the clients start from.
        clients: their numbers.
    """

    def __init__(self, module: nn.Module, clients: Iterable[int]) -> None:
        self.module = module
        self.holders = set(clients)

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return it for those of the clients that lack it; all go on to train."""
        lacking = [k for k in clients if k not in self.holders]
        self.holders.difference_update(clients)
        return dict.fromkeys(lacking, told(self.module))

    def hand_out(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return it for these clients, who alone hold it now."""
        self.holders = set(clients)
        return dict.fromkeys(clients, told(self.module))


class Averaging(Newest):
    """The server's part in an average of parameters: keeps the newest one.

    What it keeps, and what is evaluated, is the average as the clients decoded it. A codec
    passes that a second time as it is, so that who gets it later holds the same.

    Args:
        module: holds the newest average; now, what the clients named in ``samples`` start from.
        samples: of each client, as told before the start.
    """

    def __init__(self, module: nn.Module, samples: Mapping[int, int]) -> None:
        super().__init__(module, samples)
        count = Expected((), torch.int64, 1, sum(samples.values()) + 1)
        self.form: Form = {"samples": count, **parameters_form(module)}

    def reply(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Average the uploads and return the average to their senders, who alone hold it now."""
        self.holders = set(uploads)
        return dict.fromkeys(uploads, average(uploads))

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Keep what the receivers of an average now hold; pass over other replies."""
        newest = next(iter(replies.values()), None)
        if newest is not None and list(newest.group(PARAMS)):
            unpack(self.module, newest)

    def state(self) -> State:
        """Return the average and who holds it."""
        return {"newest": learner_state(self.module), "holders": sorted(self.holders)}

    def load_state(self, state: State) -> None:
        """Go on from such a state."""
        load_learner(state["newest"], self.module)
        self.holders = set(state["holders"])


class AveragingServer(StatelessServer):
    """Averages what came and sends it to those who came; keeps it for the others.

    Args:
        module: the server's own, as the clients start from; holds the newest average.
        average: makes its part in the average, of the module and the clients' samples.
    """

    def __init__(
        self,
        module: nn.Module,
        clients: Sequence[Client],
        average: Callable[[nn.Module, Mapping[int, int]], Averaging] = Averaging,
    ) -> None:
        self.average = average(module, {c.number: len(c.shard) for c in clients})

    def expects(self, client: int) -> Sequence[Form]:
        """Expect the parameters, once."""
        return [self.average.form]

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return the newest average to those who lack it."""
        return self.average.welcome(clients)

    def reply(
        self, uploads: Mapping[int, Message], draws: torch.Generator
    ) -> Mapping[int, Message]:
        """Return the weighted average of the uploads to their senders."""
        return self.average.reply(uploads)

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Keep the average as the clients got it."""
        self.average.delivered(replies)

    def state(self) -> State:
        """Return the newest average and who holds it."""
        return self.average.state()

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state."""
        self.average.load_state(state)

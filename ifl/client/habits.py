"""Finds out what a network does beside its outputs: random draws, changed inputs, hidden state."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ifl.client.contract import copied, rows
from ifl.client.state import tensors_of
from ifl.errors import ConfigError
from ifl.models import SplitModel
from ifl.seeding import draws, kept_generators


@dataclass(frozen=True)
class Habits:
    """Habits of a network beside its outputs.

    Args:
        draws: from the global generators, in training or at inference.
        draws_tested: at inference.
        changes: names of the blocks that change their input.
    """

    draws: bool
    draws_tested: bool
    changes: tuple[str, ...]


def habits(model: SplitModel, name: str, x: Tensor) -> Habits:
    """Run a copy of a network on two of the samples x (n, ...) and tell what it does."""
    trial, x, changes = copied(model, name).cpu(), rows(x, 2).cpu(), dict[str, None]()

    def run() -> None:
        out = x.clone()
        for block in ("base", "modular"):
            version = out._version
            after = getattr(trial, block)(out)
            if out._version != version:
                changes[block] = None
            out = after

    with torch.no_grad():
        trial.eval()
        tested = draws(run)
        trial.train()
        return Habits(draws(run) or tested, tested, tuple(changes))


def check_follows_seed(model: SplitModel, again: SplitModel, name: str, x: Tensor) -> None:
    """Raise ConfigError unless two networks made from the same random state are the same.

    Parameters and buffers are compared, and the outputs of copies, for what a network draws and
    keeps elsewhere.

    Args:
        x: (n, ...) samples, as networks take them.
    """
    first, second = model.state_dict(), again.state_dict()
    differing = [key for key in {**first, **second} if not _same(first.get(key), second.get(key))]
    if not differing:
        outputs = []
        for network in (model, again):
            with kept_generators(), torch.no_grad():
                outputs.append(copied(network, name).eval()(rows(x, 2)))
        differing = [] if torch.equal(*outputs) else ["its outputs"]
    if differing:
        raise ConfigError(
            f"{name}: made again from the same seed, its network is another one ({differing[0]} "
            "differs); draw from torch's, NumPy's or Python's global generator, which follow the "
            "seed, or from one with a seed of its own, not from numpy.random.default_rng()"
        )


def check_keeps_state(model: SplitModel, again: SplitModel, name: str, x: Tensor) -> None:
    """Raise ConfigError if what a network becomes by use is not all in parameters and buffers.

    Checkpoints, averages and loaded networks have these alone. A copy is run in training; another
    that gets its parameters and buffers has to give the same outputs.

    Args:
        again: made as the model was.
        x: (n, ...) samples, as networks take them.
    """
    used, fresh, x = copied(model, name), copied(again, name), rows(x, 2)
    with kept_generators(), torch.no_grad():
        used.train()(x.clone())
        tensors = tensors_of(used)
        for key, tensor in tensors_of(fresh).items():
            if not is_lazy(tensor) and tensor.shape == tensors[key].shape:
                tensor.copy_(tensors[key])
    for training in (False, True):
        outputs = []
        for network in (used, fresh):
            with kept_generators(), torch.no_grad():
                outputs.append(copied(network, name).train(training)(x.clone()))
        if not torch.equal(*outputs):
            raise ConfigError(
                f"{name}: its network is changed by a batch in what is no parameter and no buffer"
                f"{_changed(used, fresh)}, which checkpoints do not keep; hold it in a tensor of "
                "self.register_buffer(...)"
            )


def _changed(used: nn.Module, fresh: nn.Module) -> str:
    """Return the first attribute of plain value in which two networks differ, in brackets."""
    for (path, one), other in zip(used.named_modules(), fresh.modules(), strict=True):
        for key, value in vars(one).items():
            plain = isinstance(value, bool | int | float | str | None)
            if plain and vars(other).get(key) != value:
                return f" ({path}.{key})"
    return ""


def _same(first: object, second: object) -> bool:
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return isinstance(first, Tensor) == isinstance(second, Tensor)
    if is_lazy(first) or is_lazy(second):  # of a layer that takes no part
        return is_lazy(first) and is_lazy(second)
    return torch.equal(first.nan_to_num(), second.nan_to_num())


def on_a_copy(module: nn.Module, inputs: tuple[object, ...]) -> tuple[object, ...]:
    """Give a block copies of its inputs: a hook for blocks that change them in place."""
    return tuple(i.clone() if isinstance(i, Tensor) else i for i in inputs)

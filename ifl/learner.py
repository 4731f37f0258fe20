"""What learns, a network and its optimisers: its steps, and its state, put back bit for bit."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ifl.errors import ConfigError

OptimizerMaker = Callable[[Iterable[nn.Parameter]], Optimizer]
State = Mapping[str, Any]  # nested mappings and lists of tensors, numbers, text and None
PORTION = 250  # images at a time, where no gradient is needed: more maps fall out of the cache


def optimizer_of(block: nn.Module, maker: OptimizerMaker) -> Optimizer:
    """Return an optimiser of the block's parameters; a block without any gets an idle one."""
    return maker(list(block.parameters()) or [nn.Parameter(torch.empty(0))])


def descend(loss: Tensor, *optimizers: Optimizer, gradient: Tensor | None = None) -> Tensor:
    """Take one step of each optimiser down ``loss``; return its value without graph.

    Args:
        gradient: of what is to fall with respect to ``loss``, where that is no scalar.
    """
    loss.backward(gradient)
    for optimizer in optimizers:
        optimizer.step()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # zero_grad() costs as much as a small step
    return loss.detach()


@contextmanager
def frozen(block: nn.Module) -> Iterator[None]:
    """Hold a block fixed inside: no weight gradients, no running statistics, no dropout."""
    training, learning = block.training, [p for p in block.parameters() if p.requires_grad]
    block.eval().requires_grad_(False)
    try:
        yield
    finally:
        block.train(training)
        for parameter in learning:
            parameter.requires_grad_(True)


def draws(model: nn.Module, x: Tensor) -> bool:
    """Tell whether a training step of the model on x draws random numbers, as dropout does."""
    trial = deepcopy(model).cpu().train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        trial(x)
        return not torch.equal(before, torch.get_rng_state())


def batched(x: Tensor, y: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield consecutive batches of at most ``rows`` samples of x (n, ...) and y (n,)."""
    for start in range(0, len(y), rows):
        yield x[start : start + rows], y[start : start + rows]


def learner_state(module: nn.Module, *optimizers: Optimizer) -> State:
    """Return a module's parameters and buffers and its optimisers' states, none of them copied."""
    states = [optimizer.state_dict() for optimizer in optimizers]
    return {
        "tensors": _tensors(module),
        "moments": [{str(i): entry for i, entry in s["state"].items()} for s in states],
        "settings": [s["param_groups"] for s in states],
    }


def load_learner(state: State, module: nn.Module, *optimizers: Optimizer) -> None:
    """Write what ``learner_state`` returned into a module and optimisers made as those were.

    Raises:
        ConfigError: the module has other tensors.
    """
    mine, kept = _tensors(module), state["tensors"]
    if {k: t.shape for k, t in mine.items()} != {k: t.shape for k, t in kept.items()}:
        raise ConfigError(
            "the checkpoint was written by other networks than the code makes now; "
            "fresh=true runs anew"
        )
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(kept[name])
    for optimizer, moments, settings in zip(
        optimizers, state["moments"], state["settings"], strict=True
    ):
        now = optimizer.state_dict()["param_groups"]
        groups = [_as_typed(*pair) for pair in zip(settings, now, strict=True)]
        entries = {int(i): entry for i, entry in moments.items()}
        optimizer.load_state_dict({"state": entries, "param_groups": groups})
        for parameter, entry in optimizer.state.items():
            for name, value in entry.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    # Laid out in memory as it was: the order of sums may hang on it.
                    like = torch.empty_like(parameter, dtype=value.dtype, device=value.device)
                    entry[name] = like.copy_(value)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _as_typed(settings: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return an optimiser's settings with the tuples that JSON made lists."""
    return {k: tuple(v) if isinstance(now.get(k), tuple) else v for k, v in settings.items()}

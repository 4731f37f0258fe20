"""Saves and restores a network and its optimisers, bit for bit."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ifl.errors import ConfigError
from ifl.runs.checkpoint import State


def learner_state(module: nn.Module, *optimizers: Optimizer) -> State:
    """Return a module's parameters and buffers and its optimisers' states, none of them copied."""
    states = [optimizer.state_dict() for optimizer in optimizers]
    return {
        "tensors": tensors_of(module),
        "moments": [{str(i): entry for i, entry in s["state"].items()} for s in states],
        "settings": [s["param_groups"] for s in states],
    }


def load_learner(state: State, module: nn.Module, *optimizers: Optimizer) -> None:
    """Write what ``learner_state`` returned into a module and optimisers made as those were.

    Raises:
        ConfigError: the module has other tensors.
    """
    mine, kept = tensors_of(module), state["tensors"]
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


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's parameters and buffers by name, not copied."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _as_typed(settings: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return an optimiser's settings with the tuples that JSON made lists."""
    return {k: tuple(v) if isinstance(now.get(k), tuple) else v for k, v in settings.items()}

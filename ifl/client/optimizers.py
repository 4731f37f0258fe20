"""Steps torch's optimisers without its compiler.

Torch loads ``torch._dynamo`` when an optimiser is made, stepped or saved, only to keep a compiler
from looking into it. Nothing is compiled here, and to load it takes a process longer than a short
run. So the functions below are called without that shell, which changes no number.
"""

import inspect

import torch
from torch.optim import Optimizer
from torch.optim import optimizer as shell

for _name in ("add_param_group", "state_dict", "load_state_dict"):
    setattr(Optimizer, _name, inspect.unwrap(getattr(Optimizer, _name)))


def step(optimizer: Optimizer) -> None:
    """Take a step of an optimiser, as its ``step()`` does."""
    if _plain(optimizer):
        with torch.no_grad():
            inspect.unwrap(type(optimizer).step)(optimizer)
    else:
        optimizer.step()


def _plain(optimizer: Optimizer) -> bool:
    """Tell whether it is one of torch's that nobody listens to."""
    return not (
        not type(optimizer).__module__.startswith("torch.optim.")
        or "step" in vars(optimizer)  # a schedule counts its steps
        or optimizer.defaults.get("differentiable")
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or shell._global_optimizer_pre_hooks
        or shell._global_optimizer_post_hooks
    )

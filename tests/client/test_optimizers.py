"""Test that optimisers step as torch has them step."""

import warnings

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from ifl.client.optimizers import step

MADE = {
    "SGD": {"lr": 0.1},
    "SGD with momentum": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 0.01},
    "AdamW": {"lr": 0.01, "amsgrad": True},
    "RMSprop": {"lr": 0.01},
    "Adagrad": {"lr": 0.01},
    "Adadelta": {},
    "NAdam": {},
    "RAdam": {},
    "Adamax": {},
    "Rprop": {},
    "ASGD": {},
    "Adafactor": {},
}


def _trained(
    name: str, stepped: bool, rounds: int = 5
) -> tuple[list[torch.Tensor], dict[str, object]]:
    """Return weights and state after some steps, by ``step`` or by the optimiser's own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = getattr(torch.optim, name.split()[0])(model.parameters(), **MADE[name])
    for _ in range(rounds):
        optimizer.zero_grad()
        model(torch.randn(8, 6)).square().mean().backward()
        if stepped:
            step(optimizer)
        else:
            optimizer.step()
    return [p.detach() for p in model.parameters()], optimizer.state_dict()["state"]


@pytest.mark.parametrize("name", MADE)
def test_a_step_is_that_of_torch(name: str) -> None:
    (mine, state), (theirs, its) = _trained(name, True), _trained(name, False)
    for one, other in zip(mine, theirs, strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(state, its, rtol=0, atol=0)


class Halving(Optimizer):
    """A user's own."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Halve every parameter."""
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(0.5)


def test_a_users_own_takes_its_step() -> None:
    parameter = nn.Parameter(torch.ones(2))
    step(Halving([parameter], {}))
    assert parameter.tolist() == [0.5, 0.5]


def test_a_schedule_counts_and_hooks_hear_the_steps() -> None:
    parameter, heard = nn.Parameter(torch.ones(1)), []
    parameter.grad = torch.ones(1)
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(optimizer)
        schedule.step()
    assert parameter.tolist() == [0.0]
    other = torch.optim.SGD([parameter], lr=1.0)
    other.register_step_post_hook(lambda *_: heard.append("after"))
    step(other)
    assert heard == ["after"]

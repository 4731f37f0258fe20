import torch
from torch import nn

from ifl.methods.parts.averaging import average, pack, state, unpack


def test_the_average_is_weighted_by_samples() -> None:
    modules = [nn.Linear(2, 1) for _ in range(3)]
    samples = [1, 2, 5]
    mean = average({k: pack(m, n) for k, (m, n) in enumerate(zip(modules, samples, strict=True))})
    target = nn.Linear(2, 1)
    unpack(target, mean)
    expected = (modules[0].weight + 2 * modules[1].weight + 5 * modules[2].weight) / 8
    assert torch.allclose(target.weight, expected, atol=1e-7)


def test_running_statistics_are_state_and_counters_are_not() -> None:
    assert len(state(nn.BatchNorm1d(3))) == 4  # weight, bias, running mean, running variance


def test_equal_modules_average_to_themselves_exactly() -> None:
    module = nn.Linear(50, 20)
    mean = average({k: pack(module, 7) for k in range(3)})
    assert all(
        torch.equal(mean.tensors[f"params.{i}"], tensor) for i, tensor in enumerate(state(module))
    )

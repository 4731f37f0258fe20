"""Test that blocks compute in bfloat16, and that everything around them is float32."""

import pickle
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from commands import QUICK, command
from conftest import EVERY, composed, play
from torch import nn

import ifl
from ifl.cli.build import assemble
from ifl.client.precision import compute_in
from ifl.client.state import tensors_of
from ifl.federation.build import Federation
from ifl.runs.identity import fingerprint

LOW = ("runtime.precision=bfloat16",)
NETWORKS = ("clients=mlp_homogeneous", "fusion.dim=16", "clients.count=3", "batch_size=4")


def built(*typed: str) -> Federation:
    return assemble(composed(*NETWORKS, "local.tau=2", *typed))


def blocks(federation: Federation) -> list[torch.Tensor]:
    engine = federation.engine
    both = engine.method.blocks(engine.clients, engine.server)
    return [p for kind in both for block in kind.values() for p in block.parameters()]


def test_products_are_those_of_bfloat16_and_results_float32() -> None:
    torch.manual_seed(0)
    block, x = nn.Linear(64, 8, bias=False), torch.randn(4, 64)
    exact = block(x)
    compute_in("float32", block)
    assert torch.equal(block(x), exact)
    compute_in("bfloat16", block)
    low = block(x)
    assert low.dtype == torch.float32
    assert torch.equal(low, (x.bfloat16() @ block.weight.bfloat16().T).float())
    assert 0 < (low - exact).abs().max() < 0.05
    low.sum().backward()
    assert block.weight.grad is not None
    assert block.weight.grad.dtype == torch.float32


def test_copies_have_weights_of_their_own() -> None:
    block, x = nn.Linear(6, 3), torch.randn(4, 6)
    compute_in("bfloat16", block)
    for copy in (deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(copy(x), block(x))
        with torch.no_grad():
            copy.weight.zero_()
            copy.bias.zero_()
        assert not copy(x).any()
        assert block(x).any()


KINDS = ["ifl", "fsl", "fl", "fedgh", "centralized", "cse_fsl", "fml", "relative"]  # of servers


@pytest.mark.parametrize("option", [o for o in EVERY if o.split()[0] in KINDS and "=" not in o])
def test_methods_learn_with_float32_weights_and_messages(option: str) -> None:
    typed = (f"method={option}".split(), "optimizer=adam")
    low, exact = built(*typed[0], typed[1], *LOW), built(*typed[0], typed[1])
    rows = [play(federation, 3) for federation in (low, exact)]
    assert rows[0] == rows[1]  # as many bytes
    for client in low.engine.clients:
        assert {t.dtype for t in tensors_of(client.model).values()} <= {torch.float32, torch.int64}
        for optimizer in client.optimizers:
            kept = [v for state in optimizer.state.values() for v in state.values()]
            assert {v.dtype for v in kept if isinstance(v, torch.Tensor)} <= {torch.float32}
    pairs = zip(blocks(low), blocks(exact), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_it_is_another_run_unless_it_is_float32() -> None:
    usual = fingerprint({"runtime": {"threads": 2}, "seed": 0})
    assert fingerprint({"runtime": {"precision": "float32"}, "seed": 0}) == usual
    assert fingerprint({"runtime": {"precision": "bfloat16"}, "seed": 0}) != usual


def test_a_run_goes_on_as_if_it_had_not_been_interrupted() -> None:
    whole, first, second = (built(*LOW, "method=ifl_frugal") for _ in range(3))
    for number in (1, 2, 3):
        whole.engine.round(number)
        (first if number < 3 else second).engine.round(number)
        if number == 2:
            second.engine.load_state(first.engine.state())
    for one, other in zip(whole.engine.clients, second.engine.clients, strict=True):
        for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(a, b)


def test_trained_blocks_are_float32_and_as_good(tmp_path: Path) -> None:
    ended = command(tmp_path, *QUICK, *LOW)
    assert ended.returncode == 0, ended.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    trained = ifl.load(folder)
    block = trained.block("base", 0)
    x = torch.rand(2, 1, 28, 28)
    assert not torch.equal(block(x), block(x.bfloat16().float()))
    assert trained.about["config"]["runtime"]["precision"] == "bfloat16"

"""Whatever a user's code draws, and from whichever generator, follows from the seed."""

import random
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DIM, MOMENTUM, SHAPE, SMALL, TINY, Build, clients, equal, parameters
from torch import Tensor, nn

from ifl.cli.run import main
from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Envelope, Float32
from ifl.errors import ConfigError
from ifl.federation.build import Federation, build
from ifl.federation.member import Member
from ifl.federation.workers import Workers
from ifl.methods.fl import FL
from ifl.methods.ifl import IFL
from ifl.methods.local import Local
from ifl.models import mlp_base


class Numpys(nn.Module):
    """Starts from NumPy's draws."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = mlp_base(SHAPE, [], DIM)
        with torch.no_grad():
            for parameter in self.layer.parameters():
                parameter.copy_(torch.from_numpy(np.random.normal(0, 0.1, tuple(parameter.shape))))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


class AtFirst(nn.Module):
    """Starts from what it draws when it is run for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.ready = mlp_base(SHAPE, [], DIM), False

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            self.ready = True
            with torch.no_grad():
                for parameter in self.layer.parameters():
                    parameter.mul_(random.random() + np.random.rand() + float(torch.rand(())))
        return self.layer(x)  # type: ignore[no-any-return]


class Noisy(nn.Module):
    """Adds noise to z in training, or always."""

    def __init__(self, draw: Callable[[int], Any], always: bool = False) -> None:
        super().__init__()
        self.layer, self.draw, self.always = mlp_base(SHAPE, [], DIM), draw, always

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.layer(x)
        if self.training or self.always:
            z = z + 0.1 * torch.as_tensor(self.draw(len(z)), dtype=torch.float32).reshape(-1, 1)
        return z


DRAWS: dict[str, Callable[[int], Any]] = {
    "numpy": np.random.randn,
    "random": lambda n: [random.gauss(0, 1) for _ in range(n)],
    "torch": torch.randn,
}
BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(DIM)),
    "numpy weights": Numpys,
    "a random width": lambda: mlp_base(SHAPE, [random.randint(3, 40)], DIM),
    "first run": AtFirst,
    **{f"{name} in training": partial(Noisy, draw) for name, draw in DRAWS.items()},
    "numpy when tested": partial(Noisy, DRAWS["numpy"], True),
}


def disturbed(make: Callable[[], Federation], rounds: int = 2) -> tuple[Any, list[Tensor]]:
    """Build and train from another state of the global generators, and leave that as it is."""
    random.seed()
    np.random.seed()
    torch.seed()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    federation = make()
    losses = [federation.engine.round(number) for number in range(1, rounds + 1)]
    found = federation.engine.evaluate(federation.data.test.inputs(), federation.data.test.y)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    assert before == after
    ends = [p for me in clients(federation) for p in parameters(me.model)]
    return (losses, found.accuracy), ends


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_that_draws_gives_the_same_run_again(kind: str, tiny: Build) -> None:
    member = Member(kind, BLOCKS[kind], SMALL.modular)
    first, ends = disturbed(lambda: tiny(IFL(tau=2), member))
    for workers in (1, 3):
        again, same = disturbed(lambda: tiny(IFL(tau=2), member, workers=Workers(workers)))  # noqa: B023
        assert first == again
        assert equal(ends, same)
    starts = [parameters(me.model.base) for me in clients(tiny(IFL(), member))]
    assert [p.shape for p in starts[0]] != [p.shape for p in starts[1]] or not equal(*starts)
    other = parameters(clients(tiny(IFL(), member, seed=1))[0].model.base)
    assert [p.shape for p in starts[0]] != [p.shape for p in other] or not equal(starts[0], other)


def test_lazy_layers_are_there_before_optimisers_and_averages(tiny: Build) -> None:
    lazy = Member(
        "lazy", BLOCKS["lazy"], lambda: nn.Sequential(nn.LazyBatchNorm1d(), SMALL.modular())
    )
    federation = tiny(FL(tau=1), lazy)
    start = parameters(clients(federation)[0].model.base)
    federation.engine.round(1)
    assert not equal(start, parameters(clients(federation)[0].model.base))


def test_what_follows_no_seed_is_refused(tiny: Build) -> None:
    unseeded = Member(
        "own", lambda: Noisy(lambda n: np.random.default_rng().normal(size=n)), SMALL.modular
    )
    with pytest.raises(ConfigError, match="other outputs of the same samples, weights and random"):
        tiny(IFL(), unseeded)


WIDTHS = count(3)  # another one each time, as from a clock


class Kept(nn.Module):
    """Takes features in an order that it draws without a seed, and keeps where no state is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = mlp_base(SHAPE, [], DIM)
        self.order = np.random.default_rng().permutation(36)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)[:, self.order].reshape(x.shape))  # type: ignore[no-any-return]


def unseeded_weights() -> nn.Module:
    block = mlp_base(SHAPE, [], DIM)
    with torch.no_grad():
        for parameter in block.parameters():
            drawn = np.random.default_rng().normal(0, 0.1, tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(drawn))
    return block


def unseeded_width() -> nn.Module:
    return mlp_base(SHAPE, [next(WIDTHS)], DIM)


@pytest.mark.parametrize(
    ("base", "differs"),
    [
        (unseeded_weights, "base.1.weight"),
        (unseeded_width, "base.1.weight"),
        (Kept, "its outputs"),
    ],
    ids=["weights", "width", "kept elsewhere"],
)
def test_a_start_that_follows_no_seed_is_refused(
    base: Callable[[], nn.Module], differs: str, tiny: Build
) -> None:
    with pytest.raises(ConfigError, match=r"client 1 \(own\): made again from the same seed") as e:
        tiny(IFL(), SMALL, Member("own", base, SMALL.modular))
    assert f"({differs} differs); draw from torch's" in str(e.value)


class Everything(nn.Module):
    """Draws its start from all generators, has a lazy layer and dropout, and noise in training."""

    def __init__(self, fusion_dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(784, random.randint(20, 40))
        self.last, self.dropout = nn.LazyLinear(fusion_dim), nn.Dropout(0.3)
        with torch.no_grad():
            drawn = np.random.normal(0, 0.1, tuple(self.first.weight.shape))
            self.first.weight.copy_(torch.from_numpy(drawn))

    def forward(self, x: Tensor) -> Tensor:
        z = self.dropout(torch.relu(self.first(x.flatten(1))))
        if self.training:
            z = z + 0.01 * torch.as_tensor(np.random.randn(*z.shape), dtype=torch.float32)
        return self.last(z)  # type: ignore[no-any-return]


def test_the_same_command_in_two_folders_gives_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "clients.members.0.base"
    typed = [f"{own}._target_={__name__}.Everything", f"~{own}.widths", "clients.count=2"]
    typed += ["clients=mlp_homogeneous", "rounds=3", "eval_every=1", "local.tau=2"]
    tables = []
    for name, workers in (("one", 1), ("two", 1), ("three", 2)):
        random.seed()
        np.random.seed()
        torch.seed()
        more = [f"runtime.workers={workers}", f"outputs={tmp_path / name}"]
        monkeypatch.setattr(sys, "argv", ["run.py", *typed, *more])
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setenv("MKL_NUM_THREADS", "1")
        assert main() == 0
        (path,) = (tmp_path / name).rglob("rounds.csv")
        tables.append([row.rpartition(",")[0] for row in path.read_text("utf-8").splitlines()])
    assert tables[0] == tables[1] == tables[2]
    assert len(tables[0]) == 4


class Jitter(torch.optim.SGD):
    """Moves parameters a little at random after each step."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                with torch.no_grad():
                    parameter.add_(0.01 * (float(np.random.rand()) + torch.rand_like(parameter)))


def test_an_optimiser_that_draws_gives_the_same_run_again(tiny: Build) -> None:
    make = partial(Jitter, lr=0.05)
    runs = [
        disturbed(lambda: tiny(IFL(tau=2), optimizer=make, workers=Workers(count)))  # noqa: B023
        for count in (1, 3)
    ]
    assert runs[0][0] == runs[1][0]
    assert equal(runs[0][1], runs[1][1])


def erased(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blacken a row of all images, drawn from elsewhere than it should be."""
    x[:, :, np.random.randint(x.shape[2])] = -1
    return x * random.choice([1.0, 0.9])


def test_an_augmentation_that_draws_gives_the_same_run_again(tiny: Build) -> None:
    runs = [
        disturbed(lambda: tiny(Local(tau=2), augment=erased, workers=Workers(count)))  # noqa: B023
        for count in (1, 3)
    ]
    assert runs[0][0] == runs[1][0]
    assert not equal(runs[0][1], disturbed(lambda: tiny(Local(tau=2)))[1])


class Dithered(Envelope):
    """Float32, of which a bit is left to chance; what was decoded once has none of it."""

    def encode(self, tensor: Tensor, stream: object = None) -> dict[str, Tensor]:
        chance = torch.from_numpy(np.asarray(np.random.random_sample(tuple(tensor.shape)) > 0.5))
        eighths = tensor * 8
        return {"": (eighths.floor() + (eighths != eighths.floor()) * chance) / 8}

    def decode(self, parts: Any) -> Tensor:
        return parts[""]  # type: ignore[no-any-return]


class Shuffled:
    """A partition that draws from the wrong generators."""

    def __call__(
        self, labels: np.ndarray, clients: int, generator: np.random.Generator
    ) -> list[np.ndarray]:
        order = np.random.permutation(len(labels))
        cut = random.randint(60, 180)
        return [np.sort(order[:cut]), np.sort(order[cut:])]


def test_a_codec_and_a_partition_that_draw_give_the_same_run_again() -> None:
    training = Training(Optimizers(MOMENTUM, MOMENTUM), batch_size=8)

    def make(codec: Any) -> Federation:
        return build(TINY, Shuffled(), [SMALL], 2, IFL(tau=1), training, codec, DIM)

    runs = [disturbed(lambda: make(Dithered())) for _ in range(2)]
    assert runs[0][0] == runs[1][0]
    assert equal(runs[0][1], runs[1][1])
    assert not equal(runs[0][1], disturbed(lambda: make(Float32()))[1])

"""A block's program, run without its source, gives what the block gives."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from exported_blocks import CLASSES, DIM, SHAPE, written
from torch import Tensor, nn

from ifl.blocks.files import read_block
from ifl.errors import BlockError
from ifl.models import conv_base, mlp_base, mlp_modular, resnet18_base, vit_base

TABLE = torch.linspace(-1, 1, 64 * DIM).reshape(64, DIM)


class Rows(nn.Module):
    """Reads a picture row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.GRU(8, 12, batch_first=True)
        self.out = nn.Linear(12, DIM)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(self.reader(x.flatten(1, 2))[1][-1]).relu()
        return z


class Kept(nn.Module):
    """Takes a tensor of its module, a buffer that no state has, and one weight twice."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(0.5), persistent=False)
        self.first = nn.Linear(DIM, DIM)
        self.second = nn.Linear(DIM, DIM)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.second(self.first(x.flatten(1) @ TABLE * self.scale))
        return z


class Normed(nn.Module):
    """Has running statistics, dropout and an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5)
        )
        self.out = nn.Linear(4, DIM)
        generator = torch.Generator().manual_seed(1)
        for name, buffer in self.layers.named_buffers():
            if name != "1.num_batches_tracked":
                buffer.copy_(torch.rand(4, generator=generator) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(self.layers(x).mean(dim=(2, 3)))
        return z


class Spectrum(nn.Linear):
    """Takes the amplitudes of frequencies."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.fft.rfft(x.flatten(1)).abs())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: conv_base(SHAPE, [4, 8], DIM, widths=[10]),
    "mlp": lambda: mlp_base(SHAPE, [12], DIM),
    "resnet": lambda: resnet18_base(SHAPE, DIM),
    "transformer": lambda: vit_base(SHAPE, DIM, patch=4, layers=2, hidden=16),
    "modular": lambda: mlp_modular(DIM, [12], CLASSES),
    "gru": Rows,
    "spectrum": lambda: Spectrum(33, DIM),
    "kept": Kept,
    "normed": Normed,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_program_gives_what_its_block_gives(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    block = NETWORKS[name]()
    modular = name == "modular"
    before = [p.clone() for p in block.state_dict().values()]
    read = read_block(written(block, tmp_path / "b", block="modular" if modular else "base"))
    assert block.training  # the export leaves a block as it is
    assert all(map(torch.equal, before, block.state_dict().values()))
    assert not read.training
    block.eval()
    for count in (1, 2, 7):
        x = torch.randn(count, *((DIM,) if modular else SHAPE))
        with torch.inference_mode():
            one, other = block(x), read(x)
        if name in ("transformer", "gru"):  # torch has faster paths for these, with other sums
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(one, other)


def test_tokens_are_taken_as_whole_numbers(tmp_path: Path) -> None:
    block = nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(15, DIM))
    folder = written(
        block,
        tmp_path / "b",
        samples="tokens",
        scaling="none, int64 as the data set has them",
        shape=[5],
    )
    x = torch.randint(0, 9, (4, 5))
    read = read_block(folder)
    with torch.inference_mode():
        assert torch.equal(read(x), block(x))
        with pytest.raises(BlockError, match="fails at torch.ops.aten.embedding"):
            read(x + 9)


def test_a_gradient_comes_back_through_a_modular_block(tmp_path: Path) -> None:
    block = mlp_modular(DIM, [12], CLASSES)
    read = read_block(written(block, tmp_path / "b", block="modular"))
    z = torch.randn(3, DIM)
    slopes = []
    for each in (block, read):
        mine = z.clone().requires_grad_()
        each(mine).square().sum().backward()
        assert mine.grad is not None
        slopes.append(mine.grad)
    assert torch.allclose(slopes[0], slopes[1])


class Large(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)) + torch.zeros(9000, 9000).sum()


class Noisy(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)) + torch.rand(1)


class Mixing(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        z = super().forward(x.flatten(1))
        return z - z.mean(dim=0)


class Fixed(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(2, 64))


class Deciding(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        z = super().forward(x.flatten(1))
        return z if z.sum() > 0 else -z


class Narrow(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))[:, 1:]


class Infinite(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)) / 0.0


class Batches(nn.Module):
    """Takes the statistics of a batch also at inference."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(features, dim)
        self.norm = nn.BatchNorm1d(dim, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.norm(self.layer(x.flatten(1)))
        return z


REFUSED = {
    Large: "makes a tensor of 81,000,000 values of two samples",
    Noisy: "calls torch.ops.aten.rand.default, which is none of the operators that are run",
    Mixing: "gives a sample other values beside another sample",
    Fixed: "torch.export makes no program of it",
    Deciding: "torch.export makes no program of it",
    Narrow: r"turns \[2, 1, 8, 8\] into \[2, 15\], and its card promises \[2, 16\]",
    Infinite: "values that are not finite",
    Batches: "none of the operators that are run|as in training",
}


@pytest.mark.parametrize("network", REFUSED, ids=lambda network: network.__name__)
def test_a_program_that_breaks_the_contract_is_refused(
    network: Callable[[int, int], nn.Module], tmp_path: Path
) -> None:
    with pytest.raises(BlockError, match=REFUSED[network]):  # type: ignore[index]
        read_block(written(network(64, DIM), tmp_path / "b"))

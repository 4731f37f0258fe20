import pytest
import torch
from conftest import CLASSES, DIM, SHAPE, images
from torch import Tensor

from ifl.errors import ConfigError
from ifl.models import mlp_base, mlp_modular
from ifl.trials.attack.surrogate import fit_surrogate, sliced_distance


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_distance_of_a_shifted_sample_is_the_square_of_the_shift() -> None:
    z = torch.randn(50, 1, generator=stream())
    shuffled = z[torch.randperm(50, generator=stream())]
    assert sliced_distance(z, shuffled, stream()).item() == pytest.approx(0, abs=1e-12)
    assert sliced_distance(z, shuffled + 3, stream()).item() == pytest.approx(9, rel=1e-5)


def test_in_many_dimensions_it_is_so_in_the_mean_over_directions() -> None:
    z, shift = torch.randn(2, 20, 5, generator=stream()), torch.tensor([1.0, -2.0, 0.0, 2.0, 0.0])
    many = [sliced_distance(z, z + shift, torch.Generator().manual_seed(n)) for n in range(50)]
    assert torch.stack(many).mean().item() == pytest.approx(9, rel=0.05)


def test_a_surrogate_puts_other_images_where_the_victims_lie() -> None:
    torch.manual_seed(0)
    victim = mlp_base(SHAPE, [], DIM)
    modular, block = mlp_modular(DIM, [], CLASSES), mlp_base(SHAPE, [], DIM)
    before = [p.clone() for p in modular.parameters()]
    theirs, mine = images(300, seed=1), images(300, seed=2)
    with torch.no_grad():
        z = victim(theirs.inputs())

        def apart() -> Tensor:
            found = block(mine.inputs())
            means = [found[mine.y == c].mean(0) - z[theirs.y == c].mean(0) for c in range(CLASSES)]
            gap: Tensor = torch.linalg.vector_norm(torch.stack(means))
            return gap

        at_first = apart()
    fitted = fit_surrogate(block, modular, mine.inputs(), mine.y, z, theirs.y, 500, stream())
    assert apart() < at_first / 2
    assert fitted is block
    assert not block.training
    assert not any(p.requires_grad for p in block.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, modular.parameters(), strict=True))
    assert all(p.requires_grad for p in modular.parameters())


def test_without_labels_all_rows_are_of_one_class() -> None:
    torch.manual_seed(0)
    victim = mlp_base(SHAPE, [], DIM)
    head, block = mlp_modular(DIM, [], CLASSES), mlp_base(SHAPE, [], DIM)
    theirs, mine = images(300, seed=1), images(300, seed=2)
    with torch.no_grad():
        z = victim(theirs.inputs())

        def apart() -> float:
            return float(sliced_distance(block(mine.inputs()), z, stream()))

        at_first = apart()
    fit_surrogate(block, head, mine.inputs(), mine.y, z, None, 500, stream())
    with torch.no_grad():
        assert apart() < at_first / 3


def test_without_a_class_in_common_there_is_none() -> None:
    mine, block = images(20, seed=2), mlp_base(SHAPE, [], DIM)
    z, y = torch.ones(4, DIM), torch.full((4,), 9)
    with pytest.raises(ConfigError, match="has no image of a class"):
        fit_surrogate(block, mlp_modular(DIM, [], 4), mine.inputs(), mine.y, z, y, 1, stream())

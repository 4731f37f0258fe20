import pytest
import torch
from conftest import CLASSES, DIM, SHAPE
from torch import nn

from ifl.client.contract import check_contract
from ifl.errors import ConfigError
from ifl.models import SplitModel, conv_base, mlp_base, mlp_modular, vit_base


def checked(base: nn.Module, modular: nn.Module) -> None:
    x = torch.zeros(2, *SHAPE)
    check_contract(SplitModel(base, modular), "client 3 (odd)", x, DIM, CLASSES, batch_size=4)


def test_a_block_of_the_wrong_width_is_named_with_what_was_expected_and_found() -> None:
    good_base, good_modular = mlp_base(SHAPE, [], DIM), mlp_modular(DIM, [], CLASSES)
    checked(good_base, good_modular)
    with pytest.raises(ConfigError) as error:
        checked(mlp_base(SHAPE, [], 7), good_modular)
    for part in ("client 3 (odd)", "base block", "(2, 7) torch.float32", "(2, 8) torch.float32"):
        assert part in str(error.value)
    with pytest.raises(ConfigError, match=r"modular block turns .* into \(2, 5\) .* data.classes"):
        checked(good_base, mlp_modular(DIM, [], 5))


def test_a_block_of_the_wrong_dtype_or_type_is_named() -> None:
    class Half(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z[:, :CLASSES].half()

    class Pair(nn.Module):
        def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return z, z

    with pytest.raises(ConfigError, match=r"into \(2, 4\) torch.float16, expected"):
        checked(mlp_base(SHAPE, [], DIM), Half())
    with pytest.raises(ConfigError, match="into <class 'tuple'>, expected"):
        checked(mlp_base(SHAPE, [], DIM), Pair())


def test_a_block_that_cannot_take_the_images_is_named() -> None:
    with pytest.raises(ConfigError, match="its base block does not take a .* must fit data.shape"):
        checked(mlp_base((1, 9, 9), [], DIM), mlp_modular(DIM, [], CLASSES))


def test_the_check_changes_no_weight_and_no_running_statistic() -> None:
    base = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, DIM))
    before = {name: value.clone() for name, value in base.state_dict().items()}
    checked(base, mlp_modular(DIM, [], CLASSES))
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert base.training


def test_relu_after_pooling_is_the_same_function_as_before() -> None:
    torch.manual_seed(0)
    base = conv_base((1, 28, 28), [4, 6], 10)
    assert isinstance(base, nn.Sequential)
    conv1, pool1, relu1, conv2, pool2, relu2, *rest = base
    plain = nn.Sequential(conv1, relu1, pool1, conv2, relu2, pool2, *rest)
    x = torch.randn(5, 1, 28, 28)
    assert torch.equal(base(x), plain(x))


def test_ten_convolutions_fit_when_they_pool_seldom_enough() -> None:
    assert conv_base((1, 28, 28), [4] * 10, 9, pool_every=4)(torch.zeros(2, 1, 28, 28)).shape == (
        2,
        9,
    )
    with pytest.raises(ConfigError, match="leave no pixel of a 28 x 28 image; raise pool_every"):
        conv_base((1, 28, 28), [4] * 10, 9)


def test_a_transformer_needs_whole_patches() -> None:
    with pytest.raises(ConfigError, match="28 x 28 with patch=5; choose a patch"):
        vit_base((1, 28, 28), 9, patch=5)

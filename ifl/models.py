"""Builds networks split at the fusion layer, from ready-made blocks or any torch modules.

A client's network is f_m(f_b(x)): the base block f_b maps samples to the fusion output z
of the agreed dimension d, the modular block f_m maps z to logits (Krouka & Bennis 2025,
arXiv 2509.22823). Any torch module that keeps this contract is a block (``ifl.client.contract``).
Pooling comes before ReLU: the same function, on a quarter of the values.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from ifl.checks import check_whole, check_wholes
from ifl.errors import ConfigError


class SplitModel(nn.Module):
    """A base block (B, ...) -> (B, d) and a modular block (B, d) -> (B, classes)."""

    def __init__(self, base: nn.Module, modular: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.modular = modular

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) float32 of samples x (B, ...) float32, or int64 tokens."""
        return self.modular(self.base(x))  # type: ignore[no-any-return]


def _check_widths(widths: Sequence[int], fusion_dim: int) -> None:
    check_wholes("widths", widths, 1)
    check_whole("fusion_dim", fusion_dim, 1)


def _check_image(block: str, shape: Sequence[int]) -> None:
    if len(shape) != 3:
        raise ConfigError(
            f"{block} takes images of channels, height and width, got samples of the shape "
            f"{list(shape)}; clients=tabular has blocks (ifl.models.mlp_base) for any shape"
        )


def _dense(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers between consecutive widths, a ReLU after each."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return layers


def mlp_base(shape: Sequence[int], widths: Sequence[int], fusion_dim: int) -> nn.Module:
    """Fully connected base block: flatten, ``widths`` hidden units, z = ReLU of d units.

    It takes float samples of any shape.
    """
    _check_widths(widths, fusion_dim)
    return nn.Sequential(nn.Flatten(), *_dense([prod(shape), *widths, fusion_dim]))


def conv_base(
    shape: Sequence[int],
    channels: Sequence[int],
    fusion_dim: int,
    widths: Sequence[int] = (),
    pool_every: int = 1,
) -> nn.Module:
    """Convolutional base block: 3 x 3 convolutions, then dense layers to z = ReLU of d units.

    Args:
        shape: C, H, W of an image.
        channels: output channels of each convolution.
        widths: hidden units between the last map and the fusion layer.
        pool_every: a 2 x 2 max-pooling follows every so many convolutions.

    Raises:
        ConfigError: a width is out of range, samples are no images, or the pooling leaves no
            pixel of them.
    """
    _check_image("conv_base", shape)
    _check_widths(widths, fusion_dim)
    check_wholes("channels", channels, 1)
    check_whole("pool_every", pool_every, 1)
    depth, height, width = shape
    layers: list[nn.Module] = []
    for number, out in enumerate(channels, start=1):
        layers.append(nn.Conv2d(depth, out, kernel_size=3, padding=1))
        depth = out
        if number % pool_every == 0:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        layers.append(nn.ReLU())
    if min(height, width) < 1:
        raise ConfigError(
            f"{len(channels)} convolutions with pool_every={pool_every} leave no pixel of a "
            f"{shape[1]} x {shape[2]} image; raise pool_every or drop channels"
        )
    dense = _dense([depth * height * width, *widths, fusion_dim])
    return nn.Sequential(*layers, nn.Flatten(), *dense)


def mlp_modular(fusion_dim: int, widths: Sequence[int], classes: int) -> nn.Module:
    """Fully connected modular block: z, ``widths`` hidden units with ReLU, logits."""
    _check_widths(widths, fusion_dim)
    last = widths[-1] if widths else fusion_dim
    return nn.Sequential(*_dense([fusion_dim, *widths]), nn.Linear(last, classes))


def resnet18_base(shape: Sequence[int], fusion_dim: int) -> nn.Module:
    """torchvision's ResNet-18 (He et al. 2016) with a 3 x 3 first convolution for small images.

    Raises:
        ConfigError: samples are no images.
    """
    _check_image("resnet18_base", shape)
    from torchvision.models import resnet18

    net: nn.Module = resnet18(num_classes=fusion_dim)
    net.conv1 = nn.Conv2d(shape[0], 64, kernel_size=3, padding=1, bias=False)
    return net


def vit_base(
    shape: Sequence[int],
    fusion_dim: int,
    patch: int = 7,
    layers: int = 4,
    heads: int = 4,
    hidden: int = 64,
) -> nn.Module:
    """A small vision transformer (Dosovitskiy et al. 2021) on torchvision's implementation.

    Raises:
        ConfigError: the image is not a square of whole patches, or a size is out of range.
    """
    _check_image("vit_base", shape)
    from torchvision.models import VisionTransformer

    sizes = {"patch": patch, "layers": layers, "heads": heads, "hidden": hidden}
    for name, value in sizes.items():
        check_whole(name, value, 1)
    if hidden % heads:
        raise ConfigError(
            f"hidden must be a multiple of heads, got hidden={hidden} and heads={heads}; "
            "choose heads that divide it"
        )
    if shape[1] != shape[2] or shape[1] % patch:
        raise ConfigError(
            f"a vision transformer needs square images of whole patches, got {shape[1]} x "
            f"{shape[2]} with patch={patch}; choose a patch that divides the side"
        )
    net: nn.Module = VisionTransformer(
        image_size=shape[1],
        patch_size=patch,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=hidden,
        mlp_dim=2 * hidden,
        num_classes=fusion_dim,
    )
    net.conv_proj = nn.Conv2d(shape[0], hidden, kernel_size=patch, stride=patch)
    net.heads = nn.Linear(hidden, fusion_dim)  # torchvision starts its head at zero: z would be 0
    return net

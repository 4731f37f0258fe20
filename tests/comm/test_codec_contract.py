"""A codec of one's own is tried before training."""

from typing import Any

import pytest
import torch
from conftest import CONF, options
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from ifl.comm.codecs import Envelope
from ifl.comm.contract import check_codec
from ifl.errors import ConfigError


class Own(Envelope):
    """Passes float32 through."""

    def encode(self, tensor: Tensor, stream: Any = None) -> dict[str, Tensor]:
        return {"": tensor}

    def decode(self, parts: Any) -> Tensor:
        return parts[""]  # type: ignore[no-any-return]


class Flat(Own):
    def decode(self, parts: Any) -> Tensor:
        return parts[""].flatten()  # type: ignore[no-any-return]


class Double(Own):
    def decode(self, parts: Any) -> Tensor:
        return parts[""].double()  # type: ignore[no-any-return]


class Fading(Own):
    def decode(self, parts: Any) -> Tensor:
        return parts[""] * 0.9  # type: ignore[no-any-return]


class Integers(Own):
    def encode(self, tensor: Tensor, stream: Any = None) -> dict[str, Tensor]:
        return {"": tensor.round().to(torch.int8)}


class Smooth(Own):
    def decode(self, parts: Any) -> Tensor:
        return torch.nan_to_num(parts[""])


class Overflowing(Own):
    def decode(self, parts: Any) -> Tensor:
        return torch.as_tensor(parts[""]) / 0


class Naked:
    labels = "bytes"


class Matrices(Own):
    def encode(self, tensor: Tensor, stream: Any = None) -> dict[str, Tensor]:
        _rows, _columns = tensor.shape
        return {"": tensor}


class Odd(Own):
    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "labels", "nibbles")


WRONG: list[tuple[Any, str]] = [
    (Flat(), r"codec Flat turns a tensor \(3, 5\) into one \(15,\)"),
    (Double(), "codec Double fails on a float32 tensor .*torch.float64"),
    (Fading(), "codec Fading changes a tensor .* decoded once already"),
    (Integers(), "codec Integers makes a single part of torch.int8"),
    (Smooth(), "codec Smooth makes finite values of nan"),
    (Overflowing(), "codec Overflowing makes values that are not finite"),
    (Naked(), "codec Naked has no zstd; derive it from"),
    (Matrices(), r"codec Matrices fails on a float32 tensor \(4,\)"),
    (Odd(), "codec.labels must be bytes or packed, got nibbles"),
    (3, "codec int has no labels"),
]


@pytest.mark.parametrize(("codec", "sentence"), WRONG, ids=lambda case: type(case).__name__)
def test_a_codec_that_breaks_the_contract_is_one_sentence(codec: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        check_codec(codec, 10)
    assert "\n" not in str(error.value)


def test_codecs_that_keep_it_pass_and_draw_from_no_global_generator() -> None:
    assert not check_codec(Own(), 10)
    for option in options("codec"):
        config = OmegaConf.load(CONF / "codec" / f"{option}.yaml")
        assert not check_codec(instantiate(config), 10)

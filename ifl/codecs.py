"""How a floating-point tensor is written on the wire.

A codec maps a tensor to named parts and back; the parts are what is serialised, so
everything it needs to decode (a scale, an index) is counted in bytes. The first part
has the empty name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Codec(Protocol):
    """A pair of pure functions; ``decode(encode(t))`` has the shape of t and is float32."""

    def encode(self, tensor: Tensor) -> dict[str, Tensor]:
        """Return the parts of a floating-point tensor of any shape."""

    def decode(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the float32 tensor that ``parts`` stand for.

        They may come from anybody: whatever it raises at parts that ``encode`` never makes is
        told as a MessageError, and it allocates nothing for a size that is only declared.
        """


@dataclass(frozen=True)
class Float32:
    """Four bytes a value, nothing lost: what the paper sends."""

    def encode(self, tensor: Tensor) -> dict[str, Tensor]:
        """Return the tensor itself as float32."""
        return {"": tensor.float()}

    def decode(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the one part."""
        return parts[""]

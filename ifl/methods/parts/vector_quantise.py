"""Quantises fusion outputs by product: pieces of z become codes of a codebook that k-means finds.

Source: Wang et al. 2022, "FedLite: A Scalable Approach for Federated Learning on
Resource-constrained Clients", arXiv 2201.11865, section 4; Jegou et al. 2011, "Product
Quantization for Nearest Neighbor Search".
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from ifl.checks import check_whole
from ifl.errors import ConfigError


@dataclass(frozen=True)
class ProductQuantiser:
    """Cuts each z (d,) into q pieces of d / q values; pieces of a group share one codebook.

    Args:
        width: d / q, the values of a piece.
        groups: R, which divides q; pieces that lie together in z are one group.
        codes: L, entries of a codebook: 2, 4, 8, ... 256.
        iterations: of k-means, which starts from L of the pieces at random.

    Raises:
        ConfigError: a value is out of range, or does not go with another one.
    """

    width: int
    groups: int
    codes: int
    iterations: int

    def __post_init__(self) -> None:
        for name in ("width", "groups", "codes", "iterations"):
            check_whole(f"method.{name}", getattr(self, name), 1)
        if self.codes not in (2, 4, 8, 16, 32, 64, 128, 256):
            raise ConfigError(
                "method.codes must be a power of 2 from 2 to 256, so that codes are whole bits, "
                f"got {self.codes}"
            )

    @property
    def bits(self) -> int:
        """The bits of a code."""
        return self.codes.bit_length() - 1

    def check(self, dim: int, batch_size: int) -> None:
        """Raise ConfigError unless z (batch_size, dim) can be cut up and has so many pieces."""
        if dim % (self.width * self.groups):
            raise ConfigError(
                f"method.width * method.groups must divide fusion.dim={dim}, got "
                f"{self.width} * {self.groups}; z is cut into pieces of one width, dealt to groups"
            )
        pieces = batch_size * dim // self.width // self.groups
        if self.codes > pieces:
            raise ConfigError(
                f"method.codes={self.codes} must be at most the {pieces} pieces of a group in a "
                "batch; lower it, method.width or method.groups, or raise batch_size"
            )

    def quantise(self, z: Tensor, draws: Generator) -> tuple[Tensor, Tensor]:
        """Return the codebooks (R * L, d / q) float32 and the codes (B * q,) int64 of z (B, d).

        Args:
            draws: a CPU generator.
        """
        pieces = self._pieces(z)
        count = pieces.shape[1]
        first = [torch.randperm(count, generator=draws)[: self.codes] for _ in range(self.groups)]
        chosen = torch.stack(first).to(z.device)[..., None].expand(-1, -1, pieces.shape[2])
        books = pieces.gather(1, chosen)  # (R, L, d / q)
        for _ in range(self.iterations):
            members = torch.nn.functional.one_hot(_nearest(pieces, books), self.codes).to(z.dtype)
            sizes = members.sum(dim=1)[..., None]  # (R, L, 1)
            means = members.transpose(1, 2) @ pieces / sizes.clamp(min=1)
            books = torch.where(sizes > 0, means, books)  # an entry that nothing is near to stays
        return books.flatten(0, 1), _nearest(pieces, books).flatten()

    def assemble(self, books: Tensor, codes: Tensor, rows: int) -> Tensor:
        """Return the z (rows, d) that codebooks and codes stand for."""
        books = books.reshape(self.groups, self.codes, -1)
        codes = codes.reshape(self.groups, -1)
        pieces = books.gather(1, codes[..., None].expand(-1, -1, self.width))
        return pieces.reshape(self.groups, rows, -1).transpose(0, 1).reshape(rows, -1)

    def _pieces(self, z: Tensor) -> Tensor:
        """Return the pieces by group: (R, B * q / R, d / q)."""
        return z.reshape(len(z), self.groups, -1, self.width).transpose(0, 1).flatten(1, 2)

    def pack(self, codes: Tensor) -> Tensor:
        """Return codes (n,) in uint8 (ceil(n * bits / 8),), the first in the highest bits."""
        places = np.arange(self.bits)[::-1]
        table = codes.cpu().numpy()[:, None] >> places & 1
        return torch.from_numpy(np.packbits(table.astype(np.uint8)))

    def unpack(self, packed: Tensor, count: int) -> Tensor:
        """Return the codes (count,) int64 that were packed, on their device."""
        table = np.unpackbits(packed.cpu().numpy())[: count * self.bits].reshape(count, self.bits)
        codes = table.astype(np.int64) @ (1 << np.arange(self.bits)[::-1])
        return torch.from_numpy(codes).to(packed.device)


def _nearest(pieces: Tensor, books: Tensor) -> Tensor:
    """Return the places (R, n) in the codebooks (R, L, w) that pieces (R, n, w) are nearest to."""
    return torch.cdist(pieces, books, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=2)

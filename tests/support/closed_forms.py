"""What messages have to weigh: safetensors' headers rebuilt, and bytes by round."""

import json
from math import prod

import torch
from conftest import play

from ifl.federation.build import Federation
from ifl.methods.parts.averaging import state


def header(**tensors: tuple[str, list[int], int]) -> int:
    """Length of a safetensors header: 8 bytes and JSON padded to 8.

    Widest types first, of these floats before integers.
    """
    entries, offset = {}, 0
    for name, (dtype, shape, width) in sorted(
        tensors.items(), key=lambda t: (-t[1][2], t[1][0], t[0])
    ):
        size = width * prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    length = len(json.dumps(entries, separators=(",", ":")))
    return 8 + -(-length // 8) * 8


def packed(module: torch.nn.Module) -> dict[str, tuple[str, list[int], int]]:
    return {f"params.{i}": ("F32", list(t.shape), 4) for i, t in enumerate(state(module))}


def totals(federation: Federation, rounds: int) -> list[tuple[int, int]]:
    """Uplink and downlink bytes of each round."""
    return [
        (
            sum(row[3] for row in rows if row[0] == "up"),
            sum(row[3] for row in rows if row[0] == "down"),
        )
        for rows in play(federation, rounds)
    ]

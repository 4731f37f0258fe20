"""Parses the bytes of a message without trust.

They are one safetensors file as ``safetensors.torch.save`` writes it: the header's length in
8 bytes, a JSON header, the tensors one after the other. The header is matched piece by piece
rather than parsed as JSON: nothing in it can nest, and no number in it is believed before the
bytes received bear it out, so that nothing is ever allocated for what is only declared.
"""

import re
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ifl.errors import MessageError

HEADER_LIMIT = 2**18  # bytes: of about 3,000 tensors
_SPAN = 2**40  # of the sizes that are not 0, multiplied: an empty tensor may not overflow either
_ENTRY = re.compile(
    rb'"([A-Za-z_][\w.]{0,63}(?::\w{1,16})?)":'
    rb'\{"dtype":"(\w{1,8})","shape":\[((?:\d{1,18}(?:,\d{1,18}){0,7})?)\],'
    rb'"data_offsets":\[(\d{1,18}),(\d{1,18})\]\}'
)
_DTYPES = {
    b"F64": torch.float64,
    b"F32": torch.float32,
    b"F16": torch.float16,
    b"BF16": torch.bfloat16,
    b"I64": torch.int64,
    b"I32": torch.int32,
    b"I16": torch.int16,
    b"I8": torch.int8,
    b"U32": torch.uint32,
    b"U16": torch.uint16,
    b"U8": torch.uint8,
}


class Entry(NamedTuple):
    """Where a tensor lies in a payload, in bytes from its beginning, and what it is."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


class Parsed(NamedTuple):
    """A payload whose header was read: it says where each tensor lies, by name."""

    payload: bytes
    entries: dict[str, Entry]

    def tensor(self, name: str) -> Tensor:
        """Return a copy of one of the tensors."""
        entry = self.entries[name]
        if entry.start == entry.end:
            return torch.empty(entry.shape, dtype=entry.dtype)
        own = bytearray(memoryview(self.payload)[entry.start : entry.end])
        return torch.frombuffer(own, dtype=entry.dtype).reshape(entry.shape)


def parse(payload: bytes) -> Parsed:
    """Read the header of a payload, whose tensors together are all the rest of it.

    Raises:
        MessageError: the payload is anything else.
    """
    length = int.from_bytes(payload[:8], "little")
    if len(payload) < 8 or length > len(payload) - 8:
        raise MessageError(f"{len(payload)} bytes are cut off within the header")
    if length > HEADER_LIMIT:
        raise MessageError(f"its header has {length} bytes, allowed are {HEADER_LIMIT}")
    header, position, end = payload[8 : 8 + length].rstrip(b" "), 0, 8 + length
    found: dict[str, Entry] = {}
    while header[position : position + 1] == (b"," if found else b"{"):
        match = _ENTRY.match(header, position + 1)
        if match is None:
            break
        name = match[1].decode()
        if name in found:
            raise MessageError(f"its header names {name} twice")
        found[name] = _entry(name, match, 8 + length, end)
        position, end = match.end(), found[name].end
    if header[position:] != (b"}" if found else b"{}"):
        raise MessageError(f"its header cannot be read from byte {8 + position} on")
    if end != len(payload):
        raise MessageError(f"its tensors end at byte {end}, but it has {len(payload)} bytes")
    return Parsed(payload, found)


def _entry(name: str, match: re.Match[bytes], data: int, start: int) -> Entry:
    """Return one entry of a header whose data begin at ``data``, its own due at ``start``."""
    if match[2] not in _DTYPES:
        raise MessageError(f"{name} is of an unknown type, {match[2].decode()}")
    dtype, shape = _DTYPES[match[2]], tuple(map(int, match[3].split(b","))) if match[3] else ()
    entry = Entry(dtype, shape, data + int(match[4]), data + int(match[5]))
    if entry.start != start:
        raise MessageError(f"{name} begins at byte {entry.start}, expected {start}")
    size = entry.end - entry.start
    if prod(filter(None, shape)) > _SPAN or prod(shape) * dtype.itemsize != size:
        raise MessageError(f"{name} declares the shape {shape} of {dtype} for {size} bytes")
    return entry

"""Frames that our compressor would not write, and who pays for which of its bytes."""

import sys
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.comm.zstd import check_level, compress, decompress, shared_out
from ifl.errors import ConfigError, MessageError


@settings(deadline=None, max_examples=50)
@given(payload=st.binary(max_size=500), level=st.sampled_from([1, 3, 22]))
def test_a_payload_comes_back_if_it_is_within_the_limit(payload: bytes, level: int) -> None:
    frame = compress(payload, level)
    assert decompress(frame, len(payload)) == payload
    if payload:
        with pytest.raises(MessageError, match=f"it declares {len(payload)} bytes"):
            decompress(frame, len(payload) - 1)


def test_more_than_a_step_comes_back_too() -> None:
    payload = bytes(range(256)) * 20_000
    assert decompress(compress(payload, 1), 10**7) == payload


FRAME = compress(bytes(300_000), 3)
SIZE = FRAME.index((300_000).to_bytes(4, "little"))
ENDLESS = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(300_000))


def declaring(size: int) -> bytes:
    return FRAME[:SIZE] + size.to_bytes(4, "little") + FRAME[SIZE + 4 :]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"no frame at all",
        FRAME[:-1],
        FRAME[:10],
        FRAME + b"\0",
        FRAME + FRAME,
        ENDLESS,
        declaring(1000),
        declaring(299_999),
        declaring(300_001),
        declaring(999_999),
        declaring(2**32 - 1),
    ],
)
def test_what_is_no_whole_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(MessageError):
        decompress(frame, 10**6)


@pytest.mark.parametrize("limit", [1000, 2**18])
def test_a_bomb_is_refused_before_it_goes_off(limit: int) -> None:
    bomb = compress(bytes(2**26), 1)
    assert len(bomb) < 10_000
    inner = SIZE + 4
    lying = FRAME[:SIZE] + limit.to_bytes(4, "little") + compress(bytes(2**26), 1)[inner:]
    for frame in (bomb, lying, bomb * 3):
        tracemalloc.start()
        with pytest.raises(MessageError):
            decompress(frame, limit)
        assert tracemalloc.get_traced_memory()[1] < limit + 2**20
        tracemalloc.stop()


@settings(deadline=None, max_examples=50)
@given(
    counts=st.dictionaries(st.sampled_from("xyz"), st.integers(0, 10**6)),
    total=st.integers(1, 10**6),
)
def test_shares_add_up_and_are_in_proportion(counts: dict[str, int], total: int) -> None:
    counts = {"header": 8, **counts}
    shares = shared_out(counts, total)
    assert sum(shares.values()) == total
    for kind, count in counts.items():
        assert abs(shares[kind] - total * count / sum(counts.values())) < 1
    assert shared_out(counts, sum(counts.values())) == counts


def test_levels_are_checked_and_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for level in (0, 23, "fast", True):
        with pytest.raises(ConfigError, match="codec.zstd must be"):
            check_level("codec.zstd", level)
    check_level("codec.zstd", 22)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    check_level("codec.zstd", None)
    with pytest.raises(ConfigError, match=r"codec.zstd=3 needs the package zstandard: pip install"):
        check_level("codec.zstd", 3)

"""Compresses the bytes of a whole message with zstandard; decompresses without trust.

RFC 8878, by the package zstandard. What unpacks to more than the receiver has a use for is
refused when that is seen, whatever it declares.
"""

from collections.abc import Mapping

from ifl.checks import check_whole
from ifl.errors import ConfigError, MessageError

HIGHEST = 22  # level
_STEP = 2**20  # bytes unpacked at a time


def check_level(field: str, level: object) -> None:
    """Raise ConfigError unless the level is None, or one that zstandard has and it is there."""
    if level is None:
        return
    check_whole(field, level, 1)
    if isinstance(level, int) and level > HIGHEST:
        raise ConfigError(f"{field} must be from 1 to {HIGHEST}, got {level}; null is none")
    try:
        import zstandard  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'{field}={level} needs the package zstandard: pip install -e ".[zstd]"; '
            f"{field}=null does without"
        ) from error


def compress(payload: bytes, level: int) -> bytes:
    """Return one frame, which declares how long the payload is."""
    import zstandard

    return zstandard.ZstdCompressor(level=level).compress(payload)


def decompress(frame: bytes, limit: int) -> bytes:
    """Return what ``compress`` was given.

    Args:
        limit: bytes that it may have; not much more than that are ever held.

    Raises:
        MessageError: it is no such frame, or of more bytes.
    """
    import zstandard

    try:
        declared = zstandard.frame_content_size(frame)
        if not 0 <= declared <= limit:
            raise MessageError(f"it declares {declared} bytes, allowed are 0 to {limit}")
        unpacker = zstandard.ZstdDecompressor(max_window_size=min(max(limit, 2**10), 2**30))
        pieces, held = [], 0
        with unpacker.stream_reader(frame, read_across_frames=True) as reader:
            while held <= declared and (piece := reader.read(min(_STEP, declared + 1))):
                pieces.append(piece)
                held += len(piece)
    except zstandard.ZstdError as error:
        raise MessageError(f"it cannot be unpacked: {error}") from error
    if held != declared:
        raise MessageError(f"it does not unpack to the {declared} bytes that it declares")
    return b"".join(pieces)


def shared_out(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Return what of ``total`` compressed bytes each kind has, in proportion to its own bytes.

    A frame has no seam between kinds. Shares are whole, and together they are the total: each
    kind gets what the rounded-down running sum grows by.
    """
    shares, seen, given, all_bytes = {}, 0, 0, sum(counts.values())
    for kind, count in counts.items():
        seen += count
        shares[kind] = total * seen // all_bytes - given
        given += shares[kind]
    return shares

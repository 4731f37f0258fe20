"""Describes what passes a tunnel: frames of a connection, and their answers."""

from struct import Struct
from typing import NamedTuple

from ifl.errors import MessageError

HEAD = Struct(">BQQ")  # kind, connection, number in its direction
OPEN, DATA, END, CUT = 1, 2, 3, 4  # END: nothing more comes this way; CUT: nor the other way
TAKEN, FULL, GONE = b"taken", b"full", b"gone"  # FULL: send it again; GONE: no such connection
ANSWERS = (TAKEN, FULL, GONE)
CHUNK = 2**20  # bytes of a connection in a frame at most


class CutError(Exception):
    """A connection cannot be carried on."""


class Piece(NamedTuple):
    """A frame: a piece of a connection.

    Args:
        kind: OPEN, DATA, END or CUT.
        connection: tells it from others of the same peer.
        number: 1 for the first of its direction that is DATA or END; 0 for others.
        data: empty but for DATA.
    """

    kind: int
    connection: int
    number: int
    data: bytes = b""


def packed(piece: Piece) -> bytes:
    """Return a frame as bytes."""
    return HEAD.pack(*piece[:3]) + piece.data


def unpacked(frame: object) -> Piece:
    """Return what a frame says.

    Raises:
        MessageError: it is none.
    """
    if not isinstance(frame, bytes) or not HEAD.size <= len(frame) <= HEAD.size + CHUNK:
        raise MessageError("it is no frame of a tunnel")
    kind, connection, number = HEAD.unpack_from(frame)
    piece = Piece(kind, connection, number, frame[HEAD.size :])
    if piece.kind not in (OPEN, DATA, END, CUT) or bool(piece.data) != (piece.kind == DATA):
        raise MessageError(f"a frame is of kind {piece.kind}, with {len(piece.data)} bytes")
    return piece

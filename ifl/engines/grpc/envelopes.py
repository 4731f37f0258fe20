"""Packs a frame and its number into the bytes of one gRPC message, and unpacks them without trust.

4 bytes, the length of a JSON head; the head; the parts of the frame, one after the other.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ifl.engines.base import Answer
from ifl.engines.frames import Frame, unframed
from ifl.errors import LostError, MessageError, PartyError

HEAD_LIMIT = 2**22  # bytes of a JSON head
TEXT_LIMIT = 1000  # letters of a sentence from elsewhere
KINDS = ("hello", "welcome", "ask", "answer", "bye")


@dataclass(frozen=True)
class Envelope:
    """A message of a stream.

    Args:
        kind: hello, the first of a party; welcome, the first of the server; ask and answer; bye,
            the last of the server.
        told: plain values, of an ask and its answer the "number".
        frame: of an ask and its answer.
    """

    kind: str
    told: Mapping[str, Any] = field(default_factory=dict)
    frame: Frame = field(default_factory=list)

    @property
    def number(self) -> int:
        """Of an ask, or of what is answered."""
        return int(self.told["number"])


def packed(envelope: Envelope) -> bytes:
    """Return an envelope as bytes."""
    told = {"kind": envelope.kind, "told": envelope.told, "sizes": [*map(len, envelope.frame)]}
    head = json.dumps(told).encode()
    return b"".join([len(head).to_bytes(4, "little"), head, *envelope.frame])


def unpacked(payload: bytes) -> Envelope:
    """Return the envelope of such bytes.

    Raises:
        MessageError: they are none.
    """
    start = 4 + int.from_bytes(payload[:4], "little")
    if len(payload) < start or start > HEAD_LIMIT:
        raise MessageError(f"{len(payload)} bytes are no envelope")
    try:
        head = json.loads(payload[4:start])
        kind, told, sizes = head["kind"], head["told"], head["sizes"]
        numbered = kind not in ("ask", "answer") or type(told["number"]) is int
        plain = isinstance(told, dict) and all(type(n) is int and n >= 0 for n in sizes)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise MessageError(f"the head of an envelope cannot be read ({error!r:.80})") from error
    if kind not in KINDS or not numbered or not plain or start + sum(sizes) != len(payload):
        raise MessageError("an envelope is not as its head says")
    frame: Frame = []
    for size in sizes:
        frame.append(payload[start : start + size])
        start += size
    return Envelope(kind, told, frame)


def packets_of(frame: Frame, client: int) -> list[Answer]:
    """Return what a frame from elsewhere holds for, or of, one client.

    Raises:
        MessageError: it is no frame, or one of somebody else.
    """
    if not frame:
        raise MessageError("a frame has no head")
    found = unframed(frame)
    if found.keys() != {client}:
        raise MessageError(f"a frame is not of client {client} alone")
    answers = found[client]
    return [_plain(one) if isinstance(one, Exception) else one for one in answers]


def _plain(error: Exception) -> Exception:
    """Return an error from elsewhere with text that a terminal takes, and never as one of ours."""
    kind = PartyError if isinstance(error, LostError) else type(error)
    return kind(plain_text(str(error)))


def plain_text(text: str) -> str:
    """Return text from elsewhere in one line of letters that a terminal takes."""
    letters = [letter if letter.isprintable() else " " for letter in text[:TEXT_LIMIT]]
    return "".join(letters)

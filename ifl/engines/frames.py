"""Writes packets as frames: a JSON head and each distinct body once, whoever it is for.

Frames are read without trust: any bytes are packets, or raise MessageError, and take memory in
proportion to what was received.
"""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from ifl import errors
from ifl.engines.base import Answer, Packet
from ifl.errors import IFLError, MessageError, PartyError

Frame = list[bytes]  # the head, then the bodies
HEAD_LIMIT = 2**24  # bytes of a head
SAID_LIMIT = 2000  # characters that an exception says


class Head(NamedTuple):
    """A frame's head: how many bodies follow, the seconds told, and what is told by client."""

    bodies: int
    busy: float
    packets: Mapping[int, Sequence[Any]]


def framed(packets: Mapping[int, Sequence[Answer]], busy: float = 0.0) -> Frame:
    """Return what parties are asked, or answer, as a frame.

    An exception is told by its class and its text, and is told from a packet by that.

    Args:
        busy: seconds that the answers took.
    """
    bodies: dict[int, int] = {}  # place by id: one broadcast is the same object for all
    frame, heads = [b""], {}
    for client, theirs in packets.items():
        told: list[Any] = []
        for packet in theirs:
            if isinstance(packet, Exception):
                said = str(packet)[:SAID_LIMIT]
                told.append({"kind": type(packet).__name__, "said": said})
                continue
            place = bodies.setdefault(id(packet.body), len(frame))
            if place == len(frame):
                frame.append(packet.body)
            told.append([dict(packet.head), place])
        heads[str(client)] = told
    frame[0] = json.dumps({"bodies": len(frame) - 1, "busy": busy, "packets": heads}).encode()
    return frame


def unframed(frame: Frame) -> dict[int, list[Answer]]:
    """Return what a frame holds: each body once, however many packets have it.

    Raises:
        MessageError: it is no frame.
    """
    head = _read(frame[0])
    if head.bodies != len(frame) - 1:
        raise MessageError(f"a frame has {len(frame) - 1} bodies, its head says {head.bodies}")
    found: dict[int, list[Answer]] = {}
    for client, told in head.packets.items():
        found[client] = [
            raised(one["kind"], one["said"])
            if isinstance(one, dict)
            else Packet(one[0], frame[one[1]])
            for one in told
        ]
    return found


def bodies(head: bytes) -> int:
    """Return how many bodies follow a frame's head, no more than it has packets.

    Raises:
        MessageError: it is no head.
    """
    return _read(head).bodies


def busy(frame: Frame) -> float:
    """Return the seconds that the answers in a frame took.

    Raises:
        MessageError: it is no frame.
    """
    return _read(frame[0]).busy


def raised(kind: str, said: str) -> Exception:
    """Return an exception of this class, if it is one of ours; else one that names it."""
    ours, said = getattr(errors, kind, None), said[:SAID_LIMIT]
    if isinstance(ours, type) and issubclass(ours, IFLError):
        return ours(said)
    return PartyError(f"{kind}: {said}" if said else kind)


def _read(head: bytes) -> Head:
    if len(head) > HEAD_LIMIT:
        raise MessageError(f"a frame's head has {len(head)} bytes, allowed are {HEAD_LIMIT}")
    try:
        told = json.loads(head)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError, too
        raise MessageError(f"a frame's head of {len(head)} bytes is no JSON") from error
    if not isinstance(told, dict) or told.keys() != {"bodies", "busy", "packets"}:
        raise MessageError("a frame's head has to hold bodies, busy and packets")
    count, seconds, packets = told["bodies"], told["busy"], told["packets"]
    if not isinstance(packets, dict):
        raise MessageError("a frame's packets are not told by client")
    found: dict[int, Sequence[Any]] = {}
    for client, theirs in packets.items():
        number = client.removeprefix("-")
        if not (number.isascii() and number.isdecimal() and len(number) <= 9):
            raise MessageError("a frame names a client that is no number")
        if not isinstance(theirs, list) or not all(_is_told(one, count) for one in theirs):
            raise MessageError(f"a frame's packets of client {int(client)} are none")
        if int(client) in found:
            raise MessageError(f"a frame names client {int(client)} twice")
        found[int(client)] = theirs
    most = sum(map(len, found.values()))
    if not _is_count(count) or count > most:
        raise MessageError(f"a frame of {most} packets cannot have the bodies that its head says")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not _is_time(seconds):
        raise MessageError("a frame's seconds are none")
    return Head(count, float(seconds), found)


def _is_told(one: Any, count: Any) -> bool:
    """Return whether a part of a head tells an exception, or a packet with one of the bodies."""
    if isinstance(one, dict):
        texts = all(isinstance(value, str) for value in one.values())
        return one.keys() == {"kind", "said"} and texts and one["kind"].isidentifier()
    if not isinstance(one, list) or len(one) != 2 or not isinstance(one[0], dict):
        return False
    place = one[1]
    known = _is_count(place) and _is_count(count) and 1 <= place <= count
    return known and isinstance(one[0].get("op"), str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_time(seconds: float) -> bool:
    return 0 <= seconds < 2**53 and isfinite(seconds)

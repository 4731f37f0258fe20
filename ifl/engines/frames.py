"""Writes packets as frames: a JSON head and each distinct body once, whoever it is for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ifl import errors
from ifl.engines.base import Answer, Packet
from ifl.errors import IFLError, PartyError

Frame = list[bytes]  # the head, then the bodies


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
                told.append({"kind": type(packet).__name__, "said": str(packet)})
                continue
            place = bodies.setdefault(id(packet.body), len(frame))
            if place == len(frame):
                frame.append(packet.body)
            told.append([dict(packet.head), place])
        heads[str(client)] = told
    frame[0] = json.dumps({"bodies": len(frame) - 1, "busy": busy, "packets": heads}).encode()
    return frame


def unframed(frame: Frame) -> dict[int, list[Answer]]:
    """Return what a frame holds: each body once, however many packets have it."""
    found: dict[int, list[Answer]] = {}
    for client, told in json.loads(frame[0])["packets"].items():
        found[int(client)] = [
            raised(**one) if isinstance(one, dict) else Packet(one[0], frame[one[1]])
            for one in told
        ]
    return found


def bodies(head: bytes) -> int:
    """Return how many bodies follow a frame's head."""
    return int(json.loads(head)["bodies"])


def busy(frame: Frame) -> float:
    """Return the seconds that the answers in a frame took."""
    return float(json.loads(frame[0])["busy"])


def raised(kind: str, said: str) -> Exception:
    """Return an exception of this class, if it is one of ours; else one that names it."""
    ours = getattr(errors, kind, None)
    if isinstance(ours, type) and issubclass(ours, IFLError):
        return ours(said)
    return PartyError(f"{kind}: {said}" if said else kind)

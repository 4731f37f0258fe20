"""Hands packets to parties that call a listener, and unpacks what they answer."""

from collections.abc import Mapping, Sequence

from ifl.engines.base import Answer, Packet
from ifl.engines.frames import busy, framed
from ifl.engines.grpc.envelopes import packets_of
from ifl.engines.grpc.listener import Listener
from ifl.errors import IFLError, LostError, MessageError


def exchanged(
    listener: Listener,
    asked: Mapping[int, Sequence[Packet]],
    names: Mapping[int, str],
    seconds: float,
    grace: float,
) -> tuple[dict[int, list[Answer]], dict[int, float]]:
    """Let parties answer, all at a time.

    Args:
        asked: packets by client.
        names: of the clients' parties.
        seconds: in which an answer has to come.
        grace: in which one has to come back whose stream broke.

    Returns:
        The answers by client, a LostError for one that is lost; and the seconds that each says
        its answers took it.
    """
    frames = {names[k]: framed({k: packets}) for k, packets in asked.items()}
    answers = listener.exchange(frames, seconds, grace)
    found: dict[int, list[Answer]] = {}
    spent: dict[int, float] = {}
    for k in asked:
        answer = answers[names[k]]
        if isinstance(answer, LostError):
            found[k] = [answer]
            continue
        try:
            found[k] = packets_of(answer, k)
            spent[k] = busy(answer)
        except IFLError as error:
            found[k] = [MessageError(f"{names[k]}: {error}")]
    return found, spent

"""Hands packets to parties that call a listener, and checks the form of what they answer."""

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
    for k, packets in asked.items():
        answer = answers[names[k]]
        if isinstance(answer, LostError):
            found[k] = [answer]
            continue
        try:
            found[k] = _checked(packets_of(answer, k), packets)
            spent[k] = busy(answer)
        except IFLError as error:
            found[k] = [MessageError(f"{names[k]}: {error}")]
    return found, spent


def _checked(answers: list[Answer], asked: Sequence[Packet]) -> list[Answer]:
    """Return the answers to packets: one to each, up to the first that is an exception.

    Raises:
        MessageError: there are others.
    """
    early = bool(answers) and isinstance(answers[-1], Exception)
    if len(answers) != len(asked) and not (early and len(answers) < len(asked)):
        raise MessageError(f"{len(answers)} answers came to {len(asked)} packets")
    return answers

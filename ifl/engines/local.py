"""Keeps all parties in the server's process: the default, and the fastest."""

from collections.abc import Mapping, Sequence
from typing import Any

from ifl.engines.base import Answer, Each, Packet
from ifl.engines.party import Party


class Local:
    """Parties as objects of this process, which share what they decode.

    Several answer at a time; those that draw from generators of the whole process take turns
    alone.
    """

    live, ahead = True, False

    def __init__(self) -> None:
        self._parties: dict[int, Party] = {}
        self._each: Each = in_turn

    def open(self, parties: Sequence[Party], each: Each) -> None:
        """Take these parties, as they are."""
        self._parties, self._each = {party.number: party for party in parties}, each

    def exchange(self, asked: Mapping[int, Sequence[Packet]]) -> dict[int, list[Answer]]:
        """Let parties answer."""

        def answers(client: int) -> list[Answer]:
            return answered(self._parties[client], asked[client])

        quiet = [k for k in asked if not self._parties[k].alone]
        found = dict(zip(quiet, self._each(answers, quiet), strict=True))
        return {k: found[k] if k in found else answers(k) for k in asked}

    def close(self) -> None:
        """Let go of the parties."""
        self._parties = {}

    def told(self) -> Mapping[str, Any]:
        """Return nothing."""
        return {}


def in_turn(function: Any, clients: Any) -> list[list[Any]]:
    """Call a function with each of some clients, one after the other."""
    return [function(client) for client in clients]


def answered(party: Party, asked: Sequence[Packet]) -> list[Answer]:
    """Return a party's answers; an exception is the last one."""
    answers: list[Answer] = []
    for packet in asked:
        try:
            answers.append(party.answer(packet))
        except Exception as error:  # a user's block may raise anything; the server decides
            answers.append(error)
            break
    return answers

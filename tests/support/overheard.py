"""Listens to a server: what it got and what it said, turn by turn."""

from collections.abc import Mapping
from typing import Any

from torch import Generator

from ifl.comm.message import Message

Heard = list[tuple[Mapping[int, Message], Mapping[int, Message]]]  # uploads and replies


def overheard(server: Any) -> Heard:
    """Return a list that gets every turn's uploads and replies."""
    heard: Heard = []
    reply = server.reply

    def listening(uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        replies: Mapping[int, Message] = reply(uploads, draws)
        heard.append((uploads, replies))
        return replies

    object.__setattr__(server, "reply", listening)
    return heard

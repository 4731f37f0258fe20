"""Methods, one file each: conversations between clients and a server.

``base`` has the contract, ``parts`` is what several methods share.
"""

from ifl.methods.base import (
    Blocks,
    Conversation,
    Method,
    Reply,
    Server,
    StatelessServer,
    own_blocks,
    same_start,
)
from ifl.methods.parts.averaging import AveragingServer
from ifl.runs.method import Sends

__all__ = [
    "AveragingServer",
    "Blocks",
    "Conversation",
    "Method",
    "Reply",
    "Sends",
    "Server",
    "StatelessServer",
    "own_blocks",
    "same_start",
]

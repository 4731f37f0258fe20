"""Validates uploads on arrival; a bad one stops the run or is skipped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ifl.checks import check_one_of
from ifl.client.client import Client
from ifl.comm.channel import Channel
from ifl.comm.message import Message
from ifl.engines.base import Packet
from ifl.errors import DivergenceError, MessageError, NotFiniteError
from ifl.methods.base import Server


@dataclass(frozen=True)
class Reception:
    """Lets uploads that fit through to the server; ends the run at others, or leaves them out.

    Args:
        on_bad_upload: "stop", to end the run; "skip", to go on without them.

    Raises:
        ConfigError: ``on_bad_upload`` is neither.
    """

    server: Server
    channel: Channel
    clients: Sequence[Client]
    on_bad_upload: str = "stop"

    def __post_init__(self) -> None:
        check_one_of("on_bad_upload", self.on_bad_upload, "stop", "skip")

    def receive(self, outbox: Mapping[int, Packet], turn: int) -> dict[int, Message]:
        """Take in the uploads of a round's turn; return those that are not refused.

        Args:
            outbox: answers "upload" of parties (``ifl.engines.party``).

        Raises:
            DivergenceError: one is refused since it is not finite.
            MessageError: one is refused for another reason. Both name the client.
        """
        forms = {}
        for k in outbox:
            expected = self.server.expects(k)
            if turn < len(expected):
                forms[k] = expected[turn]
        payloads = {k: upload.body for k, upload in outbox.items()}
        arrived, refused = self.channel.receive(payloads, forms)
        for k, message in arrived.items():
            if (said := outbox[k].message) is not None:
                said.arrived = message
        if refused and self.on_bad_upload == "stop":
            k, error = next(iter(refused.items()))
            what = f"upload {turn + 1} of {self.clients[k].name}"
            if isinstance(error, NotFiniteError):
                raise DivergenceError(f"{what}: {error}{outbox[k].head['last']}") from error
            raise MessageError(
                f"{what} is refused ({error}); on_bad_upload=skip goes on without such uploads"
            ) from error
        return arrived

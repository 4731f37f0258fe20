"""Listens for parties, lets in those that are expected, and asks them."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ifl import __version__
from ifl.checks import check_whole
from ifl.engines.frames import Frame
from ifl.engines.grpc.certificates import Certificates
from ifl.engines.grpc.door import Door
from ifl.engines.grpc.envelopes import plain_text, unpacked
from ifl.engines.grpc.line import Line
from ifl.engines.grpc.places import place_of
from ifl.engines.grpc.threads import Daemons
from ifl.errors import ConfigError, LostError, MessageError

SERVICE, JOIN = "ifl.Federation", "Join"
KEEPALIVE = {  # who has vanished without a word is noticed within half a minute
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.http2.min_ping_interval_without_data_ms": 10_000,
}
LARGEST_MB = 2000  # gRPC's own limit is 2 GiB
LEAVE_SECONDS = 2.0  # for streams that are ending
SPARE = 8  # streams for those who are not let in
Refuses = Callable[[str, Mapping[str, Any]], str | None]


def options(message_mb: int) -> list[tuple[str, int]]:
    """Return the settings of gRPC of both sides.

    Raises:
        ConfigError: the largest message is no whole number of MiB, or too large.
    """
    check_whole("message_mb", message_mb, 1)
    if message_mb > LARGEST_MB:
        raise ConfigError(f"message_mb must be at most {LARGEST_MB}, got {message_mb}")
    most = message_mb * 2**20
    limits = {"grpc.max_send_message_length": most, "grpc.max_receive_message_length": most}
    return [*limits.items(), *KEEPALIVE.items()]


class Listener:
    """A server that parties call.

    Args:
        address: where, such as 0.0.0.0:7440; port 0 for any that is free.
        certificates: its own.
        most: parties at a time.
        message_mb: MiB of a message at most.
        say: is told in a sentence who is let in, and who is not.

    Raises:
        ConfigError: the address cannot be listened at.
    """

    def __init__(
        self,
        address: str,
        certificates: Certificates,
        most: int,
        message_mb: int = 512,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        import grpc

        self._say = say
        self._most = message_mb * 2**20
        self._lines: dict[str, Line] = {}
        self._refuses: Refuses = lambda name, told: None
        settings = [*options(message_mb), ("grpc.so_reuseport", 0)]
        streams = 2 * most + SPARE
        self._server = grpc.server(Daemons(), options=settings, maximum_concurrent_rpcs=streams)
        join = grpc.stream_stream_rpc_method_handler(self._join)
        handler = grpc.method_handlers_generic_handler(SERVICE, {JOIN: join})
        self._server.add_generic_rpc_handlers((handler,))
        pair = certificates.key, certificates.own
        trusted = grpc.ssl_server_credentials([pair], certificates.ca, require_client_auth=True)
        inner = self._server.add_secure_port("127.0.0.1:0", trusted)
        host, port = place_of(address)
        self._door = Door(host, port, inner, say)
        self.address = f"{host}:{self._door.port}"
        self._server.start()

    def begin(self, names: Sequence[str], refuses: Refuses = lambda name, told: None) -> None:
        """Expect these parties from now on; those of before are let go.

        Args:
            refuses: why a party of this name that says this hello cannot be let in, if so.
        """
        self.part()
        self._refuses, session = refuses, secrets.token_hex(8)
        self._lines = {name: Line(name, self._most, session) for name in names}

    def line(self, name: str) -> Line:
        """Return the way to a party."""
        return self._lines[name]

    def wait(self, seconds: float) -> list[str]:
        """Wait for all parties; return the names of those that do not come."""
        until = time.monotonic() + seconds
        return [name for name, line in self._lines.items() if not line.wait(until)]

    def exchange(
        self, asked: Mapping[str, Frame], seconds: float, grace: float
    ) -> dict[str, Frame | LostError]:
        """Ask parties, all at a time; return what each answers.

        Args:
            seconds: in which an answer has to come.
            grace: in which one has to come back whose stream broke.
        """
        for name, frame in asked.items():
            self._lines[name].ask(frame)
        until = time.monotonic() + seconds
        found: dict[str, Frame | LostError] = {}
        for name in asked:
            try:
                found[name] = self._lines[name].answer(until, grace)
            except LostError as error:
                found[name] = error
        return found

    def part(self, seconds: float = 5.0) -> None:
        """Say goodbye to all parties, and wait so long for them to go."""
        until = time.monotonic() + seconds
        for line in self._lines.values():
            line.close()
        for line in self._lines.values():
            line.gone(until)

    def close(self) -> None:
        """Let go of all parties, and listen no longer."""
        self.part()
        self._door.close()
        self._server.stop(grace=LEAVE_SECONDS).wait()

    def _join(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        import grpc

        name = _common_name(context)
        try:
            hello = unpacked(next(requests))
            if hello.kind != "hello" or not isinstance(hello.told.get("session"), str):
                raise MessageError("it does not say hello")
            said = hello.told
            reason = self._refusal(name, said)
        except (StopIteration, grpc.RpcError):
            return
        except MessageError as error:
            said, reason = {}, str(error)
        self._door.let_in(_port(context))
        if reason is not None:
            reason = plain_text(reason)
            called = said.get("name", name)
            self._say(f"{plain_text(str(called))} is refused: {reason}")
            context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
        yield from self._lines[name].serve(requests, context, hello)

    def _refusal(self, name: str, told: Mapping[str, Any]) -> str | None:
        """Return why a party is not let in, in a sentence."""
        if told.get("name") != name:
            called = plain_text(str(told.get("name")))
            return f"its certificate is for {name!r}, and it calls itself {called!r}"
        if name not in self._lines:
            return f"{name!r} is no party of this federation: {', '.join(self._lines)}"
        if told.get("version") != __version__:
            version = plain_text(str(told.get("version")))
            return f"it has version {version} of ifl, and the server {__version__}; install one"
        return self._refuses(name, told)


def _common_name(context: Any) -> str:
    (name,) = context.auth_context().get("x509_common_name") or [b""]
    return plain_text(name.decode(errors="replace"))


def _port(context: Any) -> int:
    """Return the port behind the door that a party comes from."""
    port = context.peer().rpartition(":")[2]
    return int(port) if port.isdecimal() else -1

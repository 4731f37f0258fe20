"""Calls the server for a party, answers what it asks, and calls again when a stream breaks."""

import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any

from ifl import __version__
from ifl.engines.frames import Frame
from ifl.engines.grpc.certificates import CA, KEY, OWN, SERVER, Certificates
from ifl.engines.grpc.envelopes import Envelope, packed, plain_text, unpacked
from ifl.engines.grpc.line import check_size
from ifl.engines.grpc.listener import JOIN, SERVICE, options
from ifl.engines.grpc.places import Place, called_place
from ifl.errors import ConfigError, LostError, MessageError, RefusedError

METHOD = f"/{SERVICE}/{JOIN}"
PAUSE_SECONDS = 0.3  # between two calls
PROBE_SECONDS = 5.0
Answers = Callable[[Frame], Frame]


class Caller:
    """A party's end of the stream.

    Args:
        address: of the server, HOST:PORT or unix:PATH.
        certificates: the party's own.
        name: of the party.
        told: what its hello says besides name and version.
        answer: makes the frame of an answer; it raises nothing that is to end the party.
        too_large: makes the frame that says that an answer is too large.
        message_mb: MiB of a message at most.
        patience: returns the seconds without a server after which it gives up, as it is now.
        say: is told in a sentence what goes on.
    """

    def __init__(
        self,
        address: str,
        certificates: Certificates,
        name: str,
        told: Callable[[], Mapping[str, Any]],
        answer: Answers,
        too_large: Callable[[ConfigError], Frame],
        message_mb: int = 512,
        patience: Callable[[], float] = lambda: 600.0,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._place, self._certificates, self._name = called_place(address), certificates, name
        self._told, self._answer, self._too_large = told, answer, too_large
        self._most, self._patience, self._say = message_mb * 2**20, patience, say
        self._options = [
            *options(message_mb),
            ("grpc.ssl_target_name_override", SERVER),  # wherever it is: it has to be the server
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ]
        self._process = secrets.token_hex(8)
        self._server, self._done, self._said = "", 0, b""
        self._heard = time.monotonic()

    def run(self) -> None:
        """Answer until the server says goodbye.

        Raises:
            RefusedError: the server and this party do not let each other in; says why.
            LostError: there is no server, or not any more.
            MessageError: it says what is no message.
        """
        self._heard, missing, twice = time.monotonic(), False, None
        while not self._talk():
            why = refusal(self._place, self._certificates)
            if why and why == twice:  # not of a server that is just being ended
                raise RefusedError(why)
            twice = why
            if time.monotonic() - self._heard > (patience := self._patience()):
                raise LostError(
                    f"there was no server at {self._place} for {patience:g} s; the same "
                    "command goes on once there is one"
                )
            if not missing:
                self._say(f"Waiting for a server at {self._place}")
                missing = True
            time.sleep(PAUSE_SECONDS)

    def _talk(self) -> bool:
        """Answer over one stream; return whether the server said goodbye."""
        import grpc

        outbox: SimpleQueue[bytes | None] = SimpleQueue()
        hello = {"name": self._name, "version": __version__, "session": self._process}
        outbox.put(packed(Envelope("hello", {**self._told(), **hello})))
        own = self._certificates
        trusted = grpc.ssl_channel_credentials(own.ca, own.key, own.own)
        with grpc.secure_channel(self._place.called, trusted, self._options) as channel:
            call = channel.stream_stream(METHOD)(iter(outbox.get, None))
            try:
                for payload in call:
                    envelope = unpacked(payload)
                    if envelope.kind == "bye":
                        return True
                    self._heard = time.monotonic()
                    if envelope.kind == "welcome":
                        self._welcome(str(envelope.told.get("session")))
                    elif envelope.kind == "ask":
                        outbox.put(self._once(envelope))
                        self._heard = time.monotonic()
            except grpc.RpcError as error:
                code, details = call.code(), plain_text(call.details() or "")
                if code == grpc.StatusCode.PERMISSION_DENIED:
                    raise RefusedError(f"the server refuses {self._name}: {details}") from error
                if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise MessageError(
                        f"a message is too large ({details}); raise message_mb on both sides"
                    ) from error
            finally:
                outbox.put(None)
                call.cancel()
        return False

    def _welcome(self, session: str) -> None:
        if session != self._server:  # another server, or one started anew: it counts from 1
            self._server, self._done, self._said = session, 0, b""

    def _once(self, envelope: Envelope) -> bytes:
        """Return the answer to what is asked: that of before, if it was asked before."""
        if envelope.number != self._done:
            told = {"number": envelope.number}
            payload = packed(Envelope("answer", told, self._answer(envelope.frame)))
            try:
                check_size(payload, self._most)
            except ConfigError as error:
                payload = packed(Envelope("answer", told, self._too_large(error)))
            self._done, self._said = envelope.number, payload
        return self._said


def refusal(place: Place, certificates: Certificates) -> str | None:
    """Return in a sentence why a server does not take a party, or the reverse; None if unknown.

    gRPC tells no more than that there is no connection; so TLS is tried without it.
    """
    where = f"the server at {place}"
    try:
        context = ssl.create_default_context(cafile=str(certificates.folder / CA))
        context.load_cert_chain(certificates.folder / OWN, certificates.folder / KEY)
    except (OSError, ssl.SSLError) as error:
        return f"the certificates in {certificates.folder} do not go together ({error})"
    context.set_alpn_protocols(["h2"])
    try:
        with (
            place.connected(PROBE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=SERVER) as secure,
        ):
            # TLS 1.3 refuses a certificate after the handshake; gRPC hangs up without a word.
            if secure.recv(1) == b"":
                return (
                    f"{where} refuses the certificate in {certificates.folder}; ask for one of its "
                    "authority"
                )
    except ssl.SSLCertVerificationError as error:
        return (
            f"{where} is refused: its certificate is not one of {SERVER!r} by the authority in "
            f"{certificates.folder / CA} ({error.verify_message})"
        )
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        pass  # a server that ends, too, hangs up in the middle
    except ssl.SSLError as error:
        reason = str(error.reason or error)
        if "ALERT" in reason:
            return (
                f"{where} refuses the certificate in {certificates.folder} "
                f"({_spelled(reason)}); ask for one of its authority"
            )
        return f"{where} is refused: it speaks no TLS ({_spelled(reason)})"
    except OSError:
        pass  # nobody is there: that is no refusal
    return None


def _spelled(reason: str) -> str:
    return reason.lower().replace("_", " ")

"""A tunnel carries connections whole and in order, and ends them when either side does."""

import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Thread

import pytest
from tunnels import Faithful, Pair

from ifl.engines.flare import carried
from ifl.engines.flare.frames import CHUNK, CUT, DATA, END, GONE, OPEN, TAKEN, Piece, packed
from ifl.errors import MessageError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="tunnels are for Unix sockets")
LARGE = 5 * 2**20 + 17
Serve = Callable[[socket.socket], None]


class Listening:
    """A server whose every connection is served by a function of it."""

    def __init__(self, serve: Serve) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._serve = serve
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                found, _ = self._socket.accept()
            except OSError:
                return
            found.settimeout(20)
            Thread(target=self._serve, args=(found,), daemon=True).start()


Make = Callable[..., Pair]


@pytest.fixture
def made() -> Iterator[Make]:
    """Return what makes a tunnel to a function of a connection."""
    ends: list[Pair | Listening] = []

    def make(serve: Serve, patience: float = 30.0, through: type[Faithful] | None = None) -> Pair:
        listening = Listening(serve)
        pair = Pair(listening.address, patience, through)
        ends.extend((pair, listening))
        return pair

    yield make
    for end in ends:
        end.close()


def echo(own: socket.socket) -> None:
    with own:
        while data := own.recv(2**16):
            own.sendall(data)


def whole(own: socket.socket) -> bytes:
    """Return all that comes until the other side has ended it."""
    found = b""
    while data := own.recv(2**20):
        found += data
    return found


def emptied(pair: Pair) -> bool:
    """Wait until neither end carries a connection; return whether that came."""
    until = time.monotonic() + 10
    while (pair.site.connections or pair.server.connections) and time.monotonic() < until:
        time.sleep(0.005)
    return not pair.site.connections + pair.server.connections


def there_and_back(pair: Pair, data: bytes) -> bytes:
    with pair.called() as own:

        def speak() -> None:
            own.sendall(data)
            own.shutdown(socket.SHUT_WR)

        speaking = Thread(target=speak, daemon=True)
        speaking.start()
        found = whole(own)
        speaking.join(10)
    return found


def test_megabytes_go_there_and_back_in_their_order(made: Make) -> None:
    pair, data = made(echo), secrets.token_bytes(LARGE)
    assert there_and_back(pair, data) == data
    assert emptied(pair)
    assert pair.said == []


def test_what_nobody_answered_goes_again_and_is_not_taken_twice(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carried, "PAUSE_SECONDS", 0.001)

    class Losing(Faithful):
        """Loses each third frame, and of the others each third answer."""

        count = lost = 0

        def __call__(self, peer: str, frame: bytes) -> bytes:
            self.count += 1
            kind = self.count % 3
            if kind == 0:
                self.lost += 1
                raise TimeoutError("lost on its way")
            answer = self.take(peer, frame)
            if kind == 1:
                self.lost += 1
                raise TimeoutError("the answer was lost")
            return answer

    pair, data = made(echo, through=Losing), secrets.token_bytes(LARGE)
    assert there_and_back(pair, data) == data
    assert isinstance(pair.up, Losing)
    assert isinstance(pair.down, Losing)
    assert min(pair.up.lost, pair.down.lost) > 4
    assert emptied(pair)


def test_one_side_may_end_while_the_other_still_speaks(made: Make) -> None:
    def count(own: socket.socket) -> None:
        with own:
            own.sendall(str(len(whole(own))).encode() * 1000)

    with made(count).called() as own:
        own.sendall(b"x" * 300)
        own.shutdown(socket.SHUT_WR)
        assert whole(own) == b"300" * 1000


def test_many_connections_do_not_mix(made: Make) -> None:
    pair = made(echo)
    texts = [secrets.token_bytes(50_000 + k) for k in range(40)]
    found: dict[int, bytes] = {}

    def go(k: int) -> None:
        found[k] = there_and_back(pair, texts[k])

    threads = [Thread(target=go, args=(k,), daemon=True) for k in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [found[k] for k in range(40)] == texts
    assert emptied(pair)


def test_who_is_killed_is_gone_at_the_other_end_too(made: Make) -> None:
    seen: list[bytes] = []

    def hear(own: socket.socket) -> None:
        with own:
            own.sendall(b"hello")
            seen.append(whole(own))

    pair = made(hear)
    own = pair.called()
    assert own.recv(5) == b"hello"
    own.close()  # as the kernel does for a process that is killed
    assert emptied(pair)
    assert seen == [b""]


def test_a_server_that_ends_ends_the_connection_of_its_party(made: Make) -> None:
    def leave(own: socket.socket) -> None:
        own.recv(5)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        own.close()  # resets it

    pair = made(leave)
    with pair.called() as own:
        own.sendall(b"hello")
        assert whole(own) == b""
    assert emptied(pair)


def test_without_a_server_a_connection_is_closed_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    pair = Pair(f"127.0.0.1:{port}")
    with pair.called() as own:
        assert whole(own) == b""
    assert emptied(pair)


def test_an_end_that_answers_no_more_is_given_up(made: Make) -> None:
    class Silent(Faithful):
        here = True

        def __call__(self, peer: str, frame: bytes) -> bytes:
            if not self.here:
                raise TimeoutError("nobody answers")
            return self.take(peer, frame)

    pair = made(echo, 0.3, Silent)
    with pair.called() as own:
        own.sendall(b"hello")
        assert own.recv(5) == b"hello"
        Silent.here = False
        own.sendall(b"hello")
        assert whole(own) == b""
    until = time.monotonic() + 10
    while not pair.said and time.monotonic() < until:
        time.sleep(0.005)
    assert pair.said == [
        "A connection with server was cut: nobody answered for 0.3 s (nobody answers)"
    ]


def test_who_does_not_read_is_not_sent_more(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "FULL_SECONDS", 0.05)
    reads: list[socket.socket] = []
    pair = made(reads.append)
    data = secrets.token_bytes(24 * CHUNK)
    with pair.called() as own:
        own.settimeout(0.5)
        sent = 0
        with suppress(TimeoutError):
            while sent < len(data):
                sent += own.send(data[sent : sent + CHUNK])
        assert sent < 20 * CHUNK
        own.settimeout(20)

        def rest() -> None:
            own.sendall(data[sent:])
            own.shutdown(socket.SHUT_WR)

        Thread(target=rest, daemon=True).start()
        assert whole(reads[0]) == data
        reads[0].close()


@pytest.mark.parametrize(
    "frame",
    [
        None,
        "text",
        b"",
        b"\x02" * 16,
        packed(Piece(9, 1, 1)),
        packed(Piece(OPEN, 1, 0, b"x")),
        packed(Piece(DATA, 1, 1)),
        packed(Piece(DATA, 1, 1, bytes(CHUNK + 1))),
    ],
)
def test_what_is_no_frame_is_refused(frame: object, made: Make) -> None:
    with pytest.raises(MessageError):
        made(echo).server.take("mallory", frame)


def test_frames_of_no_connection_do_nothing(made: Make) -> None:
    pair = made(echo)
    assert pair.server.take("mallory", packed(Piece(DATA, 7, 1, b"x"))) == GONE
    assert pair.server.take("mallory", packed(Piece(END, 7, 1))) == GONE
    assert pair.site.take("server", packed(Piece(OPEN, 7, 0))) == GONE  # a site is not called
    assert pair.server.connections == pair.site.connections == 0


def test_a_peer_cannot_speak_for_another_and_harms_its_own_connections_alone(
    made: Make,
) -> None:
    pair = made(echo)
    with pair.called() as own:
        own.sendall(b"one")
        assert own.recv(3) == b"one"
        (key,) = pair.server._carried
        for kind, data in ((DATA, b"x"), (END, b""), (CUT, b"")):
            assert pair.server.take("mallory", packed(Piece(kind, key[1], 2, data))) == GONE
        assert pair.server.take("mallory", packed(Piece(OPEN, 7, 0))) == TAKEN
        assert pair.server.take("mallory", packed(Piece(DATA, 7, 3, b"x"))) == GONE  # 1 is first
        own.sendall(b"two")
        assert own.recv(3) == b"two"
    assert emptied(pair)


def test_a_tunnel_that_is_closed_carries_nothing(made: Make) -> None:
    pair = made(echo)
    with pair.called() as own:
        own.sendall(b"one")
        assert own.recv(3) == b"one"
        pair.close()
        assert whole(own) == b""
    with pair.called() as own:
        assert whole(own) == b""
    assert pair.said == []

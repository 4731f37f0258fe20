"""Stands for the parts of FLARE that our two classes touch, and runs them in a process of its own.

Run as a program, in a folder: prints what a connection through a site and the server came to, and
what the two classes said. Where FLARE is installed, it is not used.
"""

import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from types import ModuleType, SimpleNamespace
from typing import Any

SAID: list[str] = []


class Component:
    """Stands for Executor and Controller."""

    def __init__(self) -> None:
        self.logger = SimpleNamespace(info=SAID.append)

    def log_info(self, context: Any, text: str) -> None:
        SAID.append(text)

    def system_panic(self, reason: str, context: Any) -> None:
        SAID.append(f"panic: {reason}")


class Shareable(dict[str, Any]):
    """A message."""


class Engine:
    """Sends to the other engine at once."""

    def __init__(self, name: str, local: Path) -> None:
        self.name, self._local = name, local
        self.handlers: dict[str, Callable[..., Any]] = {}
        self.other: Engine = self

    def get_workspace(self) -> Any:
        return SimpleNamespace(get_site_config_dir=lambda: str(self._local))

    def register_aux_message_handler(self, topic: str, handle: Callable[..., Any]) -> None:
        self.handlers[topic] = handle

    @contextmanager
    def new_context(self) -> Iterator[Any]:
        yield self.context()

    def context(self) -> Any:
        peer = SimpleNamespace(get_identity_name=lambda: self.other.name)
        return SimpleNamespace(get_engine=lambda: self, get_peer_context=lambda: peer)

    def send_aux_request(self, targets: list[str], topic: str, **told: Any) -> dict[str, Any]:
        assert targets == [self.other.name]
        assert told["timeout"] > 0
        reply = self.other.handlers[topic](topic, told["request"], self.other.context())
        return {targets[0]: reply}


def install() -> None:
    """Let what our classes import be these."""
    found: dict[str, dict[str, Any]] = {
        "apis.executor": {"Executor": Component},
        "apis.impl.controller": {"Controller": Component},
        "apis.event_type": {"EventType": SimpleNamespace(START_RUN="start", END_RUN="end")},
        "apis.fl_constant": {"ReturnCode": SimpleNamespace(OK="ok", TASK_UNSUPPORTED="none")},
        "apis.shareable": {
            "Shareable": Shareable,
            "make_reply": lambda code: Shareable({"code": code}),
        },
    }
    for name in ("", "apis", "apis.impl", *found):
        module = ModuleType(f"nvflare.{name}".rstrip("."))
        module.__dict__.update({"__path__": [], **found.get(name, {})})
        sys.modules[module.__name__] = module


def echo(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            called, _ = listening.accept()
            with called:
                while data := called.recv(2**16):
                    called.sendall(data)


def main(place: Path) -> dict[str, Any]:
    """Run a job from its beginning to the end of the server."""
    from ifl.engines.flare.server import Server
    from ifl.engines.flare.site import Site

    listening = socket.create_server(("127.0.0.1", 0))
    Thread(target=echo, args=(listening,), daemon=True).start()
    own: dict[str, dict[str, Any]] = {"site": {"socket": str(place / "own" / "ifl")}}
    own["server"] = {"server": f"127.0.0.1:{listening.getsockname()[1]}", "gone": 0.1}
    for name, said in own.items():
        (place / name).mkdir()
        (place / name / "ifl.json").write_text(json.dumps(said))
    at_site, at_server = Engine("ann", place / "site"), Engine("server", place / "server")
    at_site.other, at_server.other = at_server, at_site
    site, server, abort = Site(), Server(), SimpleNamespace(triggered=False)
    server.start_controller(at_server.context())
    flow = Thread(target=server.control_flow, args=(abort, at_server.context()), daemon=True)
    flow.start()
    site.handle_event("start", at_site.context())
    with socket.socket(socket.AF_UNIX) as called:
        called.connect(own["site"]["socket"])
        called.sendall(b"hello")
        heard = called.recv(5)
        unfinished = flow.is_alive()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        flow.join(20)
        server.stop_controller(at_server.context())
        site.handle_event("end", at_site.context())
        last = called.recv(5)
    found = {"heard": heard.decode(), "last": last.decode(), "unfinished": unfinished}
    found |= {"ended": not flow.is_alive(), "socket": Path(own["site"]["socket"]).exists()}
    absent: Any = Server()
    absent._own = SimpleNamespace(server="127.0.0.1:1", wait=0.05, gone=9, connected=_nobody)
    absent.control_flow(abort, at_server.context())
    absent.control_flow(SimpleNamespace(triggered=True), at_server.context())
    (place / "site" / "ifl.json").unlink()
    Site().handle_event("start", at_site.context())
    return {**found, "said": SAID, "torch": "torch" in sys.modules}


def _nobody(seconds: float) -> socket.socket:
    raise ConnectionRefusedError


if __name__ == "__main__":
    install()
    import ifl.engines.flare.server as timed

    timed.LOOK_SECONDS = 0.02
    print(json.dumps(main(Path(sys.argv[1]))))

"""Keeps a throw-away FLARE project for a run: a server, sites, and a job that carries connections.

A process of its own, so that the run's has none of FLARE's threads and log settings. It reads its
orders as one line of JSON, answers with a line when all sites listen, and ends all that it started
when its input is closed, whatever ended the run.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from ifl.engines.flare.job import write_job
from ifl.engines.flare.kit import write_local
from ifl.engines.flare.local import Server, Site
from ifl.errors import IFLError, PartyError

if TYPE_CHECKING:
    import psutil

TOKEN = "IFL_FLARE_RUN"  # in the environment of all that this starts
START_SECONDS = 120.0
GONE_SECONDS = 5.0
PROJECT, HOST, ADMIN = "ifl", "localhost", "admin@localhost.org"
BUILDERS = ("workspace.Workspace", "static_file.StaticFile", "cert.Cert", "signature.Signature")


class Keeper:
    """A project in a folder.

    Args:
        folder: of all of it; removed by ``close``.
        certificates: the folder of those of the run, removed, too.
        sockets: of the sites, by their names.
        address: HOST:PORT of the server of the run.
    """

    def __init__(
        self, folder: str, certificates: str, sockets: dict[str, str], address: str
    ) -> None:
        self._folder, self._removed = Path(folder), (folder, certificates)
        self._sockets, self._address = sockets, address
        self._until = time.monotonic() + START_SECONDS
        self._environment = {**os.environ, TOKEN: secrets.token_hex(16)}
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._starting, self._closed = Lock(), False

    def start(self) -> None:
        """Start all, and return when all sites listen.

        Raises:
            PartyError: something ended, or it takes too long.
            ConfigError: a socket can have no such path.
        """
        kits = self._provisioned()
        write_local(kits / HOST, Server(self._address, gone=GONE_SECONDS))
        for name, path in self._sockets.items():
            write_local(kits / name, Site(path))
        for name in (HOST, *self._sockets):
            self._started[name] = self._run(kits / name)
        write_job(self._folder / "job", [*self._sockets])
        self._submit(kits / ADMIN)
        while not all(Path(path).is_socket() for path in self._sockets.values()):
            self._wait()

    def close(self) -> None:
        """End all that was started, and remove the folders."""
        import psutil

        with self._starting:
            self._closed = True
        while running := _marked(self._environment[TOKEN]):
            for process in running:
                with suppress(psutil.Error):
                    process.kill()
            for started in self._started.values():
                started.poll()  # else it stays as a zombie
            time.sleep(0.05)
        for folder in self._removed:
            shutil.rmtree(folder, ignore_errors=True)

    def _provisioned(self) -> Path:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = {"name": HOST, "type": "server", "org": PROJECT}
        server |= {"fed_learn_port": port, "admin_port": port}
        site = {"type": "client", "org": PROJECT, "allow_log_streaming": False}
        admin = {"name": ADMIN, "type": "admin", "org": PROJECT, "role": "project_admin"}
        sites = [{"name": name, **site} for name in self._sockets]
        builders: list[dict[str, Any]] = [
            {"path": f"nvflare.lighter.impl.{name}Builder"} for name in BUILDERS
        ]
        builders[1]["args"] = {"config_folder": "config"}
        project = {"api_version": 3, "name": PROJECT, "participants": [server, *sites, admin]}
        path = self._folder / "project.yml"
        path.write_text(json.dumps({**project, "builders": builders}), encoding="utf-8")
        words = ["nvflare.cli", "provision", "-p", str(path), "-w", str(self._folder / "kits")]
        said = self._folder / "provision.txt"
        if self._python(words, self._folder, said).wait():
            text = " ".join(said.read_text(encoding="utf-8", errors="replace").split())
            raise PartyError(f"nvflare provision failed: {text}")
        return self._folder / "kits" / PROJECT / "prod_00"

    def _run(self, kit: Path) -> "subprocess.Popen[bytes]":
        """Start a participant, as its own start.sh does."""
        kind = "server" if kit.name == HOST else "client"
        told = ["secure_train=true", f"org={PROJECT}", "config_folder=config"]
        told += [f"uid={kit.name}"] if kind == "client" else []
        words = [f"nvflare.private.fed.app.{kind}.{kind}_train", "-m", str(kit)]
        words += ["-s", f"fed_{kind}.json", "--set", *told]
        return self._python(words, kit, kit / "said.txt")

    def _python(self, words: list[str], place: Path, said: Path) -> "subprocess.Popen[bytes]":
        """Start a module with its arguments."""
        with self._starting, said.open("wb") as file:
            if self._closed:
                raise PartyError("it was ended while it started")
            return subprocess.Popen(
                [sys.executable, "-u", "-m", *words],
                cwd=place,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _submit(self, kit: Path) -> None:
        from nvflare.fuel.flare_api.flare_api import new_secure_session

        while True:
            try:
                session = new_secure_session(ADMIN, str(kit), timeout=2.0)
                break
            except Exception:  # FLARE's own, of many kinds: its server is not there yet
                self._wait()
        try:
            while len(session.get_connected_client_list()) < len(self._sockets):
                self._wait()
            session.submit_job(str(self._folder / "job"))
        finally:
            session.close()

    def _wait(self) -> None:
        for name, process in self._started.items():
            if process.poll() is not None:
                raise PartyError(f"FLARE's {name} ended with exit code {process.returncode}")
        if time.monotonic() > self._until:
            raise PartyError(f"FLARE's job did not begin within {START_SECONDS:g} s")
        time.sleep(0.2)


def _marked(token: str) -> "list[psutil.Process]":
    """Return the processes that have a token in their environment, this one apart."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found += [process] if process.environ().get(TOKEN) == token else []
    return found


def main() -> None:
    """Keep a project until the input is closed."""
    with os.fdopen(os.dup(1), "w") as answers:  # FLARE prints, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        keeper = Keeper(**json.loads(sys.stdin.readline()))
        watching = Thread(target=_watch, args=(keeper,), daemon=True)
        watching.start()
        try:
            keeper.start()
            print("ready", file=answers, flush=True)
            watching.join()
        except IFLError as error:
            print(error, file=answers, flush=True)
        finally:
            keeper.close()


def _watch(keeper: Keeper) -> None:
    """End all when the input is closed, even while it starts."""
    sys.stdin.read()
    keeper.close()
    os._exit(0)


if __name__ == "__main__":
    main()

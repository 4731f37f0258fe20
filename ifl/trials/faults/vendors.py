"""Kills vendors and their server (SIGKILL) at random instants, and starts them again.

Each party is the command of docs/vendors.md in a fork of this process, which has torch loaded
already. Every run has to end, and its tables to be those of one in which nobody was killed.
"""

import json
import multiprocessing
import random
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ifl.vendors.server
import ifl.vendors.vendor  # noqa: F401
from ifl.cli.vendors import server, vendor
from ifl.engines.grpc.certificates import SERVER, Authority
from ifl.runs.wholeness import digests
from ifl.trials.faults.processes import PATIENCE, FaultError, temporary_folder

NAMES = ("ann", "ben", "cleo")
AGREED = {
    **{"parties": [*NAMES], "classes": 2, "fusion_dim": 16, "batch_size": 8, "tau": 2},
    **{"rounds": 60, "eval_every": 20, "checkpoint_every": 4},
}


class Party:
    """A command in a fork of this process.

    Args:
        typed: the arguments.
        log: where its output goes.
    """

    def __init__(self, typed: list[str], log: Path) -> None:
        self.typed, self.log = typed, log
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=self._main)
        self.process.start()

    def _main(self) -> None:
        sys.stdout = sys.stderr = self.log.open("a", buffering=1, encoding="utf-8")
        command, *words = self.typed
        sys.argv = [f"ifl {command}", *words]
        sys.exit(server.main() if command == "server" else vendor.main())

    def again(self) -> "Party":
        """Kill it, if it has not ended, and start it again."""
        self.process.kill()
        self.process.join()
        return Party(self.typed, self.log)


class Trial:
    """A federation in a folder, run as often as one likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        Authority(folder / "certificates").issue([SERVER, *NAMES])
        (folder / "agreed.yaml").write_text(json.dumps(AGREED), encoding="utf-8")

    def begin(self, name: str) -> dict[str, Party]:
        """Start the server and all vendors of a run of this name."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        place = self.folder / name
        place.mkdir()
        typed = {SERVER: ["server", str(self.folder / "agreed.yaml"), "--address", address]}
        typed[SERVER] += ["--certificates", str(self.folder / "certificates" / SERVER)]
        typed[SERVER] += ["--folder", str(place / "run"), "--grace", "1"]
        for number, who in enumerate(NAMES):
            settings = {
                **{"name": who, "agreed": "../agreed.yaml", "server": address},
                **{"certificates": f"../certificates/{who}", "folder": who},
                **{"patience": 60, "seed": 100 + number, "data": "breast_cancer"},
                "network": {
                    "base": {"_target_": "ifl.models.mlp_base", "widths": [16 + 8 * number]},
                    "modular": {"_target_": "ifl.models.mlp_modular", "widths": []},
                },
                "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            }
            file = place / f"{who}.yaml"
            file.write_text(json.dumps(settings), encoding="utf-8")
            typed[who] = ["vendor", str(file)]
        return {who: Party(words, place / f"{who}.log") for who, words in typed.items()}

    def ended(self, name: str, parties: dict[str, Party], until: float) -> bool:
        """Wait until a time, or until the server has ended; return whether it has.

        Raises:
            FaultError: a party ends itself with an error.
        """
        while time.monotonic() < until and parties[SERVER].process.exitcode is None:
            time.sleep(0.01)
        for who, party in parties.items():
            if party.process.exitcode:
                said = party.log.read_text(encoding="utf-8")
                raise FaultError(f"{who} of {name} ended itself: {said}")
        return parties[SERVER].process.exitcode == 0

    def tables(self, name: str, parties: dict[str, Party]) -> dict[str, str]:
        """Return the digests of a run's tables once all parties have ended."""
        until = time.monotonic() + PATIENCE
        for party in parties.values():
            party.process.join(max(until - time.monotonic(), 0))
            party.process.kill()
            party.process.join()
        if not self.ended(name, parties, until):
            raise FaultError(f"{name} does not finish")
        return digests(self.folder / name / "run")


def vendors(kills: int, seed: int, say: Callable[[str], None]) -> bool:
    """Kill parties so many times in all; return whether every run ended as if nobody was.

    Args:
        seed: of the streams of instants and parties.
        say: is told what was done.

    Raises:
        FaultError: a run fails or hangs.
    """
    draws, left, runs, differing = random.Random(seed), kills, 0, 0
    with temporary_folder() as folder:
        trial, start = Trial(folder), time.monotonic()
        whole = trial.tables("whole", trial.begin("whole"))
        seconds = time.monotonic() - start
        while left:
            runs += 1
            name = f"run-{runs}"
            parties, struck = trial.begin(name), list[str]()
            while left and not trial.ended(
                name, parties, time.monotonic() + draws.uniform(0.05, 0.5) * seconds
            ):
                who = draws.choice([SERVER, *NAMES])
                parties[who] = parties[who].again()
                struck.append(who)
                left -= 1
            found = trial.tables(name, parties)
            differing += found != whole
            same = "nothing differs" if found == whole else "IT DIFFERS"
            say(f"{name}: killed {', '.join(struck) or 'nobody'}; {same}")
    say(f"kills {kills}, runs {runs}, runs that differ {differing}")
    return not differing

"""Serves a federation of vendors: waits for them, conducts the run, goes on when one is lost."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ifl.checks import check_above
from ifl.engines.grpc.listener import Listener
from ifl.errors import ConfigError, LostError
from ifl.runs import checkpoint
from ifl.runs.comparison import difference
from ifl.runs.folder import RunFolder, read_about
from ifl.runs.provenance import provenance, times
from ifl.vendors.agreed import Agreed
from ifl.vendors.conduct import VendorRounds, Watch, conduct
from ifl.vendors.remote import Remote

RETRIES = 20  # of the rounds after a checkpoint


@dataclass
class VendorServer:
    """The server of a federation.

    Args:
        agreed: the terms.
        folder: of the run; one that is there already goes on.
        listener: that vendors call.
        patience: seconds to wait for vendors that have to be there.
        timeout: seconds in which an answer has to come.
        grace: seconds in which a vendor has to come back whose connection broke.
        say: is told in a sentence what goes on.
        watch: is told every round.
    """

    agreed: Agreed
    folder: Path
    listener: Listener
    patience: float = 600.0
    timeout: float = 600.0
    grace: float = 5.0
    say: Callable[[str], None] = lambda sentence: None
    watch: Watch = lambda row: None
    _test: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("patience", "timeout", "grace"):
            check_above(name, getattr(self, name), 0)

    def run(self) -> dict[str, Any]:
        """Conduct the run to its end; return what run.json holds.

        Raises:
            LostError: a vendor does not come, or is lost and may not be.
            ConfigError: the folder holds another run, or a vendor's does.
            IFLError: as ``conduct`` does.
        """
        about = read_about(self.folder) or {}
        if about:
            self._check(about)
            if about.get("finished"):
                self.say(f"Already finished: {self.folder}")
                return about
        self.listener.begin(self.agreed.parties, self._refuses)
        run, tries, reached = str(about.get("run") or secrets.token_hex(8)), 0, 0
        while True:
            self._await()
            try:
                return self._attempt(run)
            except LostError as error:
                last = checkpoint.newest(self.folder)
                number = last.round if last else 0
                tries = tries + 1 if number == reached else 1
                reached = number
                if self.agreed.on_lost != "rejoin" or tries > RETRIES:
                    raise LostError(
                        f"{error}; the same commands go on from round {number}"
                    ) from error
                self.say(f"{error}; all go on from round {number} when it is back")

    def _attempt(self, run: str) -> dict[str, Any]:
        with RunFolder(self.folder) as folder:
            remote = Remote(self.listener, self.agreed.parties, self.timeout, self.grace)
            rounds = VendorRounds(self.agreed, remote, run)
            about = {
                "federation": self.agreed.terms,
                "run": run,
                "parties": list(self.agreed.parties),
                **provenance("cpu"),
                **times(self.folder),
            }
            folder.describe({**about, "finished": False})
            return conduct(rounds, folder, about, self.watch)

    def _await(self) -> None:
        """Wait until all vendors are here.

        Raises:
            LostError: one does not come, and rounds cannot go on without it.
        """
        missing = self.listener.wait(self.patience)
        enough = self.agreed.on_lost == "skip" and len(missing) < len(self.agreed.parties)
        if missing and not enough:
            raise LostError(
                f"{', '.join(missing)} did not call within {self.patience:g} s (patience); start "
                "them, and the same command goes on"
            )

    def _check(self, about: Mapping[str, Any]) -> None:
        kept = about.get("federation")
        if not isinstance(kept, Mapping):
            raise ConfigError(f"{self.folder} holds a run of another kind; name another folder")
        if where := difference(kept, self.agreed.terms):
            raise ConfigError(f"{self.folder} holds another run: {where}; name another folder")

    def _refuses(self, name: str, told: Mapping[str, Any]) -> str | None:
        if reason := self.agreed.refuses(told):
            return reason
        if self.agreed.test == "public":
            first = self._test.setdefault("test", (name, told.get("test")))
            if told.get("test") != first[1]:
                return f"its public test set is not that of {first[0]}; take the same data"
        return None

"""Keeps the learners of a few clients in memory, and those of the others on disk or nowhere.

A client is made when it is drawn. When others need the room, the one that was used least recently
is written to a file, from which it comes back bit for bit; one that never changed is not written,
since it follows from the seed.
"""

import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from ifl.checks import check_whole
from ifl.client.client import Client
from ifl.errors import IFLError, OutputError
from ifl.methods.parts.passing import in_passing
from ifl.runs.checkpoint import State, from_bytes, read_file, to_bytes, write_file
from ifl.runs.parts import Part, check_part, hand_on, part_of

SCRATCH = ".resident-"  # how the folder of files begins


def clear(place: Path) -> None:
    """Remove the files that a run left in its folder when it was killed."""
    for left_over in place.glob(f"{SCRATCH}*"):
        shutil.rmtree(left_over, ignore_errors=True)


class Residence:
    """The home of clients (``ifl.client.learner.Home``).

    Args:
        most: clients in memory between rounds. Those of a round are all there until its end, and
            those that are tested until the end of the evaluation.

    Raises:
        ConfigError: it is no whole number from 1.
    """

    def __init__(self, most: int) -> None:
        check_whole("runtime.resident", most, 1)
        self.most = most
        self._here: dict[int, Client] = {}  # the least recently used first
        self._changed = set[int]()  # since they were written, or at all
        self._files: dict[int, Path] = {}  # by number, of those that are not as at the start
        self._parts: dict[int, Part] = {}  # as checkpoints have these files, where that is known
        self._written = 0
        self._looking = 0
        self._lock = RLock()
        self._folder: Path | None = None
        self._end: weakref.finalize[..., Residence] | None = None

    @property
    def here(self) -> Collection[int]:
        """The numbers of the clients in memory, the least recently used first."""
        return self._here.keys()

    @property
    def folder(self) -> Path:
        """The folder of files; a temporary one where no other is named."""
        if self._folder is None:
            self._make(None)
        assert self._folder is not None
        return self._folder

    def _make(self, place: Path | None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=place))
        self._end = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def move_to(self, place: Path) -> None:
        """Have the files below this folder from now on."""
        with self._writing(place):
            end = self._end
            self._make(place)
            for number, path in self._files.items():
                self._files[number] = self.folder / path.name
                hand_on(path, self._files[number])
        if end is not None:
            end()

    def close(self) -> None:
        """Remove the files; only clients in memory can be asked for from now on."""
        if self._end is not None:
            self._end()

    def bring(self, client: Client) -> None:
        """Let a client have its learner, and take it for changed unless it is only looked at."""
        with self._lock:
            if not client.resident:
                client.wake(self._state(client.number))
            self._here.pop(client.number, None)
            self._here[client.number] = client
            if not self._looking:
                self._changed.add(client.number)

    def hold(self, clients: Sequence[Client]) -> None:
        """Have these clients in memory, and of the others only as many as there is room for."""
        coming = {client.number for client in clients}
        self.trim(coming)
        for client in clients:
            self.bring(client)

    def trim(self, coming: Collection[int] = ()) -> None:
        """Let go of the least recently used, as far as there are too many with those who come."""
        room = self.most - sum(number not in self._here for number in coming)
        for number, client in [*self._here.items()]:
            if len(self._here) <= room:
                break
            if number not in coming:
                self.let_go(client)

    def let_go(self, client: Client) -> None:
        """Take a client's learner away, its state kept; not that of one that stays."""
        if client.stays or not client.resident:
            return
        if client.number in self._changed:
            self._keep(client)
        client.sleep()
        self._here.pop(client.number, None)

    def keeps(self, client: Client) -> bool:
        """Tell whether a client is not as it was at the start."""
        return client.number in self._changed or client.number in self._files

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Take clients that are brought inside for unchanged; let go of too many afterwards."""
        self._looking += 1
        try:
            yield
        finally:
            self._looking -= 1
            if not self._looking:
                self.trim()

    def touched(self, clients: Sequence[Client]) -> Iterator[Client]:
        """Yield those of all clients that are not as at the start, one by one, to look at."""
        return in_passing([client for client in clients if self.keeps(client)])

    def states(self, clients: Sequence[Client]) -> dict[int, State]:
        """Return the states of all clients that are not as at the start, none of them shared."""
        return {
            client.number: from_bytes(to_bytes(client.state())) for client in self.touched(clients)
        }

    @property
    def files(self) -> Mapping[int, Path]:
        """The files of clients by number, as they are since ``parts`` was called."""
        return self._files

    def parts(self) -> Mapping[int, Part]:
        """Write the states that have changed; return what checkpoints call the files of all."""
        for number in sorted(self._changed):
            self._keep(self._here[number])
        for number, path in self._files.items():
            if number not in self._parts:
                self._parts[number] = part_of(number, path)
        return dict(sorted(self._parts.items()))

    def load(self, clients: Sequence[Client], states: Mapping[int, State]) -> None:
        """Go on from states of some clients; the others are as at the start.

        Raises:
            ConfigError: one is that of another network.
        """
        for client in clients:
            if (state := states.get(client.number)) is not None:
                self.bring(client)
                client.load_state(state)
                self.trim()

    def adopt(self, clients: Sequence[Client], parts: Mapping[int, Part], folder: Path) -> None:
        """Go on from files of some clients in another folder; the others are as at the start.

        Raises:
            ConfigError: one is that of another network, as far as clients are in memory.
        """
        with self._writing(self.folder):
            for number, part in parts.items():
                self._files[number], self._parts[number] = self._free(number), part
                hand_on(folder / part.name, self._files[number])
        for client in clients:
            if client.resident and client.number in parts:
                client.load_state(self._state(client.number) or {})
                self._changed.discard(client.number)

    def _keep(self, client: Client) -> None:
        with self._writing(self.folder):
            path = self._free(client.number)
            write_file(path, client.state())
            if before := self._files.get(client.number):
                before.unlink()
        self._files[client.number] = path
        self._parts.pop(client.number, None)
        self._changed.discard(client.number)

    def _free(self, number: int) -> Path:
        self._written += 1
        return self.folder / f"{number}-{self._written}"

    def _state(self, number: int) -> State | None:
        """Return the state in a client's file; None if it is as at the start."""
        path = self._files.get(number)
        if path is None:
            return None
        if not self.folder.exists():
            raise IFLError(
                f"the state of client {number} was on disk while its run went on, and is not any "
                "more; runtime.resident=null keeps all clients in memory"
            )
        if number in self._parts:
            check_part(path, self._parts[number])
        return read_file(path)

    @contextmanager
    def _writing(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{folder} cannot take the states of clients that are not in memory "
                f"({error.strerror}); make room there, or raise runtime.resident"
            ) from error

"""Adds to the rounds of a federation what is between them: states and evaluations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ifl.client.client import Client
from ifl.federation.class_counts import Pair
from ifl.federation.evaluation import (
    Compositions,
    compose,
    counted,
    guesses,
    joined,
    partners_of,
)
from ifl.federation.rounds import Rounds
from ifl.methods.base import Blocks
from ifl.methods.parts.passing import Lazy
from ifl.runs.checkpoint import State, read_file
from ifl.runs.parts import Part, check_part


class Engine(Rounds):
    """Conducts rounds, gives and takes their state, and evaluates."""

    def state(self, inline: bool = True) -> State:
        """Return all that the next round depends on, between two rounds.

        Clients that a home would make as they are now, at the start, are left out.

        Args:
            inline: with the states of clients; else those that have a home are left out, as
                ``residence.parts`` has them.
        """
        self.refresh()
        if self.residence is None:
            states = {client.number: client.state() for client in self.clients}
        else:
            states = self.residence.states(self.clients) if inline else {}
        return {
            "clients": {str(number): state for number, state in states.items()},
            "server": self.server.state(),
            "totals": dict(self.channel.ledger.totals),
        }

    def refresh(self) -> None:
        """Bring the clients here to where their parties are."""
        self.settle()
        if self._last.number:  # of those, too, who were absent
            self._anneal(self._last.number, [c for c in self.clients if c.resident])
        self.parties.refresh(self._last.number)

    def load_state(
        self, state: State, parts: Mapping[int, Part] | None = None, folder: Path = Path()
    ) -> None:
        """Go on from such a state, before the first round of this engine.

        Args:
            parts: files in ``folder`` of clients' states that it leaves out.

        Raises:
            ConfigError: it is that of other networks.
        """
        states = {int(number): its for number, its in state["clients"].items()}
        if self.residence is None:
            for number, part in (parts or {}).items():
                check_part(folder / part.name, part)
                states[number] = read_file(folder / part.name)
            self.parties.load(states)
        else:
            self.parties.load({})
            self.residence.load(self.clients, states)
            self.residence.adopt(self.clients, parts or {}, folder)
        self.server.load_state(state["server"], self.clients)
        self.channel.ledger.totals.update(state["totals"])

    def close(self) -> None:
        """End what was started for the parties; the clients here stay as they are."""
        self.parties.transport.close()

    def trained(self) -> Iterable[Client]:
        """Return the clients that are not as at the start, or more, to look at one by one."""
        return self.clients if self.residence is None else self.residence.touched(self.clients)

    def looking(self) -> AbstractContextManager[None]:
        """Look at any clients inside, and change none."""
        return nullcontext() if self.residence is None else self.residence.looking()

    def evaluate(self, x: Tensor, y: Tensor, number: int = 0) -> Compositions:
        """Test compositions on samples x (n, ...) and labels y (n,): all, or those chosen.

        Blocks that draw random numbers even here do so in turn, in every evaluation the same.

        Args:
            number: of the round, which names what is drawn.
        """
        with self.looking():
            every = self.method.blocks(self.clients, self.server)
            some, local_only = self._evaluated(number), self.evaluation.local_only
            found = self._afar(some, x, y, True)
            if found is not None:
                tested = counted(found)
            elif any(client.draws_tested for client in self.clients):
                with self._stream("evaluation"):
                    tested = compose(*self._evaluated(number), x, y, local_only=local_only)
            else:
                parts = self._in_parts(*self._evaluated(number))
                tested = joined(compose(*part, x, y, self.workers, local_only) for part in parts)
        if [*map(len, some)] == [*map(len, every)]:
            return tested
        return replace(tested, of=len(every[0]) * len(every[1]))

    def blocks(self, tested: Compositions) -> Sequence[Blocks]:
        """Return the base blocks and the modular blocks that a run keeps at its end.

        Those are all; where clients have a home, of those that were tested as many of each kind as
        clients may be in memory.
        """
        every = self.method.blocks(self.clients, self.server)
        if self.residence is None:
            return every
        owners = [[*dict.fromkeys(some)] for some in zip(*tested.accuracy, strict=True)]
        most = self.residence.most
        return [{k: its[k] for k in some[:most]} for its, some in zip(every, owners, strict=True)]

    def _in_parts(self, bases: Blocks, modulars: Blocks) -> Iterator[tuple[Blocks, Blocks]]:
        """Yield blocks to be tested with each other: all at once, but few where each is alone."""
        if self.residence is None or not self.evaluation.local_only:
            yield bases, modulars
            return
        partners, every = partners_of(bases, modulars, local_only=True), [*bases]
        for start in range(0, len(every), self.residence.most):
            owners = every[start : start + self.residence.most]
            others = dict.fromkeys(i for k in owners for i in partners[k])
            yield Lazy(owners, bases.__getitem__), Lazy(others, modulars.__getitem__)
            self.residence.trim()

    def guesses(self, x: Tensor, y: Tensor, number: int = 0) -> dict[Pair, Tensor]:
        """Return the guessed classes (n,) int64 of every composition that ``evaluate`` tests."""
        with self.looking():
            found = self._afar(self._evaluated(number), x, y, False)
            if found is not None:
                return found
            with self._stream("evaluation"):
                return guesses(*self._evaluated(number), x, self.evaluation.local_only)

    def _afar(
        self, blocks: tuple[Blocks, Blocks], x: Tensor, y: Tensor, counts: bool
    ) -> dict[Pair, Tensor] | None:
        """Test blocks where they are; None, with the clients here up to date, if that is here."""
        self.settle()
        partners = partners_of(*blocks, self.evaluation.local_only)
        found = self.parties.tested(blocks, self.server, (x, y), partners, counts)
        if found is None:
            self.refresh()
        return found

    def _evaluated(self, number: int) -> tuple[Blocks, Blocks]:
        bases, modulars = self.method.blocks(self.clients, self.server)
        seed, drawn = self.training.seed, self.evaluation.drawn
        return drawn("bases", bases, seed, number), drawn("modulars", modulars, seed, number)

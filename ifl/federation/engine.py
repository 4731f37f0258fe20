"""Adds to the rounds of a federation what is between them: states and evaluations."""

from dataclasses import replace

from torch import Tensor

from ifl.federation.class_counts import Pair
from ifl.federation.evaluation import Compositions, compose, counted, guesses, partners_of
from ifl.federation.rounds import Rounds
from ifl.methods.base import Blocks
from ifl.runs.checkpoint import State


class Engine(Rounds):
    """Conducts rounds, gives and takes their state, and evaluates."""

    def state(self) -> State:
        """Return all that the next round depends on, between two rounds."""
        self.refresh()
        return {
            "clients": {str(client.number): client.state() for client in self.clients},
            "server": self.server.state(),
            "totals": dict(self.channel.ledger.totals),
        }

    def refresh(self) -> None:
        """Bring the clients here to where their parties are."""
        self.settle()
        if self._last.number:
            self._anneal(self._last.number, self.clients)  # of those, too, who were absent
        self.parties.refresh(self._last.number)

    def load_state(self, state: State) -> None:
        """Go on from such a state, before the first round of this engine.

        Raises:
            ConfigError: it is that of other networks.
        """
        self.parties.load({c.number: state["clients"][str(c.number)] for c in self.clients})
        self.server.load_state(state["server"], self.clients)
        self.channel.ledger.totals.update(state["totals"])

    def close(self) -> None:
        """End what was started for the parties; the clients here stay as they are."""
        self.parties.transport.close()

    def evaluate(self, x: Tensor, y: Tensor, number: int = 0) -> Compositions:
        """Test compositions on samples x (n, ...) and labels y (n,): all, or those chosen.

        Blocks that draw random numbers even here do so in turn, in every evaluation the same.

        Args:
            number: of the round, which names what is drawn.
        """
        every = self.method.blocks(self.clients, self.server)
        some, local_only = self._evaluated(number), self.evaluation.local_only
        found = self._afar(some, x, y, True)
        if found is not None:
            tested = counted(found)
        elif any(client.draws_tested for client in self.clients):
            with self._stream("evaluation"):
                tested = compose(*self._evaluated(number), x, y, local_only=local_only)
        else:
            tested = compose(*self._evaluated(number), x, y, self.workers, local_only)
        if [*map(len, some)] == [*map(len, every)]:
            return tested
        return replace(tested, of=len(every[0]) * len(every[1]))

    def guesses(self, x: Tensor, y: Tensor, number: int = 0) -> dict[Pair, Tensor]:
        """Return the guessed classes (n,) int64 of every composition that ``evaluate`` tests."""
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

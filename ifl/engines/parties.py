"""Asks the parties of a federation, and keeps the server's replicas of their clients."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ifl import __version__
from ifl.client.client import Client
from ifl.engines.afar import Pair, shown, tested_afar, whereabouts
from ifl.engines.base import Answer, Each, Packet, Transport
from ifl.engines.party import Party
from ifl.engines.strict import fitting, load_client
from ifl.errors import PartyError
from ifl.methods.base import Blocks, Server
from ifl.runs.checkpoint import State, to_bytes


class Parties:
    """All parties of a federation, as its server sees them.

    Args:
        transport: the way to them.
        parties: as they are at the start. Their clients are the replicas.
        each: calls a function with each of some clients, several at a time.
    """

    def __init__(self, transport: Transport, parties: Sequence[Party], each: Each) -> None:
        self.transport = transport
        self.here = parties
        self.clients: Sequence[Client] = [party.client for party in parties]
        self.stale = False  # replicas are not as their parties are
        self.evaluation = {"up": 0, "down": 0}  # bytes of evaluations, no part of the ledger
        self._shown: Tensor | None = None
        transport.open(parties, each)

    def greet(self) -> None:
        """Start what is to be started, and see that every party is who it should be.

        Raises:
            PartyError: one is another client, or of another version.
        """
        if self.transport.live:  # each is who it is here
            return
        answers = self.ask({client.number: Packet({"op": "hello"}) for client in self.clients})
        for client in self.clients:
            mine = {"op": "hello", "client": client.number, "name": client.name}
            if (found := dict(answers[client.number].head)) != {**mine, "version": __version__}:
                raise PartyError(
                    f"{client.name} was expected of version {__version__}, got {found}"
                )

    def exchange(self, asked: Mapping[int, Sequence[Packet]]) -> dict[int, list[Answer]]:
        """Hand packets to parties; return what each answers, as far as it fits what was asked."""
        self.stale = not self.transport.live
        return self._exchanged(asked) if asked else {}

    def _exchanged(self, asked: Mapping[int, Sequence[Packet]]) -> dict[int, list[Answer]]:
        found = self.transport.exchange(asked)
        return {k: fitting(asked[k], found.get(k, ()), self.clients[k].name) for k in asked}

    def ask(self, asked: Mapping[int, Packet]) -> dict[int, Packet]:
        """Hand a packet to parties; return their answers.

        Raises:
            Exception: the first that a party answered with, in the order of asking.
        """
        if not asked:
            return {}
        answers = self._exchanged({k: [packet] for k, packet in asked.items()})
        return {k: answered(theirs) for k, (theirs,) in answers.items()}

    def refresh(self, number: int) -> None:
        """Bring the replicas to where the parties are, after this round."""
        if self.stale:
            kept = self.ask(
                {c.number: Packet({"op": "keep", "round": number}) for c in self.clients}
            )
            for client in self.clients:
                load_client(client, kept[client.number].body)
            self.stale = False

    def load(self, states: Mapping[int, State]) -> None:
        """Let replicas and parties go on from these states.

        Raises:
            ConfigError: one is that of another network.
        """
        for client, party in zip(self.clients, self.here, strict=True):
            if client.number in states:
                client.load_state(states[client.number])
            party.forget()
        if not self.transport.live:
            packets = {k: Packet({"op": "load"}, to_bytes(its)) for k, its in states.items()}
            self.ask(packets)
        self.stale = False

    def tested(
        self,
        blocks: tuple[Blocks, Blocks],
        server: Server,
        test: tuple[Tensor, Tensor],
        partners: Mapping[str, Sequence[str]],
        counted: bool,
    ) -> dict[Pair, Tensor] | None:
        """Test compositions where the blocks are; None if that is here, or cannot be.

        Args:
            blocks: bases and modular blocks to test, as the method makes them of replicas.
            test: x and y, on the device of training.
            partners, counted: as ``afar.tested_afar`` takes them.
        """
        if not self.stale or any(client.draws_tested for client in self.clients):
            return None
        agreed = self.here[0].channel.agreed
        bases = whereabouts(blocks[0], "base", self.clients, server)
        modulars = whereabouts(blocks[1], "modular", self.clients, server)
        if bases is None or modulars is None:
            return None
        if self._shown is not test[0]:
            everyone = shown(*test)
            self.ask({client.number: everyone for client in self.clients})
            self._shown = test[0]
        homes = bases, modulars
        return tested_afar(self._weighed, *blocks, homes, *test, partners, counted, agreed)

    def _weighed(self, asked: Mapping[int, Packet]) -> Mapping[int, Packet]:
        answers = self.ask(asked)
        self.evaluation["down"] += sum(len(packet.body) for packet in asked.values())
        self.evaluation["up"] += sum(len(packet.body) for packet in answers.values())
        return answers

    def told(self) -> dict[str, Any]:
        """Return the entry "engine" of run.json; none of the default engine."""
        if not (told := self.transport.told()):
            return {}
        bytes_of = {f"evaluation_{way}_bytes": size for way, size in self.evaluation.items()}
        return {"engine": {**told, **bytes_of}}


def answered(answer: Answer) -> Packet:
    """Return an answer that is no exception; raise one that is."""
    if isinstance(answer, Exception):
        raise answer
    return answer

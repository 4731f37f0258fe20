"""Answers the server for a vendor: what it is asked, and nothing else.

Its network, its state and its labels never leave. Beside begin, reply and leave of
``ifl.engines.party``:

    load: run, round, exact   -> loaded: go on from an own checkpoint, or from the start
    keep: round               -> kept: a checkpoint on its own disk, the last two stay
    z                         -> z: (n, d) of its test images by its own base block
    guess: z's                -> guesses (n,) of z's by its own modular block
    score: z's                -> counts (3, C) of a public test set, likewise
    judge: guesses            -> counts (3, C) of its private test set
    traffic                   -> traffic: digest and totals of what it counted
    finish: the results       -> finished: its folder is as that of a finished run
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import one_hot

from ifl.client.client import Client
from ifl.comm.channel import DOWNLINK, UPLINK
from ifl.comm.message import Message, Place
from ifl.data.dataset import Shard
from ifl.engines.base import Answer, Packet
from ifl.engines.frames import Frame, framed
from ifl.engines.grpc.envelopes import packets_of
from ifl.engines.hearing import refusing
from ifl.engines.local import answered
from ifl.engines.party import Party
from ifl.engines.strict import text, whole
from ifl.engines.testing import outputs, tallied, tested
from ifl.errors import ConfigError, IFLError, MessageError
from ifl.methods.base import Reply
from ifl.runs import checkpoint
from ifl.runs.checkpoint import from_bytes, to_bytes
from ifl.vendors.agreed import Agreed
from ifl.vendors.heard import Results, guessed, results, shown
from ifl.vendors.traffic import Traffic, digest, totals

COMMON = ("hello", "begin", "reply", "leave")
Finish = Callable[[Client, Traffic, Results], None]


class VendorParty(Party):
    """A vendor's half of a method.

    Args:
        client: as it starts.
        agreed: the terms.
        seed: its own, of what its codec draws.
        folder: of its checkpoints.
        test: its own test set, or the public one.
        finish: writes what is to stay of the run.
    """

    def __init__(
        self, client: Client, agreed: Agreed, seed: int, folder: Path, test: Shard, finish: Finish
    ) -> None:
        strict = agreed.on_bad_upload == "stop"
        super().__init__(client, agreed.method, agreed.channel(seed), strict)
        self.agreed, self.folder, self._finish = agreed, folder, finish
        self._shown = test.inputs(), test.y
        self._start = to_bytes(client.state())
        self._run: str | None = None
        self.traffic = Traffic()

    @property
    def run(self) -> str | None:
        """The name of the run that it takes part in."""
        return self._run

    def frame(self, frame: Frame) -> Frame:
        """Answer a frame from the server."""
        start = time.perf_counter()
        found: list[Answer]
        try:
            asked = packets_of(frame, self.number)
            found = answered(self, [packet for packet in asked if isinstance(packet, Packet)])
        except IFLError as error:
            found = [error]
        return framed({self.number: found}, time.perf_counter() - start)

    def told(self) -> dict[str, Any]:
        """Return what its hello says besides its name."""
        told: dict[str, Any] = {"agreed": self.agreed.digest, "terms": self.agreed.terms}
        told |= {"samples": len(self.client.shard), "held": checkpoint.held(self.folder)}
        if "classes" in self.agreed.tells:
            told["classes"] = self.client.classes.tolist()
        if self.agreed.test == "public":
            assert self._shown is not None
            told["test"] = [digest_of(tensor) for tensor in self._shown]
        return told

    def answer(self, asked: Packet) -> Packet:
        """Do what a packet asks for, if a server may ask it."""
        if asked.op in OWN:
            return OWN[asked.op](self, asked)
        if asked.op not in COMMON or self._run is None:
            raise MessageError(f"{self.client.name} does not do {asked.op[:40]!r} for a server")
        answer = super().answer(asked)
        if "losses" in self.agreed.tells:
            return answer
        if answer.op == "upload":
            return Packet({"op": "upload", "last": ""}, answer.body)
        return Packet({"op": "end"}) if answer.op == "end" else answer

    def load(self, asked: Packet) -> Packet:
        """Go on from an own checkpoint, or from the start."""
        with refusing(self.client, asked):
            run, number = text(asked.head, "run"), whole(asked.head, "round")
        held = checkpoint.held(self.folder)
        if asked.head.get("exact") is not True:
            number = max((n for n in held if n <= number), default=0)
        state: Mapping[str, Any] = {"client": from_bytes(self._start), "traffic": []}
        if number:
            kept = checkpoint.at(self.folder, number)
            if kept is None or kept.state.get("run") != run:
                whose = "no whole checkpoint" if kept is None else "a checkpoint of another run"
                raise ConfigError(
                    f"{self.client.name} has {whose} of round {number}, from which the server goes "
                    "on; begin anew with another folder on all sides"
                )
            state = kept.state
        elif held and self._other_run(held, run):
            raise ConfigError(
                f"{self.client.name} has checkpoints of another run in its folder; name another "
                "folder, or remove it"
            )
        if self._talk is not None:
            self._talk.close()
        self._talk, self._run, self._round = None, run, number
        self.client.load_state(state["client"])
        self.traffic.load(state["traffic"])
        return Packet({"op": "loaded", "round": number})

    def _other_run(self, held: list[int], run: str) -> bool:
        kept = [checkpoint.at(self.folder, number) for number in held]
        return any(one is not None and one.state.get("run") != run for one in kept)

    def keep(self, asked: Packet) -> Packet:
        """Keep a checkpoint of a round, in which it may have been absent."""
        with refusing(self.client, asked):
            self._round = whole(asked.head, "round", 1)
        self._anneal()
        rows = [[*row] for row in self.traffic.rows()]
        state = {"client": self.client.state(), "traffic": rows, "run": self._run}
        checkpoint.write(self.folder, self._round, state, keep=2)
        return Packet({"op": "kept", "round": self._round})

    def z(self, asked: Packet) -> Packet:
        """Return z of its test images by its own base block."""
        assert self._shown is not None
        return Packet({"op": "z"}, save({"z": outputs(self.client.model.base, self._shown[0])}))

    def judge(self, asked: Packet) -> Packet:
        """Return what its modular block makes of others' z, or what others made of its own."""
        assert self._shown is not None
        y, classes, counted = self._shown[1], self.agreed.classes, asked.op == "score"
        found: dict[str, Tensor] = {}
        with refusing(self.client, asked):
            if asked.op == "judge":
                guesses = guessed(asked, len(y), classes)
                found = {k: tallied(one_hot(its, classes), y) for k, its in guesses.items()}
                return Packet({"op": "judge"}, save(found))
            z = shown(asked, self.agreed.fusion_dim)
            if other := [name for name, its in z.items() if counted and len(its) != len(y)]:
                raise MessageError(f"{other[0]} is not of the {len(y)} images that all have")
        for name, its in z.items():
            labels = y if counted else torch.zeros(len(its), dtype=torch.int64)
            found[name] = tested(self.client.model.modular, its, labels, counted)
        return Packet({"op": asked.op}, save(found))

    def count(self, asked: Packet) -> Packet:
        """Tell the digest and the totals of its own traffic table."""
        rows = self.traffic.rows()
        return Packet({"op": "traffic", "sha256": digest(rows), "totals": totals(rows)})

    def finish(self, asked: Packet) -> Packet:
        """Write what is to stay of the run."""
        with refusing(self.client, asked):
            found = results(asked.head)
        self._finish(self.client, self.traffic, found)
        return Packet({"op": "finished"})

    def encoded(self, said: Message, place: Place) -> bytes:
        """Return the bytes of an upload, and count them."""
        payload = super().encoded(said, place)
        self.traffic.add(place.round, UPLINK, self.channel.counted(payload))
        return payload

    def received(self, asked: Packet) -> Reply:
        """Return the server's message, and count its bytes."""
        message = super().received(asked)
        if message is not None:
            number = Place(*asked.head["place"]).round
            self.traffic.add(number, DOWNLINK, self.channel.counted(asked.body))
        return message


OWN: Mapping[str, Callable[[VendorParty, Packet], Packet]] = {
    "load": VendorParty.load,
    "keep": VendorParty.keep,
    "z": VendorParty.z,
    "guess": VendorParty.judge,
    "score": VendorParty.judge,
    "judge": VendorParty.judge,
    "traffic": VendorParty.count,
    "finish": VendorParty.finish,
}


def digest_of(tensor: Tensor) -> str:
    """Return what tells a tensor's type, shape and values."""
    head = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    values = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(head + values.tobytes()).hexdigest()

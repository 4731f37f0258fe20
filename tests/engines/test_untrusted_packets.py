"""Nothing that crosses an engine is believed: a server that lies, a party that lies, any bytes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from conftest import DIM, Build
from safetensors.torch import save

from ifl.comm.codecs import Float32
from ifl.comm.message import Message, encode
from ifl.engines.base import Answer, Packet
from ifl.engines.frames import bodies, busy, framed, unframed
from ifl.engines.local import Local
from ifl.errors import DivergenceError, IFLError, MessageError
from ifl.methods.base import Method
from ifl.methods.fl import FL
from ifl.methods.fsl import FSL
from ifl.methods.ifl import IFL
from ifl.trials.faults.packets import Packets

Lie = Callable[[Packet, list[Packet]], Packet]


class Tampering(Local):
    """Hands on bytes alone, and lets ``lie`` change what client 1 is told, or what it answers."""

    live = False

    def __init__(self, lie: Lie, op: str = "reply", answers: bool = False) -> None:
        super().__init__()
        self.lie, self.op, self.answers = lie, op, answers
        self.before: list[Packet] = []  # of this op

    def exchange(self, asked: Mapping[int, Sequence[Packet]]) -> dict[int, list[Answer]]:
        bare = {k: [replace(packet, message=None) for packet in its] for k, its in asked.items()}
        if 1 in bare and not self.answers:
            bare[1] = [self._changed(packet) for packet in bare[1]]
        answers = super().exchange(bare)
        if 1 in answers and self.answers:
            its = answers[1]
            answers[1] = [p if isinstance(p, Exception) else self._changed(p) for p in its]
        return answers

    def _changed(self, packet: Packet) -> Packet:
        if packet.op != self.op:
            return packet
        self.before.append(packet)
        return self.lie(packet, self.before)


def rounds(tiny: Build, method: Method, transport: Tampering, count: int = 3) -> str:
    """Return what ends three rounds."""
    engine = tiny(method, count=count, transport=transport).engine
    with pytest.raises(IFLError) as told:
        [engine.round(number) for number in (1, 2, 3)]
    said = str(told.value)
    assert "\n" not in said
    assert isinstance(told.value, MessageError | DivergenceError)
    return said


def body(**tensors: torch.Tensor) -> Lie:
    payload = encode(Message(**tensors), Float32(), 10)
    return lambda packet, told: replace(packet, body=payload)


def first_again(packet: Packet, told: list[Packet]) -> Packet:
    return replace(told[0], head={**told[0].head, "turn": packet.head["turn"]})


Y = torch.zeros(24, dtype=torch.int64)
Z = torch.zeros(24, DIM)
NAN = torch.full((24, DIM), torch.nan)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (body(z=Z[:, 1:], y=Y), "z has the shape (24, 7), expected (1 to 24, 8)"),
        (body(z=torch.zeros(25, DIM), y=Y), "z has the shape (25, 8), expected (1 to 24, 8)"),
        (body(z=Z[:5], y=Y), "its tensors differ in rows: z has 5, y has 24"),
        (body(z=Z[:0], y=Y[:0]), "z has the shape (0, 8), expected (1 to 24, 8)"),
        (body(z=Z, y=Y + 4), "y holds 4 to 4, allowed are 0 to 3"),
        (body(z=Z, y=Y, w=torch.zeros(2)), "it holds w, y, z, expected is y, z"),
        (body(z=Z), "it holds z, expected is y, z"),
        (body(z=torch.zeros(10**5, DIM), y=Y), "bytes, allowed are "),
        (lambda p, told: replace(p, body=p.body[:-1]), "its tensors end at byte"),
        (lambda p, told: replace(p, body=b""), "0 bytes are cut off within the header"),
        (lambda p, told: Packet({"op": "reply", "turn": 1}), "it holds no message, and the method"),
        (first_again, "it is of round 1, and this is round 2"),
        (lambda p, told: replace(p, head={**p.head, "turn": 2}), "its turn is 2, expected 1"),
        (lambda p, told: replace(p, head={**p.head, "turn": None}), "its turn is None, expected a"),
        (lambda p, told: replace(p, head={**p.head, "place": [1]}), "its place is [1], which is"),
    ],
)
def test_a_server_that_lies_is_refused_in_a_sentence(lie: Lie, said: str, tiny: Build) -> None:
    told = rounds(tiny, IFL(tau=1), Tampering(lie))
    assert told.startswith("IFL in round ")
    assert "client 1 (small) refuses 'reply': " in told
    assert said in told


def test_a_server_that_sends_nan_is_told_from_a_client_that_diverged(tiny: Build) -> None:
    said = rounds(tiny, IFL(tau=1), Tampering(body(z=NAN, y=Y)))
    assert "the server tells client 1 (small): z is not finite, the last finite loss was" in said


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (FSL(tau=2), "refuses 'reply': it holds y, z, expected is grad"),
        (FL(tau=1), "refuses 'reply': it holds y, z, expected is params.0, params.1"),
    ],
)
def test_other_methods_declare_what_they_hear(method: Method, said: str, tiny: Build) -> None:
    assert said in rounds(tiny, method, Tampering(body(z=Z, y=Y)))


def test_a_round_that_has_been_cannot_be_begun_again(tiny: Build) -> None:
    lie = Tampering(lambda packet, told: told[0], op="begin")
    assert "refuses 'begin': its round is 1, and round 1 has been" in rounds(tiny, IFL(tau=1), lie)


def test_a_reply_within_a_round_cannot_be_said_again(tiny: Build) -> None:
    said = rounds(tiny, FSL(tau=3), Tampering(first_again))
    assert "refuses 'reply': it has been said before" in said


@pytest.mark.parametrize(
    ("lie", "op", "said"),
    [
        (lambda p, t: Packet({"op": "end"}, b"x"), "end", "its 1 bytes cannot be read: "),
        (
            lambda p, t: Packet({"op": "left"}),
            "upload",
            "answers 'begin' with what does not",
        ),
        (
            lambda p, t: Packet({"op": "upload"}, p.body),
            "upload",
            "its last is None, expected a",
        ),
        (
            lambda p, t: Packet({"op": "upload", "last": "a\nb"}, p.body),
            "upload",
            r"its last is 'a\nb', expected a line of text",
        ),
        (
            lambda p, t: Packet({"op": "end"}, save({"losses": torch.zeros(2, 2)})),
            "end",
            "losses have the shape (2, 2), expected one dimension",
        ),
        (
            lambda p, t: Packet({"op": "end"}, save({"z": torch.zeros(2)})),
            "end",
            "it holds ['z'], expected is ['losses']",
        ),
    ],
)
def test_a_party_that_lies_is_a_sentence(lie: Lie, op: str, said: str, tiny: Build) -> None:
    assert said in rounds(tiny, IFL(tau=1), Tampering(lie, op, answers=True))


@pytest.mark.parametrize(
    ("op", "tensors", "said"),
    [
        ("z", {"z": torch.zeros(80, DIM + 1)}, "z has the shape (80, 9), expected (80, 8)"),
        ("z", {"z": torch.zeros(80, DIM).double()}, "z is of torch.float64, expected torch.float"),
        ("score", {"0": torch.zeros(3, 4)}, "it holds ['0'], expected is ['0', '1', '2']"),
        ("state", {"0": torch.zeros(3)}, "client 1 (small) cannot go on from a state of"),
    ],
)
def test_evaluations_and_states_are_checked(
    op: str, tensors: dict[str, torch.Tensor], said: str, tiny: Build
) -> None:
    lie = Tampering(lambda packet, told: replace(packet, body=save(tensors)), op, answers=True)
    federation = tiny(IFL(tau=1), count=3, transport=lie)
    federation.engine.round(1)
    test = federation.data.test
    test_x, test_y = test.inputs(), test.y

    def asked() -> None:
        federation.engine.evaluate(test_x, test_y)
        federation.engine.refresh()

    with pytest.raises(MessageError) as told:
        asked()
    assert said in str(told.value)


def test_an_honest_engine_of_bytes_makes_the_same_run(tiny: Build) -> None:
    def as_it_is(packet: Packet, told: list[Packet]) -> Packet:
        return packet

    found = []
    for transport in (None, Tampering(as_it_is)):
        federation = tiny(IFL(tau=1), count=3, transport=transport)
        outcomes = [federation.engine.round(number) for number in (1, 2)]
        test = federation.data.test
        found.append((outcomes, federation.engine.evaluate(test.inputs(), test.y).accuracy))
    assert found[0] == found[1]


HEADS: list[Any] = [
    {},
    [],
    {"bodies": 0, "busy": 0, "packets": []},
    {"bodies": 10**9, "busy": 0, "packets": {}},
    {"bodies": 1.5, "busy": 0, "packets": {}},
    {"bodies": 0, "busy": -1, "packets": {}},
    {"bodies": 0, "busy": "x", "packets": {}},
    {"bodies": 0, "busy": 0, "packets": {"a": []}},
    {"bodies": 0, "busy": 0, "packets": {"0": 1}},
    {"bodies": 0, "busy": 0, "packets": {"0": [], "00": []}},
    {"bodies": 1, "busy": 0, "packets": {"0": [[{"op": "z"}, 0]]}},
    {"bodies": 1, "busy": 0, "packets": {"0": [[{"op": "z"}, 2]]}},
    {"bodies": 1, "busy": 0, "packets": {"0": [[{"op": 1}, 1]]}},
    {"bodies": 1, "busy": 0, "packets": {"0": [[{}, 1]]}},
    {"bodies": 0, "busy": 0, "packets": {"0": [{"kind": "MessageError"}]}},
    {"bodies": 0, "busy": 0, "packets": {"0": [{"kind": "a b", "said": ""}]}},
]


NO_JSON = ["{", "[" * 10**5, "", "\xff", "9" * 5000]


@pytest.mark.parametrize("head", [*map(json.dumps, HEADS), *NO_JSON])
def test_what_is_no_head_is_one_error(head: str) -> None:
    frame = [head.encode("latin-1")]
    with pytest.raises(MessageError):
        bodies(frame[0])
    with pytest.raises(MessageError):
        busy(frame)
    with pytest.raises(MessageError):
        unframed(frame)


def test_a_frame_lacks_no_body() -> None:
    frame = framed({0: [Packet({"op": "z"}, b"1")]})
    assert unframed(frame)[0] == [Packet({"op": "z"}, b"1")]
    with pytest.raises(MessageError, match="a frame has 0 bodies, its head says 1"):
        unframed(frame[:1])


def test_honest_frames_are_answered_and_taken_in() -> None:
    packets = Packets()
    for frame in packets.honest():
        packets(frame)
    assert packets.fitted == packets.seen == 8


def test_changed_frames_raise_errors_of_the_project_alone() -> None:
    packets, rolls = Packets(), Random(1)
    honest = packets.honest()
    words = [b"0", b"-1", b"null", b"1e999", b"[]", b'"', b'"op"', b"9" * 20, b"I64", b"\0\0\0\xff"]
    for _ in range(600):
        frame = bytearray(rolls.choice(honest))
        for _ in range(rolls.randint(1, 3)):
            at = rolls.randrange(1, len(frame))
            cut = rolls.choice([0, 1, 9])
            frame[at : at + cut] = rolls.choice([rolls.choice(words), rolls.randbytes(cut)])
        packets(bytes(frame))
    assert packets.seen == 600
    assert 0 < packets.fitted < 600

"""A vendor believes nothing that the server says over the network, nor the server a vendor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from conftest import CLASSES, DIM
from federated import NAMES, Party, joined, listening, terms
from safetensors.torch import save

from ifl.comm.codecs import Float32
from ifl.comm.message import Message, encode
from ifl.engines.base import Answer, Packet
from ifl.engines.grpc import exchange
from ifl.engines.grpc.certificates import SERVER, Authority
from ifl.errors import IFLError
from ifl.runs.folder import TABLES
from ifl.vendors import remote
from ifl.vendors.server import VendorServer

ROWS = 3 * 8  # of the pool


def pool(**tensors: torch.Tensor) -> bytes:
    return encode(Message(**tensors), Float32(), 10)


def names(tensor: torch.Tensor) -> bytes:
    return save({f"k{k}": tensor.clone() for k in range(3)})


Y, Z = torch.zeros(ROWS, dtype=torch.int64), torch.zeros(ROWS, DIM)
WIDE = pool(z=torch.zeros(ROWS, DIM + 1), y=Y)
HUGE = pool(z=torch.zeros(10**5, DIM), y=Y)
NAN = pool(z=torch.full_like(Z, torch.nan), y=Y)
NAN_Z = torch.full((3, DIM), torch.nan)
NONE = save({"z0": NAN_Z})
GUESSES = save({"k0": torch.full((41,), 4)})
FINISH = {"op": "finish", "row": {"round": 3, "accuracy_mean": inf}, "traffic": {}}
FEW = save({"z0": torch.zeros(3, DIM + 5)})


@pytest.fixture
def lies(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change what ben is told, or what he answers, where it is of a kind."""
    honest = exchange.exchanged

    def change(op: str, changed: Mapping[str, Any], answers: bool = False) -> None:
        def spoilt(packets: Sequence[Answer]) -> list[Any]:
            return [
                replace(p, **changed) if isinstance(p, Packet) and p.op == op else p
                for p in packets
            ]

        def dishonest(
            listener: Any, asked: Mapping[int, Sequence[Packet]], *others: Any
        ) -> tuple[Any, Any]:
            its = {k: spoilt(p) if k == 1 and not answers else p for k, p in asked.items()}
            found, spent = honest(listener, its, *others)
            return {k: spoilt(p) if k == 1 and answers else p for k, p in found.items()}, spent

        monkeypatch.setattr(remote, "exchanged", dishonest)

    return change


def ended(place: Path, test: str = "private") -> str:
    """Return the sentence that ends a run, in which nobody hangs."""
    common = terms(rounds=3, test=test)
    with listening(place, []) as listener:
        runs = joined(place, listener.address, common)
        threads = [Party(run.run) for run in runs.values()]
        server = VendorServer(common, place / "run", listener, patience=20)
        with pytest.raises(IFLError) as told:
            server.run()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("op", "change", "said"),
    [
        ("reply", {"body": WIDE}, "'reply': z has the shape (24, 9), expected (1 to 24, 8)"),
        ("reply", {"body": HUGE}, "bytes, allowed are "),
        ("reply", {"body": NAN}, "z is not finite"),
        ("reply", {"body": b"\x00\xff"}, "refuses 'reply': "),
        ("begin", {"head": {"op": "begin", "round": 0}}, "refuses 'begin': "),
        ("begin", {"head": {"op": "shell", "round": 1}}, "does not do 'shell' for a server"),
        ("guess", {"body": FEW}, "refuses 'guess': z0 has the shape (3, 13), expected (n, 8)"),
        ("guess", {"body": NONE}, "refuses 'guess': z0 is not finite"),
        ("judge", {"body": GUESSES}, "refuses 'judge': k0 holds what is not from 0 to 3"),
        ("judge", {"body": FEW}, "refuses 'judge': z0 has the shape (3, 13), expected (41,)"),
        ("load", {"head": {"op": "load"}}, "refuses 'load': its run is None, expected a line"),
        ("keep", {"head": {"op": "keep", "round": "1"}}, "refuses 'keep': its round is '1'"),
        ("finish", {"head": {"op": "finish"}}, "refuses 'finish': its results are None and"),
        ("finish", {"head": FINISH}, "its accuracy_mean is inf, expected a finite number"),
    ],
)
def test_a_vendor_refuses_what_a_server_tells(
    op: str, change: Mapping[str, Any], said: str, tmp_path: Path, lies: Callable[..., None]
) -> None:
    lies(op, change)
    told = ended(tmp_path)
    assert said in told
    assert "ben" in told


COUNTS = torch.zeros(3, CLASSES, dtype=torch.int64)
MANY = COUNTS.clone()
MANY[:2, 0], MANY[2, 1] = 40, 1


@pytest.mark.parametrize(
    ("test", "op", "change", "said"),
    [
        ("private", "z", {"body": FEW}, "it holds ['z0'], expected is ['z']"),
        ("private", "z", {"body": save({"z": torch.ones(3, 13)})}, "z has the shape (3, 13)"),
        ("private", "z", {"body": save({"z": NAN_Z})}, "z is not finite"),
        ("private", "guess", {"body": b""}, "cannot be read"),
        ("private", "guess", {"body": names(Y[:3])}, "guesses have the shape (3,), expected ("),
        ("public", "score", {"body": names(COUNTS)}, "it counts other guesses than 40 samples"),
        ("public", "score", {"body": names(COUNTS - 1)}, "counts holds what is not from 0 to 40"),
        ("public", "score", {"body": names(MANY)}, "it counts more right guesses than there are"),
        ("private", "z", {"head": {"op": "shell"}}, "answers 'z' with what does not fit: it is"),
    ],
)
def test_a_server_refuses_what_a_vendor_answers(
    test: str,
    op: str,
    change: Mapping[str, Any],
    said: str,
    tmp_path: Path,
    lies: Callable[..., None],
) -> None:
    lies(op, change, answers=True)
    assert said in ended(tmp_path, test)


JUNK: tuple[object, ...] = (
    None,
    -1,
    2**70,
    True,
    1.5,
    inf,
    "",
    "x" * 600,
    "a\nb",
    [],
    [1, 2],
    {"a": 1},
    "0",
)


def test_a_vendor_takes_any_packet_for_what_it_is(tmp_path: Path) -> None:
    """Whatever stands in a head or a body, it is done, or an error of ours says why not."""
    authority = Authority(tmp_path / "certificates")
    authority.issue([SERVER, *NAMES])
    party = joined(tmp_path, "127.0.0.1:1", terms(rounds=3))["ben"].party
    party.folder.mkdir()
    z = save({"k0": torch.zeros(5, DIM), "k2": torch.ones(7, DIM)})
    row = dict.fromkeys(TABLES["rounds"], 1)
    done = {"row": row, "compositions": [["1", "0", 0.5]], "traffic": {"ben": "equal"}}
    honest = [
        Packet({"op": "load", "run": "a", "round": 0, "exact": True}),
        Packet({"op": "begin", "round": 1}),
        Packet({"op": "reply", "turn": 1, "place": ["down", 1, 1, 0]}, pool(z=Z, y=Y)),
        Packet({"op": "keep", "round": 1}),
        Packet({"op": "z"}),
        Packet({"op": "guess"}, z),
        Packet({"op": "judge"}, save({"k0": torch.zeros(41, dtype=torch.int64)})),
        Packet({"op": "traffic"}),
        Packet({"op": "finish", **done}),
    ]
    draws, done_by, said = Random(0), 0, []
    for _ in range(400):
        packet = draws.choice(honest)
        head, body = dict(packet.head), bytearray(packet.body)
        if draws.random() < 0.7:
            name = draws.choice([*head, "else"])
            head[name] = draws.choice([*JUNK, name]) if name != "op" else head["op"]
        for _ in range(draws.choice([0, 0, 1, 3]) if body else 0):
            body[draws.randrange(min(len(body), 200))] = draws.randrange(256)
        try:
            party.answer(Packet(head, bytes(body)))
            done_by += 1
        except IFLError as error:
            said.append(str(error))
    assert done_by > 50
    assert len({*said}) > 30
    assert not [sentence for sentence in said if "\n" in sentence]

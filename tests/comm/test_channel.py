"""Whose random numbers a message draws, and what is counted of a compressed one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import composed, equal, parameters

from ifl.cli.build import assemble
from ifl.comm import wire
from ifl.comm.channel import MULTICAST, Channel
from ifl.comm.codecs import Float32
from ifl.comm.message import Message, encode, sizes
from ifl.comm.quantise import Int4, Int8
from ifl.comm.schema import FUSION_BATCH
from ifl.comm.wire import parse
from ifl.comm.zstd import compress

AGREED = {"B": 16, "d": 6}
Z = torch.rand(16, 6, generator=torch.Generator().manual_seed(0))
SAME = {"z": Z, "y": torch.arange(16) % 10}
FORMS = dict.fromkeys(range(4), FUSION_BATCH)


def channel(seed: int = 0, number: int = 1) -> Channel:
    made = Channel(Int4(rounding="stochastic"), 10, agreed=AGREED, seed=seed)
    made.begin_round(number)
    return made


def up(over: Channel, *clients: int) -> list[torch.Tensor]:
    arrived, refused = over.up({k: Message(**SAME) for k in clients}, FORMS)
    assert not refused
    return [arrived[k]["z"] for k in clients]


def down(over: Channel, *clients: int) -> list[torch.Tensor]:
    arrived = over.down({k: Message(**SAME) for k in clients})
    return [arrived[k]["z"] for k in clients]


def test_every_message_draws_from_a_stream_of_its_own() -> None:
    used = channel()
    drawn = [*up(used, 0, 1), *down(used, 0, 1), *up(used, 0, 1)]
    used.begin_round(2)
    drawn += [*up(used, 0), *up(channel(seed=1), 0)]
    assert len({tuple(z.flatten().tolist()) for z in drawn}) == len(drawn)
    both = used.down({0: Message(z=Z, w=Z)})[0]
    assert not torch.equal(both["z"], both["w"])


@pytest.mark.parametrize("carry", [up, down])
def test_who_else_is_there_shifts_nothing(carry: Callable[..., list[torch.Tensor]]) -> None:
    alone, among = channel(), channel()
    first, second = carry(alone, 2), carry(alone, 2)
    assert torch.equal(carry(among, 0, 1, 2)[2], first[0])
    assert torch.equal(carry(among, 2, 3)[0], second[0])
    resumed = channel(number=5)
    alone.begin_round(5)
    assert torch.equal(carry(alone, 2)[0], carry(resumed, 1, 2)[1])


def test_a_broadcast_is_one_message_to_each_receiver() -> None:
    used, alone = channel(), channel()
    pool = Message(**SAME)
    arrived = used.down({1: pool, 0: pool})
    assert list(arrived) == [1, 0]
    assert arrived[0] is arrived[1]
    down(alone, 0)
    assert torch.equal(down(used, 0)[0], down(alone, 0)[0])


def test_workers_shift_nothing() -> None:
    typed = ["method=fsl", "clients=mlp_homogeneous", "clients.count=3", "batch_size=4"]
    typed += ["local.tau=2", "fusion.dim=16", "method.sync_base=true"]
    typed += ["codec=int4", "codec.rounding=stochastic"]
    found = []
    for workers in (1, 2):
        engine = assemble(composed(*typed, f"runtime.workers={workers}")).engine
        for number in (1, 2):
            engine.round(number)
        found.append([p for me in engine.clients for p in parameters(me.model)])
    assert equal(*found)


def test_the_ledger_counts_compressed_bytes_and_shares_them_out() -> None:
    codec = Int8(labels="packed", zstd=3)
    used = Channel(codec, 10, agreed=AGREED)
    message = Message(z=torch.zeros(16, 6), y=SAME["y"])
    plain = encode(message, codec, 10)
    length = len(compress(plain, 3))
    assert length < len(plain)
    arrived, _ = used.up({0: message}, FORMS)
    assert torch.equal(arrived[0]["y"], SAME["y"])
    used.down({0: message, 1: message})
    rows = used.ledger.close_round()
    assert used.ledger.totals == {"up": length, "down": 2 * length, MULTICAST: length}
    for direction, client in (("up", 0), ("down", 0), ("down", 1)):
        counts = {kind: n for d, k, kind, n in rows if (d, k) == (direction, client)}
        assert counts.keys() == sizes(parse(plain)).keys() == {"z", "y", "header"}
        for kind, count in sizes(parse(plain)).items():
            assert counts[kind] == pytest.approx(count * length / len(plain), abs=1)


def test_the_header_of_a_message_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = wire._entry

    def noted(name: str, *rest: Any) -> wire.Entry:
        read.append(name)
        return real(name, *rest)

    monkeypatch.setattr(wire, "_entry", noted)
    used, pool = Channel(Float32(), 10, agreed=AGREED), Message(**SAME)
    used.up({0: pool, 4: pool}, FORMS)  # one that fits, and one too many
    assert sorted(read) == ["y", "y", "z", "z"]
    used.down({0: pool, 1: pool})
    assert sorted(read[4:]) == ["y", "z"]


def test_compressed_uploads_that_are_none_are_refused_and_counted_as_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = Channel(Float32(zstd=1), 10, agreed=AGREED)
    for sent in (compress(bytes(2**24), 1), b"no frame"):
        monkeypatch.setattr("ifl.comm.channel.compress", lambda *_, sent=sent: sent)
        arrived, refused = used.up({0: Message(**SAME)}, FORMS)
        assert arrived == {}
        assert set(refused) == {0}
        assert used.ledger.close_round() == [("up", 0, "header", len(sent))]

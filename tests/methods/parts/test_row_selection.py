"""Rows that are passed on: which ones, by whose draws, and what they cost."""

from collections import Counter

import pytest
import torch
from conftest import DIM, SMALL, WIDE, Build, clients, equal, parameters, play
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.comm.channel import MULTICAST
from ifl.comm.message import Message
from ifl.errors import ConfigError
from ifl.methods.ifl import IFL, IFLServer
from ifl.methods.parts.replay import Replay
from ifl.methods.parts.row_selection import PICKS, balanced, sample
from ifl.seeding import rng

B = 8  # the batch size of the tiny federation


@settings(deadline=None, max_examples=50)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=30),
    rows=st.integers(1, 35),
    seed=st.integers(0, 9),
)
def test_balanced_takes_of_every_class_the_same_or_all_it_has(
    labels: list[int], rows: int, seed: int
) -> None:
    y = torch.tensor(labels)
    taken = balanced(y, rows, rng(seed, "test")).tolist()
    assert taken == sorted(set(taken))
    assert len(taken) == min(rows, len(labels))
    there, counts = Counter(labels), Counter(labels[place] for place in taken)
    most = max(counts.values())
    assert all(counts[c] >= most - 1 or counts[c] == there[c] for c in there)


@pytest.mark.parametrize("pick", PICKS)
def test_every_row_of_a_class_and_every_class_has_the_same_chances(pick: str) -> None:
    y = torch.tensor([0] * 4 + [1] * 4)
    seen = torch.zeros(8)
    for seed in range(400):
        seen[PICKS[pick](y, 3, rng(seed, "test"))] += 1
    assert torch.allclose(seen / 400, torch.full((8,), 3 / 8), atol=0.1)  # four standard errors


def test_sample_may_leave_a_class_out_and_balanced_may_not() -> None:
    y = torch.tensor([0] * 30 + [1, 2])
    for name, classes in (("sample", {1, 2, 3}), ("balanced", {3})):
        taken = [y[PICKS[name](y, 6, rng(seed, "test"))].unique() for seed in range(50)]
        assert {len(found) for found in taken} == classes
    assert sample(y, 99, rng(0, "test")).tolist() == list(range(32))


@pytest.mark.parametrize("relay", PICKS)
def test_all_clients_are_relayed_the_same_rows_of_the_pool(relay: str) -> None:
    server = IFLServer(relay=relay, relay_rows=5)
    uploads = {k: Message(z=torch.rand(4, 3), y=torch.arange(4)) for k in (1, 0, 2)}
    whole = IFLServer().reply(uploads, rng(0))[0]
    sent = []
    for number in (1, 2, 1):
        replies = server.reply(uploads, rng(0, "server", number))
        assert replies[0] is replies[1] is replies[2]
        assert replies[0]["z"].shape == (5, 3)
        for z, y in zip(replies[0]["z"], replies[0]["y"], strict=True):
            (place,) = (whole["z"] == z).all(dim=1).nonzero().flatten().tolist()
            assert whole["y"][place] == y
        sent.append(replies[0]["z"])
    assert torch.equal(sent[0], sent[2])  # the stream of a round is all that it depends on
    assert not torch.equal(sent[0], sent[1])


def test_as_many_rows_as_the_pool_has_are_the_whole_pool(tiny: Build) -> None:
    whole, relayed = (
        tiny(IFL(), SMALL, WIDE),
        tiny(IFL(relay="balanced", relay_rows=2 * B), SMALL, WIDE),
    )
    assert play(whole, 3) == play(relayed, 3)
    for me, other in zip(clients(whole), clients(relayed), strict=True):
        assert equal(parameters(me.model), parameters(other.model))


@pytest.mark.parametrize("relay", PICKS)
def test_the_downlink_of_a_relay_grows_with_its_receivers_alone(relay: str, tiny: Build) -> None:
    for count in (2, 5):
        replay = Replay(pools=2, steps=3)
        federation = tiny(IFL(relay=relay, relay_rows=10, replay=replay), SMALL, WIDE, count=count)
        rows = play(federation, 3)
        data = {kind: n for _, _, kind, n in rows[-1] if kind in ("z", "y")}
        down = [row for row in rows[-1] if row[0] == "down"]
        assert [n for *_, kind, n in down if kind == "z"] == [10 * 4 * DIM] * count
        assert [n for *_, kind, n in down if kind == "y"] == [10] * count
        assert data == {"z": B * 4 * DIM, "y": B}  # rows are sorted: the last ones are uplink's
        totals = federation.engine.channel.ledger.totals
        assert totals["down"] == count * totals[MULTICAST]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"relay": "some"}, "method.relay must be one of all, sample, balanced, got some"),
        ({"relay": "sample"}, "method.relay_rows goes with .*relay=sample and .*relay_rows=null"),
        ({"relay_rows": 3}, "method.relay_rows goes with .*relay=all and method.relay_rows=3"),
        ({"relay": "sample", "relay_rows": 0}, "method.relay_rows must be a whole number >= 1"),
        (
            {"relay": "balanced", "relay_rows": 8, "stage2": "per_client"},
            "method.stage2=per_client needs each client's pair whole, got method.relay=balanced",
        ),
    ],
)
def test_wrong_relays_are_sentences(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        IFL(**wrong)  # type: ignore[arg-type]

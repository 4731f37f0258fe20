from math import prod

import pytest
import torch
from every_codec import CODECS
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.comm.channel import Channel
from ifl.comm.codecs import Float32
from ifl.comm.message import Message, decode, encode, label_type, sizes
from ifl.comm.wire import parse
from ifl.errors import MessageError


@pytest.mark.parametrize(
    ("classes", "size"), [(2, 1), (10, 1), (256, 1), (257, 2), (65536, 2), (65537, 4)]
)
def test_labels_travel_in_the_smallest_type_that_holds_the_classes(classes: int, size: int) -> None:
    labels = torch.tensor([0, classes - 1, 1])
    payload = encode(Message(y=labels), Float32(), classes)
    assert sizes(parse(payload))["y"] == 3 * size
    assert label_type(classes).itemsize == size
    arrived = decode(parse(payload), Float32())["y"]
    assert arrived.dtype == torch.int64
    assert torch.equal(arrived, labels)


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    names=st.sets(st.sampled_from(["z", "grad", "params.0", "params.12"]), min_size=1),
    seed=st.integers(0, 99),
)
def test_what_arrives_is_what_was_sent_and_every_byte_has_a_kind(
    shape: list[int], names: set[str], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sent = {name: torch.randn(shape, generator=generator) for name in sorted(names)}
    payload = encode(Message(**sent, samples=torch.tensor(7)), Float32(), 10)
    arrived = decode(parse(payload), Float32())
    assert set(arrived.tensors) == {*names, "samples"}
    assert all(torch.equal(arrived.tensors[name], value) for name, value in sent.items())
    assert arrived["samples"].dtype == torch.int64
    counts = sizes(parse(payload))
    assert sum(counts.values()) == len(payload)
    values = next(iter(sent.values())).numel()
    assert counts.get("params", 0) == 4 * values * sum(n.startswith("params.") for n in names)


def test_what_is_not_strided_in_order_travels_too() -> None:
    z = torch.arange(12.0).view(3, 4).t()
    assert torch.equal(decode(parse(encode(Message(z=z), Float32(), 10)), Float32())["z"], z)


@settings(deadline=None)
@given(
    codec=st.sampled_from(sorted(CODECS)),
    shape=st.lists(st.integers(0, 5), max_size=4),
    data=st.data(),
)
def test_every_codec_yaml_keeps_shapes_and_gives_finite_float32(
    codec: str, shape: list[int], data: st.DataObject
) -> None:
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = data.draw(st.lists(finite, min_size=prod(shape), max_size=prod(shape)))
    z = torch.tensor(values, dtype=torch.float32).view(shape)
    arrived = decode(parse(encode(Message(z=z), CODECS[codec], 10)), CODECS[codec])["z"]
    assert arrived.dtype == torch.float32
    assert arrived.shape == z.shape
    assert arrived.isfinite().all()
    if codec == "float32":
        assert torch.equal(arrived, z)


def test_bytes_that_are_no_message_raise_one_error() -> None:
    payload = encode(Message(z=torch.ones(3)), Float32(), 10)
    for wrong in (b"", payload[:-1], payload[:5], b"\xff" * 40):
        with pytest.raises(MessageError):
            parse(wrong)


def test_a_missing_tensor_is_a_key_error_and_groups_lose_their_prefix() -> None:
    message = Message(z=torch.ones(1), **{"params.0": torch.zeros(1)})
    assert "z" in message
    assert [name for name, _ in message.group("params")] == ["0"]
    with pytest.raises(KeyError, match="the message has no 'y'"):
        _ = message["y"]
    with pytest.raises(AttributeError):  # names of tensors are no attributes, which mypy knows
        _ = message.z  # type: ignore[attr-defined]


def test_a_broadcast_is_parsed_once_and_counted_per_receiver() -> None:
    channel = Channel(Float32(), classes=10)
    pool = Message(z=torch.ones(2, 3), y=torch.tensor([1, 2]))
    arrived = channel.down(dict.fromkeys(range(3), pool))
    assert arrived[0] is arrived[2]
    assert arrived[0]["z"].data_ptr() != pool["z"].data_ptr()
    one = len(encode(pool, Float32(), 10))
    assert channel.ledger.totals == {"up": 0, "down": 3 * one, "down, multicast": one}
    rows = channel.ledger.close_round()
    assert [row for row in rows if row[2] == "z"] == [("down", k, "z", 24) for k in range(3)]
    assert channel.ledger.close_round() == []
    assert channel.ledger.totals["down"] == 3 * one
    channel.down({k: Message(z=torch.ones(2, 3), y=torch.tensor([1, k])) for k in range(2)})
    assert channel.ledger.totals == {"up": 0, "down": 5 * one, "down, multicast": 3 * one}

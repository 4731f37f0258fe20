"""Uploads that no client of ours would send: any bytes, and messages that are not expected."""

import json
import tracemalloc
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import pytest
import torch
from every_codec import CODECS
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from ifl.comm.channel import Channel
from ifl.comm.codecs import Codec, Float32
from ifl.comm.message import Message, decode, encode, sizes
from ifl.comm.schema import FUSION_BATCH, Expected, Form, floats, labels
from ifl.comm.wire import HEADER_LIMIT, parse
from ifl.errors import MessageError, NotFiniteError

AGREED = {"B": 3, "d": 2, "classes": 10}
GOOD = Message(z=torch.arange(6.0).view(3, 2), y=torch.tensor([9, 0, 4]))
BYTES = encode(GOOD, Float32(), 10)
PARAMS: Form = {"samples": Expected((), torch.int64, 1, 8), "params.0": floats(2, 2)}


def receive(payload: bytes, codec: Codec = Float32(), form: Form = FUSION_BATCH) -> Message:  # noqa: B008
    return decode(parse(payload), codec, form, AGREED)


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """Bytes with this header, which is text, or bytes, or what is written as JSON."""
    text = header if isinstance(header, str | bytes) else json.dumps(header, separators=(",", ":"))
    head = text.encode() if isinstance(text, str) else text
    return (len(head) if length is None else length).to_bytes(8, "little") + head + data


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def with_(**other: torch.Tensor) -> bytes:
    return encode(Message(**{**GOOD.tensors, **other}), Float32(), 10)


def test_what_fits_arrives_as_it_was_sent() -> None:
    arrived = receive(BYTES)
    assert torch.equal(arrived["z"], GOOD["z"])
    assert torch.equal(arrived["y"], GOOD["y"])


Z, Y = entry("F32", [1], 0, 4), entry("U8", [2], 4, 6)
BROKEN = {
    "nothing": (b"", "0 bytes are cut off"),
    "a torn length": (BYTES[:7], "7 bytes are cut off"),
    "a torn header": (BYTES[:40], "cut off within the header"),
    "torn data": (BYTES[:-1], "its tensors end at byte"),
    "bytes left over": (BYTES + b"\0", "its tensors end at byte"),
    "a header longer than the bytes": (raw("{}", length=2**63), "cut off within the header"),
    "a header beyond the limit": (raw(b" " * (HEADER_LIMIT + 1)), "its header has 262145 bytes"),
    "no JSON": (raw("z"), "cannot be read from byte 8"),
    "no UTF-8": (raw(b'{"\xff\xfe":{}}'), "cannot be read from byte 8"),
    "deep JSON": (raw("[" * 100_000), "cannot be read from byte 8"),
    "deep objects": (raw('{"a":' * 50_000), "cannot be read from byte 8"),
    "no object": (raw([1, 2]), "cannot be read from byte 8"),
    "an entry of another shape": (raw({"z": [1]}), "cannot be read from byte 8"),
    "an unknown field": (raw({"z": Z | {"more": 1}}, b"1234"), "cannot be read from byte 8"),
    "metadata": (raw({"__metadata__": {"a": "b"}}), "cannot be read from byte 8"),
    "an escape in a name": (raw({"\u00e4": Z}, b"1234"), "cannot be read from byte 8"),
    "a long name": (raw({"z" * 99: Z}, b"1234"), "cannot be read from byte 8"),
    "no end": (raw(json.dumps({"z": Z}, separators=(",", ":"))[:-1], b"1234"), "cannot be read"),
    "an end too early": (raw({"z": Z}, b"1234").replace(b"}}", b"}{}"), "cut off|cannot be read"),
    "a negative size": (raw({"z": entry("F32", [-1], 0, 4)}, b"1234"), "cannot be read"),
    "a broken size": (raw({"z": Z | {"shape": [0.5]}}, b"1234"), "cannot be read"),
    "too many dimensions": (raw({"z": entry("F32", [1] * 9, 0, 4)}, b"1234"), "cannot be read"),
    "an endless number": (raw({"z": entry("F32", [10**4000], 0, 4)}, b"1234"), "cannot be read"),
    "an unknown type": (raw({"z": entry("F7", [1], 0, 4)}, b"1234"), "of an unknown type, F7"),
    "booleans": (raw({"z": entry("BOOL", [4], 0, 4)}, b"1234"), "of an unknown type, BOOL"),
    "a name twice": (
        raw('{"z":%s,"z":%s}' % ((json.dumps(entry("U8", [], 0, 1), separators=(",", ":")),) * 2)),
        "names z twice",
    ),
    "a gap": (raw({"z": Z, "y": entry("U8", [2], 5, 7)}, b"1234567"), "y begins at byte"),
    "an overlap": (raw({"z": Z, "y": entry("U8", [2], 3, 5)}, b"12345"), "y begins at byte"),
    "offsets backwards": (raw({"z": entry("F32", [1], 0, 4), "y": entry("U8", [2], 4, 2)}, b"1234"),
                          "y declares the shape"),
    "fewer bytes than the shape": (raw({"z": entry("F32", [2], 0, 4)}, b"1234"), "z declares the"),
    "a huge shape": (raw({"z": entry("F32", [2**40, 2**17], 0, 4)}, b"1234"), "z declares the"),
    "a shape that overflows to 4 bytes": (
        raw({"z": entry("U8", [2**32, 2**32 + 1], 0, 4)}, b"1234"), "z declares the shape"
    ),
    "an empty one that overflows": (raw({"z": entry("U8", [0, 10**17, 10**17], 0, 0)}), "declares"),
    "offsets beyond the bytes": (raw({"z": entry("F32", [2**30], 0, 2**32)}), "its tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_bytes_that_are_no_message_raise_one_error_with_the_reason(name: str) -> None:
    payload, reason = BROKEN[name]
    with pytest.raises(MessageError, match=reason):
        parse(payload)


NAN, INF = float("nan"), float("inf")
UNFIT: Mapping[str, tuple[bytes, str]] = {
    "an empty message": (save({}), "it holds nothing, expected is y, z"),
    "an unknown kind": (with_(secret=torch.ones(1)), "it holds secret, y, z, expected is y, z"),
    "many unknown kinds": (with_(**{f"a{i}": torch.ones(1) for i in range(9)}), r"a3, a4, \.\.\.,"),
    "a kind that is missing": (encode(Message(z=GOOD["z"]), Float32(), 10), "it holds z, expected"),
    "another message": (encode(Message(samples=GOOD["y"]), Float32(), 10), "it holds samples"),
    "a name of Python's": (with_(self=torch.ones(1)), "it holds self, y, z"),
    "another d": (with_(z=torch.ones(3, 4)), r"z has the shape \(3, 4\), expected \(3, 2\)"),
    "more rows": (with_(z=torch.ones(4, 2)), r"z has the shape \(4, 2\), expected \(3, 2\)"),
    "no rows": (with_(z=torch.ones(0, 2)), r"z has the shape \(0, 2\), expected \(3, 2\)"),
    "no matrix": (with_(z=torch.ones(6)), r"z has the shape \(6,\), expected \(3, 2\)"),
    "fewer labels": (with_(y=GOOD["y"][:2]), r"y has the shape \(2,\), expected \(3,\)"),
    "a label too large": (with_(y=torch.tensor([0, 10, 3])), "y holds 0 to 10, allowed are 0 to 9"),
    "a label below 0": (with_(y=torch.tensor([0, -1, 3])), "y holds 0 to 255, allowed are 0 to 9"),
    "labels as floats": (save({**GOOD.tensors, "y": torch.ones(3)}), "y is not of unsigned"),
    "labels as int64": (save(GOOD.tensors), "y is not of unsigned"),
    "parts of labels": (save({"z": GOOD["z"], "y:a": torch.ones(3)}), "y is not of unsigned"),
    "z as integers": (with_(z=torch.ones(3, 2, dtype=torch.int64)), "z is of torch.int64"),
    "z as float64": (save({"z": GOOD["z"].double(), "y": GOOD["y"].byte()}), "is of torch.float64"),
    "z without its part": (save({"z:a": GOOD["z"], "y": GOOD["y"].byte()}), r"z cannot .*: Key"),
    "a NaN": (with_(z=torch.tensor([[0, NAN], [0, 0], [0, 0]])), "z is not finite"),
    "infinities": (with_(z=torch.tensor([[INF, -INF], [0, 0], [0, 0]])), "z is not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_messages_that_do_not_fit_raise_the_same_error_with_the_reason(name: str) -> None:
    payload, reason = UNFIT[name]
    assert sum(sizes(parse(payload)).values()) == len(payload)
    with pytest.raises(MessageError, match=reason):
        receive(payload)


def test_integers_have_a_range_too_and_large_finite_floats_are_finite() -> None:
    def packed(samples: int, value: float = 0) -> bytes:
        sent = {"samples": torch.tensor(samples), "params.0": torch.full((2, 2), float(value))}
        return encode(Message(**sent), Float32(), 10)

    read = partial(receive, form=PARAMS)
    assert int(read(packed(7))["samples"]) == 7
    for wrong in (0, -(2**63), 8, 2**63 - 1):
        with pytest.raises(MessageError, match="samples holds"):
            read(packed(wrong))
    assert read(packed(1, 3e38)).tensors["params.0"][0, 0] == pytest.approx(3e38)
    with pytest.raises(NotFiniteError, match="params.0 is not finite"):
        read(packed(1, -INF))


class Picky(Float32):
    """A codec with two parts that fails in ways of its own."""

    def decode(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return parts[""] * [1.0, 2.0][int(parts["scale"])]


@pytest.mark.parametrize("scale", [torch.tensor(7), torch.ones(2), torch.tensor(INF)])
def test_whatever_a_codec_raises_on_parts_it_never_wrote_is_the_same_error(
    scale: torch.Tensor,
) -> None:
    payload = save({"z": GOOD["z"], "z:scale": scale, "y": GOOD["y"].byte()})
    with pytest.raises(MessageError, match="z cannot be decoded: "):
        receive(payload, Picky())
    assert sizes(parse(payload))["z"] == 24 + scale.nbytes


@settings(deadline=None, max_examples=300)
@given(codec=st.sampled_from(sorted(CODECS)), data=st.data())
def test_any_change_of_a_message_is_refused_or_still_fits(codec: str, data: st.DataObject) -> None:
    payload = bytearray(encode(GOOD, CODECS[codec], 10))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload)))
        until = data.draw(st.one_of(st.just(at), st.integers(at, len(payload))))
        snippets = [b"", b"0", b"99999999", b",", b"}", b'"', b"[", b"F32", b"U8", b"\xff"]
        new = st.one_of(st.sampled_from(snippets), st.binary(max_size=9))
        payload[at:until] = data.draw(new)
    held: bytes = bytes(payload)
    try:
        arrived = receive(held, codec=CODECS[codec])
    except MessageError:
        arrived = GOOD
    assert arrived["z"].shape == (3, 2)
    assert arrived["z"].dtype == torch.float32
    assert arrived["z"].isfinite().all()
    assert arrived["y"].tolist() == [y for y in arrived["y"].tolist() if 0 <= y < 10]
    assert len(arrived["y"]) == 3
    with suppress(MessageError):
        assert sum(sizes(parse(held)).values()) == len(held)


@settings(deadline=None)
@given(codec=st.sampled_from(sorted(CODECS)), payload=st.binary(max_size=200))
def test_any_bytes_at_all_are_refused(codec: str, payload: bytes) -> None:
    with pytest.raises(MessageError):
        receive(payload, codec=CODECS[codec])


@given(rows=st.integers(0, 5), dim=st.integers(1, 4), classes=st.sampled_from([2, 300, 70000]))
@settings(deadline=None)
def test_every_message_that_fits_its_form_arrives(rows: int, dim: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    z = torch.randn(rows, dim, generator=generator)
    y = torch.randint(0, classes, (rows,), generator=generator)
    form = {"z": floats(rows, "d"), "y": labels(rows)}
    payload = encode(Message(z=z, y=y), Float32(), classes)
    arrived = decode(parse(payload), Float32(), form, {"d": dim, "classes": classes})
    assert torch.equal(arrived["z"], z)
    assert torch.equal(arrived["y"], y)


def peak(payload: bytes, form: Form | None = None) -> int:
    """Most bytes that Python held while a payload was decoded, the tensors' copies included."""
    tracemalloc.start()
    with suppress(MessageError):
        decode(parse(payload), Float32(), form, AGREED)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize(
    "payload",
    [
        raw({"z": entry("F32", [2**30, 2**7], 0, 2**39)}, b"\0" * 1000),
        raw({"y": entry("U8", [2**39], 0, 2**39)}, b"\0" * 1000),
        raw({f"z.{i}": entry("F32", [2**30], i * 2**32, (i + 1) * 2**32) for i in range(99)}),
        raw("[" * 200_000),
        raw("[[]," * 50_000),
        raw({"z": {"shape": [0] * 100_000}}),
        raw("{}", b"", length=2**62),
        encode(Message(z=torch.ones(100_000)), Float32(), 10),
        encode(Message(y=torch.ones(100_000, dtype=torch.int64)), Float32(), 10),
    ],
)
def test_nothing_is_allocated_for_what_is_only_declared(payload: bytes) -> None:
    assert peak(payload) < 3 * len(payload) + 20_000
    assert peak(payload, FUSION_BATCH) < 3 * len(payload) + 20_000


def test_a_bad_upload_is_named_and_counted_and_the_others_arrive() -> None:
    channel = Channel(Float32(), 10, agreed=AGREED)
    wide = Message(z=torch.ones(3, 5), y=GOOD["y"])
    forms = dict.fromkeys((0, 1), FUSION_BATCH)
    arrived, refused = channel.up({0: GOOD, 1: wide, 2: GOOD}, forms)
    assert set(arrived) == {0}
    assert str(refused[1]) == "z has the shape (3, 5), expected (3, 2)"
    assert str(refused[2]) == "it is one upload too many"
    lengths = [len(encode(message, Float32(), 10)) for message in (GOOD, wide, GOOD)]
    assert channel.ledger.totals["up"] == sum(lengths)
    rows = channel.ledger.close_round()
    assert [sum(row[3] for row in rows if row[1] == k) for k in range(3)] == lengths


def test_what_is_no_message_counts_as_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifl.comm.channel.encode", lambda *_: BYTES[:-1])
    channel = Channel(Float32(), 10, agreed=AGREED)
    arrived, refused = channel.up({3: GOOD}, {3: FUSION_BATCH})
    assert arrived == {}
    assert set(refused) == {3}
    assert channel.ledger.close_round() == [("up", 3, "header", len(BYTES) - 1)]

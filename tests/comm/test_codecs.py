"""The contract of every codec, and the types that hold one value each."""

from collections.abc import Sequence
from math import ceil, prod

import pytest
import torch
from conftest import CLASSES, DIM, SMALL, WIDE, Build, clients, composed, equal, options, play
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.cli.build import make
from ifl.client.client import Client
from ifl.comm.codecs import BFloat16, Codec, Envelope, Float16
from ifl.comm.message import Message, decode, encode, sizes
from ifl.comm.schema import FUSION_BATCH
from ifl.comm.wire import parse
from ifl.errors import ConfigError, MessageError
from ifl.federation.participation import Participation
from ifl.methods.fl import FL, FLServer
from ifl.methods.fsl import FSL, FSLServer
from ifl.methods.parts.averaging import state
from ifl.seeding import rng

TYPED = [*options("codec"), "int8 codec.rounding=stochastic", "int4 codec.rounding=stochastic"]
TYPED += ["int8 codec.per=tensor", "int4 codec.per=tensor codec.rounding=stochastic"]
CODECS: dict[str, Codec] = {
    typed: make(composed(*f"codec={typed}".split()).codec) for typed in TYPED
}
AGREED = {"B": 3, "d": 2, "classes": 10}


def passed(codec: Codec, tensor: torch.Tensor, draw: int = 0) -> torch.Tensor:
    """What arrives of a tensor, bytes and all."""
    sent = encode(Message(z=tensor), codec, 10, lambda name: rng(draw, name))
    return decode(parse(sent), codec)["z"]


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Any finite tensors, those with few large values and without negative ones among them."""
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    kind = draw(st.sampled_from([finite, st.floats(-1, 1, width=32), st.floats(0, 1, width=32)]))
    values = draw(st.lists(kind, min_size=prod(shape), max_size=prod(shape)))
    return torch.tensor(values, dtype=torch.float32).view(shape)


@pytest.mark.parametrize("typed", TYPED)
@settings(deadline=None, max_examples=40)
@given(tensor=tensors())
def test_what_was_decoded_passes_a_second_time_as_it_is(typed: str, tensor: torch.Tensor) -> None:
    once = passed(CODECS[typed], tensor)
    assert once.dtype == torch.float32
    assert once.shape == tensor.shape
    assert once.isfinite().all()
    assert torch.equal(passed(CODECS[typed], once, draw=1), once)


@pytest.mark.parametrize("typed", TYPED)
def test_so_do_large_matrices_bit_for_bit(typed: str) -> None:
    generator = torch.Generator().manual_seed(3)
    scales = 10.0 ** torch.randint(-20, 20, (300, 1), generator=generator)
    matrix = torch.randn(300, 257, generator=generator) * scales
    for tensor in (matrix, matrix.relu(), torch.maximum(matrix, -scales / 50)):
        once = passed(CODECS[typed], tensor)
        for draw in (1, 2):
            assert torch.equal(passed(CODECS[typed], once, draw), once)


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 2, 3)])
def test_what_is_not_finite_is_not_finite_when_decoded(
    typed: str, value: float, shape: tuple[int, ...]
) -> None:
    tensor = torch.linspace(0.5, 1, prod(shape)).view(shape)
    tensor.view(-1)[prod(shape) // 2] = value
    assert not passed(CODECS[typed], tensor).isfinite().all()


BYTES = {
    "float32": lambda r, c: 4 * r * c,
    "float16": lambda r, c: 2 * r * c,
    "bfloat16": lambda r, c: 2 * r * c,
    "int8": lambda r, c: r * c + 4 * r,
    "int8 codec.per=tensor": lambda r, c: r * c + 4,
    "int4": lambda r, c: r * ceil(c / 2) + 4 * r,
    "int4 codec.per=tensor codec.rounding=stochastic": lambda r, c: ceil(r * c / 2) + 4,
    "topk": lambda r, c: r * ceil(c / 10) * (5 if c <= 256 else 6 if c <= 65536 else 8),
}
BYTES |= {f"{name} codec.rounding=stochastic": BYTES[name] for name in ("int8", "int4")}


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("shape", [(32, 432), (5, 7), (1, 1), (3, 256), (3, 257), (2, 70001)])
def test_bytes_are_the_closed_form(typed: str, shape: tuple[int, int]) -> None:
    payload = encode(Message(z=torch.rand(shape)), CODECS[typed], 10, lambda name: rng(0, name))
    counts = sizes(parse(payload))
    assert counts["z"] == BYTES[typed](*shape)
    assert counts["z"] + counts["header"] == len(payload)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_change_of_a_message_is_refused_or_still_fits(data: st.DataObject) -> None:
    codec = CODECS[data.draw(st.sampled_from(TYPED))]
    good = Message(z=torch.tensor([[0.0, 1], [2, 3], [-4, 5]]), y=torch.tensor([9, 0, 4]))
    payload = bytearray(encode(good, codec, 10, lambda name: rng(0, name)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload)))
        until = data.draw(st.one_of(st.just(at), st.integers(at, min(at + 9, len(payload)))))
        snippets = [b"", b"0", b"99999999", b",", b"}", b'"', b"[", b"F32", b"U8", b"\xff"]
        payload[at:until] = data.draw(st.one_of(st.sampled_from(snippets), st.binary(max_size=9)))
    try:
        arrived = decode(parse(bytes(payload)), codec, FUSION_BATCH, AGREED)
    except MessageError:
        return
    assert arrived["z"].shape == (3, 2)
    assert arrived["z"].dtype == torch.float32
    assert arrived["z"].isfinite().all()
    assert len(arrived["y"]) == 3
    assert all(0 <= y < 10 for y in arrived["y"].tolist())


@pytest.mark.parametrize(
    ("codec", "bits", "least", "most"),
    [(Float16(), 11, -14, 65504), (BFloat16(), 8, -126, 3.38e38)],
)
def test_halves_are_off_by_half_of_their_last_bit(
    codec: Codec, bits: int, least: int, most: float
) -> None:
    x = torch.cat([torch.linspace(1, 2, 4097)[:-1] * 2.0**e for e in (least, 0, 15)])
    error = (passed(codec, x).double() - x.double()).abs() / x.double()
    assert error.max() <= 2.0**-bits
    assert error.max() > 0.98 * 2.0**-bits
    far = passed(codec, torch.tensor([3.4e38, -3.4e38, most]))
    largest = float(far[0])
    assert far.tolist() == pytest.approx([largest, -largest, most], rel=2.0**-8)
    assert most <= largest < 3.4e38


def test_labels_travel_as_the_codec_says() -> None:
    y = torch.arange(32) % 10
    for labels, size in (("bytes", 32), ("packed", 16)):
        codec = Float16(labels=labels)
        payload = encode(Message(y=y), codec, 10)
        assert sizes(parse(payload))["y"] == size
        assert torch.equal(decode(parse(payload), codec, None, {"classes": 10})["y"], y)
    with pytest.raises(ConfigError, match="codec.labels must be one of bytes, packed, got bits"):
        Envelope(labels="bits")


class Away(Participation):
    """Client 2 is away in round 2."""

    def present(self, clients: Sequence[Client], seed: int, number: int) -> list[Client]:
        return [c for c in clients if (c.number, number) != (2, 2)]


@pytest.mark.parametrize("typed", TYPED)
def test_whoever_gets_an_average_holds_the_same_as_the_server(typed: str, tiny: Build) -> None:
    federation = tiny(FL(tau=1), WIDE, count=3, participation=Away())
    engine = federation.engine
    engine.channel.codec = CODECS[typed]
    play(federation, 2)
    server = engine.server
    assert isinstance(server, FLServer)
    held = [state(me.model) for me in clients(federation)]
    assert equal(held[0], state(server.model))
    assert equal(held[1], state(server.model))
    assert not equal(held[2], state(server.model))
    engine.channel.begin_round(3)
    late = engine.channel.down(server.welcome([0, 1, 2]))
    assert set(late) == {2}
    assert equal([late[2].tensors[f"params.{i}"] for i in range(len(held[0]))], held[0])


def test_so_does_the_server_of_split_learning_with_the_base_blocks(tiny: Build) -> None:
    federation = tiny(FSL(tau=1, sync_base=True), WIDE, count=2)
    federation.engine.channel.codec = CODECS["int4 codec.rounding=stochastic"]
    play(federation, 2)
    server = federation.engine.server
    assert isinstance(server, FSLServer)
    assert server.bases is not None
    for me in clients(federation):
        assert equal(state(me.model.base), state(server.bases.module))


@pytest.mark.parametrize("typed", [t for t in TYPED if "tensor" not in t])
def test_a_pool_loses_nothing_a_second_time(typed: str, tiny: Build) -> None:
    channel = tiny(FL(), SMALL).engine.channel
    channel.codec = CODECS[typed]
    z = [torch.randn(8, DIM).relu(), torch.randn(8, DIM)]
    y = torch.arange(8) % CLASSES
    sent = {k: Message(z=z[k], y=y) for k in (0, 1)}
    arrived, refused = channel.up(sent, dict.fromkeys(sent, FUSION_BATCH))
    assert not refused
    pool = Message(z=torch.cat([arrived[k]["z"] for k in (0, 1)]), y=torch.cat([y, y]))
    got = channel.down({0: pool, 1: pool})
    assert torch.equal(got[1]["z"], pool["z"])
    assert torch.equal(got[1]["y"], pool["y"])

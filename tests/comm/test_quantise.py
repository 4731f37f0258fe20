"""int8 and int4 against plain loops, and their errors against bounds derived by hand."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.comm.codecs import shape_part
from ifl.comm.quantise import DRAWS, Int4, Int8
from ifl.seeding import rng

KINDS = {8: Int8, 4: Int4}
SLACK = 1e-4  # of a step, for float32: 255 levels, four operations of 2^-24 each


def grid(most: float, signed: bool, bits: int) -> list[float]:
    """The levels of a row, by the docstring."""
    if signed:
        half = 2 ** (bits - 1) - 1
        return [most * i / half for i in range(-half, half + 1)]
    return [most * i / (2**bits - 1) for i in range(2**bits)]


def levels_by_hand(parts: dict[str, torch.Tensor], bits: int, columns: int) -> list[list[int]]:
    """The levels read from the bytes, first value in the high bits."""
    found = []
    for row in parts[""].tolist():
        values = [v for byte in row for v in ([byte] if bits == 8 else [byte // 16, byte % 16])]
        assert values[columns:] == [0] * (len(values) - columns)
        found.append(values[:columns])
    return found


@pytest.mark.parametrize("bits", KINDS)
@settings(deadline=None, max_examples=60)
@given(rows=st.integers(1, 4), columns=st.integers(1, 7), data=st.data())
def test_each_value_becomes_its_nearest_level(
    bits: int, rows: int, columns: int, data: st.DataObject
) -> None:
    low = data.draw(st.sampled_from([-8.0, 0.0]))
    value = st.floats(low, 8, width=32)
    x = [[data.draw(value) for _ in range(columns)] for _ in range(rows)]
    parts = KINDS[bits]().encode(torch.tensor(x))
    decoded = KINDS[bits]().decode(parts).tolist()
    for r, indices in enumerate(levels_by_hand(parts, bits, columns)):
        most, least, scale = max(map(abs, x[r])), min(x[r]), float(parts["scale"][r])
        levels = grid(most, scale < 0, bits)
        if most < 2.0**-100:
            assert decoded[r] == [0] * columns
            continue
        step = levels[1] - levels[0]
        assert abs(scale) == most
        coarse = most / (2 ** (bits - 1) - 1)
        if least < -(0.5 + SLACK) * coarse:
            assert scale < 0
        if least > -(0.5 - SLACK) * coarse:
            assert scale > 0
        for c, index in enumerate(indices):
            if scale > 0 > x[r][c]:
                assert index == 0
            else:
                assert abs(x[r][c] - levels[index]) <= (0.5 + SLACK) * step
            assert abs(decoded[r][c] - levels[index]) <= SLACK * step


@pytest.mark.parametrize("bits", KINDS)
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_errors_stay_within_half_a_step_or_a_step(bits: int, rounding: str) -> None:
    generator = torch.Generator().manual_seed(5)
    signed = torch.randn(64, 433, generator=generator)
    bound = 0.5 + SLACK if rounding == "nearest" else 1 + SLACK
    for x in (signed, signed.relu()):
        codec = KINDS[bits](rounding=rounding)
        decoded = codec.decode(codec.encode(x, lambda: rng(0, "draws")))
        most = x.abs().amax(dim=1, keepdim=True).double()
        step = most / (2 ** (bits - 1) - 1 if x is signed else 2**bits - 1)
        worst = float(((decoded.double() - x.double()).abs() / step).max())
        assert worst <= bound
        assert worst > 0.95 * bound
        assert (decoded[x == 0] == 0).all()


@pytest.mark.parametrize("bits", KINDS)
@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_rounding_at_random_is_right_in_the_mean(bits: int, low: float) -> None:
    n = 40_000
    row = torch.tensor([low, 1.0, 0.0, 0.1, 0.333, 0.5001, 0.77, 0.9999])
    codec = KINDS[bits](rounding="stochastic")
    decoded = codec.decode(codec.encode(row.repeat(n, 1), lambda: rng(1, "draws"))).double()
    step = 1 / (2 ** (bits - 1) - 1 if low < 0 else 2**bits - 1)
    # One draw has an SD of at most step / 2, their mean step / (2 sqrt(n)); five of these.
    tolerance = step * (5 / (2 * n**0.5) + 1 / DRAWS / 2 + SLACK)
    assert ((decoded.mean(dim=0) - row.double()).abs() <= tolerance).all()
    assert (decoded[:, :3] == row[:3]).all()  # what is on the grid does not move
    assert len(decoded[:, 4].unique()) == 2
    nearest = KINDS[bits]().decode(KINDS[bits]().encode(row[None]))
    assert ((nearest[0].double() - row.double()).abs() > tolerance).any()


@pytest.mark.parametrize("bits", KINDS)
def test_so_it_is_where_negative_values_may_all_become_0(bits: int) -> None:
    n, step = 40_000, 1 / (2 ** (bits - 1) - 1)
    row = torch.tensor([-0.3 * step, -0.1 * step, 1.0, 0.333, 0.5001])
    codec = KINDS[bits](rounding="stochastic")
    parts = codec.encode(row.repeat(n, 1), lambda: rng(2, "draws"))
    decoded = codec.decode(parts)
    finer = float((parts["scale"] > 0).double().mean())
    assert finer == pytest.approx(0.7 * 0.9, abs=5 * 0.5 / n**0.5)
    tolerance = step * (5 / (2 * n**0.5) + 1 / DRAWS / 2 + SLACK)
    assert ((decoded.double().mean(dim=0) - row.double()).abs() <= tolerance).all()
    again = codec.decode(codec.encode(decoded, lambda: rng(3, "draws")))
    assert torch.equal(again, decoded)


def test_random_rounding_follows_its_stream_and_needs_one() -> None:
    codec, x = Int4(rounding="stochastic"), torch.rand(9, 9)
    first, again, other = (codec.encode(x, partial(rng, s, "a"))[""] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="needs a stream of random numbers"):
        codec.encode(x)


def test_a_grid_without_negative_values_is_twice_as_fine() -> None:
    x = torch.randn(50, 400, generator=torch.Generator().manual_seed(0)).relu()
    for codec, ratio in ((Int8(), 255 / 127), (Int4(), 15 / 7)):
        errors = []
        for tensor in (x, torch.cat((x, -x.amax(1, keepdim=True)), dim=1)):
            decoded = codec.decode(codec.encode(tensor))[:, :400]
            errors.append(float((decoded - x)[x > 0].square().mean().sqrt()))
        assert errors[1] / errors[0] == pytest.approx(ratio, rel=0.05)


def test_rows_have_scales_of_their_own_and_vectors_have_one() -> None:
    x = torch.tensor([[1e-6, -2e-6], [1.0, 0.5]])
    assert Int8().encode(x)["scale"].tolist() == pytest.approx([-2e-6, 1.0])
    assert Int8(per="tensor").encode(x)["scale"].tolist() == [1.0]  # -2e-6 becomes 0
    for shape, scales in (((), 1), ((7,), 1), ((3, 2), 3), ((4, 1, 3, 3), 4), ((0, 5), 0)):
        for codec in (Int8(), Int4()):
            assert codec.encode(torch.ones(shape))["scale"].shape == (scales,)
            assert torch.equal(codec.decode(codec.encode(torch.ones(shape))), torch.ones(shape))


GOOD = Int4().encode(torch.tensor([[1.0, -1, 0], [3, 2, 1]]))
U8, F32 = torch.uint8, torch.float32


@pytest.mark.parametrize(
    "wrong",
    [
        {"more": torch.ones(1)},
        {"": GOOD[""].to(torch.int8)},
        {"scale": GOOD["scale"].double()},
        {"scale": torch.ones(3)},
        {"scale": torch.ones(2, 1)},
        {"": torch.tensor([[0x11, 0x11], [0, 0]], dtype=U8)},  # bits behind the third value
        {"": torch.tensor([[0xFF, 0x10], [0, 0]], dtype=U8)},  # 15 where the grid ends at 14
        {"": torch.zeros(2, 3, dtype=U8)},
        {"": torch.zeros(4, dtype=U8)},
        {"shape": shape_part((2, 5))},
        {"shape": shape_part((3, 3))},
        {"shape": shape_part((2, 10**12))},
        {"shape": torch.zeros(2, 3, dtype=U8)},
        {"shape": torch.zeros(0, 2, 3)},
        {"shape": torch.zeros((), dtype=U8)},
    ],
)
def test_parts_that_were_never_written_are_refused(wrong: dict[str, torch.Tensor]) -> None:
    assert Int4().decode(GOOD).shape == (2, 3)
    with pytest.raises(ValueError, match="[a-z]"):
        Int4().decode({**GOOD, **wrong})


@pytest.mark.parametrize("codec", [Int8(), Int4()])
@pytest.mark.parametrize("name", ["", "scale"])
def test_parts_that_are_missing_too(codec: Int8, name: str) -> None:
    parts = codec.encode(torch.ones(2, 4))
    with pytest.raises((ValueError, KeyError)):
        codec.decode({k: v for k, v in parts.items() if k != name})


def test_scales_that_are_not_finite_leave_nothing_finite() -> None:
    for scale in (float("nan"), float("inf"), -float("inf")):
        parts = {"": torch.tensor([[0, 127, 254]], dtype=U8), "scale": torch.tensor([scale])}
        assert not Int8().decode(parts).isfinite().any()

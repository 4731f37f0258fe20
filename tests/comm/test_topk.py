import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.comm.codecs import shape_part
from ifl.comm.topk import TopK, index_type


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(0, 4),
    columns=st.integers(0, 9),
    fraction=st.sampled_from([0.01, 0.25, 0.5, 1.0]),
    data=st.data(),
)
def test_the_largest_of_each_row_arrive_and_the_rest_is_0(
    rows: int, columns: int, fraction: float, data: st.DataObject
) -> None:
    values = st.lists(st.integers(-9, 9), min_size=columns, max_size=columns)
    x = [data.draw(values) for _ in range(rows)]
    codec = TopK(fraction=fraction)
    tensor = torch.tensor(x, dtype=torch.float32).view(rows, columns)
    decoded = codec.decode(codec.encode(tensor))
    assert decoded.shape == tensor.shape
    for sent, got in zip(x, decoded.tolist(), strict=True):
        kept = -int(-fraction * columns // 1)
        assert all(b in (a, 0) for a, b in zip(sent, got, strict=True))
        largest = sorted(map(abs, sent), reverse=True)[:kept]
        assert sorted(map(abs, filter(None, got)), reverse=True) == [v for v in largest if v]


def test_places_travel_in_the_smallest_type() -> None:
    for columns, dtype in ((256, torch.uint8), (257, torch.uint16), (65537, torch.uint32)):
        assert index_type(columns) == dtype
        x = torch.zeros(2, columns)
        x[:, -1] = 7
        parts = TopK(fraction=1e-5).encode(x)
        assert parts["index"].dtype == dtype
        assert torch.equal(TopK(fraction=1e-5).decode(parts), x)


def test_weights_of_any_shape_are_rows_of_their_first_dimension() -> None:
    for shape, kept in (((), 1), ((40,), 4), ((3, 40), 12), ((3, 2, 4, 5), 12)):
        x = torch.randn(shape)
        parts = TopK().encode(x)
        assert parts[""].numel() == kept
        assert TopK().decode(parts).shape == shape


GOOD = TopK(fraction=0.5).encode(torch.tensor([[4.0, 3, 2, 1], [1, 2, 3, 4]]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"index": torch.tensor([[1, 0], [2, 3]], dtype=torch.uint8)},
        {"index": torch.tensor([[0, 0], [2, 3]], dtype=torch.uint8)},
        {"index": torch.tensor([[0, 1], [2, 4]], dtype=torch.uint8)},
        {"index": torch.tensor([[0, 1], [2, 3]])},
        {"index": torch.tensor([[0], [2]], dtype=torch.uint8)},
        {"": torch.ones(2, 3)},
        {"": torch.ones(2, 2).double()},
        {"shape": shape_part((2, 5))},
        {"shape": shape_part((1, 4))},
        {"shape": shape_part((2, 2**38))},
        {"shape": torch.ones(2, 4)},
        {"scale": torch.ones(2)},
    ],
)
def test_parts_that_were_never_written_are_refused(wrong: dict[str, torch.Tensor]) -> None:
    codec = TopK(fraction=0.5)
    assert codec.decode(GOOD).tolist() == [[4, 3, 0, 0], [0, 0, 3, 4]]
    tracemalloc.start()
    with pytest.raises((ValueError, RuntimeError)):
        codec.decode({**GOOD, **wrong})
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    for name in GOOD:
        with pytest.raises((ValueError, KeyError)):
            codec.decode({k: v for k, v in GOOD.items() if k != name})

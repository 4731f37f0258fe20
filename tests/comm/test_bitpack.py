import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.comm.bitpack import label_bits, pack_labels, pack_pairs, unpack_labels, unpack_pairs
from ifl.errors import MessageError


@settings(deadline=None)
@given(
    classes=st.sampled_from([2, 3, 4, 9, 10, 16, 17, 128, 129, 257, 70000]),
    count=st.integers(0, 40),
    data=st.data(),
)
def test_labels_take_the_bits_that_their_classes_need(
    classes: int, count: int, data: st.DataObject
) -> None:
    drawn = st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)
    labels = data.draw(drawn)
    packed = pack_labels(torch.tensor(labels, dtype=torch.int64), classes)
    bits = len(f"{classes - 1:b}")
    text = "".join(f"{label:0{bits}b}" for label in labels)
    text += "0" * (-len(text) % 8)
    assert packed.flatten().tolist() == [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]
    arrived = unpack_labels(packed, classes)
    assert arrived.dtype == torch.int64
    assert arrived.tolist() == labels


def test_ten_classes_take_four_bits() -> None:
    assert [label_bits(classes) for classes in (2, 10, 16, 17, 256)] == [1, 4, 4, 5, 8]
    assert pack_labels(torch.tensor([9, 0, 4]), 10).tolist() == [[0x90], [0x40]]
    assert pack_labels(torch.arange(8), 10).tolist() == [0x01, 0x23, 0x45, 0x67]


@pytest.mark.parametrize(
    ("packed", "classes", "reason"),
    [
        ([[0x90], [0x41]], 10, "behind the last label are not 0"),
        ([0x90, 0xA0], 10, "labels hold 10, allowed are 0 to 9"),
        ([[[0x90]], [[0x40]]], 10, "cannot lie in"),  # three labels fewer than two bytes hold
        ([[[0x90]]], 10, "cannot lie in"),
        ([[0x90, 0x40]], 10, "cannot lie in"),
        (0x90, 10, "cannot lie in"),
        ([3, 0, 1], 2**20, "are not 0"),  # a label of 20 bits, and 4 more
        ([0x80], 2**9, "cannot lie in"),  # a byte for no label of 9 bits
    ],
)
def test_what_was_never_packed_is_refused(packed: object, classes: int, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        unpack_labels(torch.tensor(packed, dtype=torch.uint8), classes)
    with pytest.raises(MessageError, match="cannot lie in"):
        unpack_labels(torch.tensor([1, 2], dtype=torch.uint16), 10)


@settings(deadline=None)
@given(rows=st.integers(0, 4), columns=st.integers(0, 7), data=st.data())
def test_pairs_come_back(rows: int, columns: int, data: st.DataObject) -> None:
    values = data.draw(
        st.lists(st.integers(0, 15), min_size=rows * columns, max_size=rows * columns)
    )
    tensor = torch.tensor(values, dtype=torch.uint8).view(rows, columns)
    packed = pack_pairs(tensor)
    assert packed.shape == (rows, -(-columns // 2))
    assert torch.equal(unpack_pairs(packed, columns), tensor)

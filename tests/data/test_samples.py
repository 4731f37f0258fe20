"""What a user's samples and labels may be, and what is said of the rest."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Build, clients

from ifl.data.dataset import Dataset, Shard, check_dataset, hold_out
from ifl.errors import DataError, IFLError
from ifl.federation.identity import data_digest
from ifl.methods.local import Local

X = torch.arange(12.0).reshape(4, 3) / 12
Y = torch.tensor([0, 1, 2, 1])


def shard(x: Any = X, y: Any = Y) -> Shard:
    return Shard(x, y)


def data(part: Shard, **more: Any) -> Dataset:
    return Dataset("own", **{"train": part, "test": part, "shape": (3,), "classes": 3, **more})


LABELS: dict[str, Any] = {
    "int8": Y.to(torch.int8),
    "int32": Y.int(),
    "uint8": Y.to(torch.uint8),
    "uint16": Y.to(torch.uint16),
    "uint64": Y.numpy().astype(np.uint64),
    "float": Y.float(),
    "float64 (n, 1)": Y.double().reshape(-1, 1),
    "(n, 1)": Y.reshape(-1, 1),
    "numpy": Y.numpy(),
    "big endian": Y.numpy().astype(">i4"),
    "a reversed view": Y.numpy()[::-1],
    "a list": [0, 1, 2, 1],
    "a list of tensors": list(Y),
    "one-hot": torch.nn.functional.one_hot(Y),
    "one-hot floats": np.eye(3)[Y.numpy()],
    "one-hot bool": torch.nn.functional.one_hot(Y).bool(),
    "bool": np.array([False, True, False, True]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_without_doubt_become_int64(kind: str) -> None:
    found = data(shard(y=LABELS[kind])).train.y
    expected = {"bool": [0, 1, 0, 1], "a reversed view": [1, 2, 1, 0]}.get(kind, Y.tolist())
    assert found.dtype == torch.int64
    assert found.tolist() == expected


REFUSED: dict[str, tuple[Any, str]] = {
    "fractions": ([0.0, 0.5, 1.0, 2.0], "y holds 0.5, labels are one whole number from 0 a sample"),
    "nan": ([0.0, float("nan"), 1.0, 2.0], "y holds nan, labels are"),
    "scores": (torch.rand(4, 3), r"y has the shape \(4, 3\) and is not one-hot, labels are"),
    "several labels": (torch.ones(4, 3), r"is not one-hot"),
    "one for each pixel": (torch.zeros(4, 3, 3).long(), r"y has the shape \(4, 3, 3\)"),
    "one": (torch.tensor(3), r"y has the shape \(\)"),
    "text": (["cat", "dog", "dog", "cat"], "y is an array of <U3; .* numbered from 0"),
    "ragged": ([[1], [1, 2], [1], [1]], "y cannot be made an array"),
    "none": (None, "y is NoneType; give a tensor"),
    "complex": (Y + 0j, "y is of torch.complex64"),
    "masked": (np.ma.masked_equal(Y.numpy(), 2), "y has masked values"),
    "too large": (np.array([0, 1, 2, 2**63], dtype=np.uint64), "y holds integers beyond"),
    "from 1": ([1, 2, 3, 3], "labels run from 1 to 3, .* or number the labels from 0"),
    "negative": ([-1, 1, 2, 2], "labels run from -1 to 2"),
    "too few": ([0, 1], "it needs one label per sample"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_labels_are_one_sentence(kind: str) -> None:
    y, sentence = REFUSED[kind]
    with pytest.raises(DataError, match=sentence) as error:
        data(shard(y=y))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool]
)
def test_floats_reach_a_network_as_they_are(dtype: torch.dtype) -> None:
    x = X.to(dtype)
    found = data(shard(x)).train.inputs()
    assert found.dtype == torch.float32
    assert torch.equal(found, x.float())
    arrays = x.float().numpy() if dtype == torch.bfloat16 else x.numpy()
    arrays.setflags(write=False)
    assert torch.equal(shard(arrays).inputs(), found)


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32]
)
def test_integers_reach_a_network_as_integers(dtype: torch.dtype) -> None:
    tokens = torch.arange(12).reshape(4, 3)
    found = data(shard(tokens.to(dtype))).train
    assert found.x.dtype.is_signed
    assert found.inputs().dtype == torch.int64
    assert torch.equal(found.inputs(), tokens)
    assert torch.equal(shard(tokens.tolist()).inputs(), tokens)


SAMPLES: dict[str, tuple[Any, str]] = {
    "nan": (X.log().log(), "x holds 12 values that are not finite .* the first in sample 0"),
    "infinite": (torch.where(X > 0.9, torch.inf, X), "x holds 1 values .* in sample 3"),
    "beyond float32": (X.double() * 1e300, "not finite in float32"),
    "single numbers": (X[:, 0], r"x has the shape \(4,\).* x.reshape\(-1, 1\)"),
    "text": (np.full((4, 3), "a"), "x is an array of <U1; give"),
    "objects": (np.full((4, 3), None), "x is an array of object; give"),
    "several sizes": ([torch.zeros(2), torch.zeros(3)], "of several shapes; pad them"),
    "sparse": (X.to_sparse(), "x is a torch.sparse_coo tensor"),
    "complex": (X + 1j, "torch.view_as_real"),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_other_samples_are_one_sentence(kind: str) -> None:
    x, sentence = SAMPLES[kind]
    with pytest.raises(DataError, match=sentence) as error:
        data(shard(x))
    assert "\n" not in str(error.value)


def test_what_comes_later_is_checked_too(tiny: Build) -> None:
    with pytest.raises(DataError, match="train holds floats, test images"):
        replace(TINY, train=Shard(TINY.train.x.float(), TINY.train.y))
    with pytest.raises(DataError, match="data.classes=3 allows 0 to 2"):
        replace(TINY, classes=3)
    with pytest.raises(IFLError, match=r"data.shape must hold whole numbers >= 1, got \[0, 6\]"):
        replace(TINY, shape=(0, 6))
    with pytest.raises(DataError, match=r"train is a tuple; make it a Shard\(x, y\)"):
        replace(TINY, train=(TINY.train.x, TINY.train.y))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="data is a tuple; its _target_"):
        check_dataset((TINY.train, TINY.test))
    me = clients(tiny(Local()))[0]
    with pytest.raises(DataError, match="not finite"):
        me.hold(Shard(me.shard.x / 0, me.shard.y))


@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 2, 2), (2, 1, 2, 1)])
def test_a_sample_may_have_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    part = Shard(torch.rand(6, *shape), torch.arange(6) % 3)
    made = Dataset("own", part, part, [np.int64(size) for size in shape], np.int64(3))  # type: ignore[arg-type]
    assert made.shape == shape
    assert hold_out(made, 0.5).train.x.shape == (3, *shape)


def test_images_of_bytes_keep_their_digest() -> None:
    x, y = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2), torch.tensor([0, 1])
    digest = hashlib.sha256()
    for _ in ("train", "test"):
        digest.update(b"torch.uint8 (2, 1, 2, 2) " + bytes(range(8)))
        digest.update(b"torch.int64 (2,) " + np.array([0, 1], dtype="<i8").tobytes())
    part = Shard(x, y)
    assert data_digest(Dataset("own", part, part, (1, 2, 2), 2)) == digest.hexdigest()

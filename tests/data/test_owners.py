from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MOMENTUM, SMALL, TINY
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.data.dataset import Dataset, hold_out
from ifl.data.owners import By, checked_owners, read_owners
from ifl.data.partition import Iid
from ifl.errors import ConfigError, DataError
from ifl.federation.build import build
from ifl.methods.local import Local

N = len(TINY.train)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=40, deadline=None)
@given(
    owners=st.lists(st.integers(-3, 6), min_size=1, max_size=60),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 2**32),
)
def test_no_owner_is_divided_and_all_samples_are_dealt(
    owners: list[int], share: float, seed: int
) -> None:
    whose = np.array(owners)
    names, sizes = np.unique(whose, return_counts=True)
    clients = max(1, int(share * len(names)))
    parts = By()(np.zeros(len(whose)), clients, rng(seed), whose)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(whose)))
    held = [set(whose[part].tolist()) for part in parts]
    assert sum(map(len, held)) == len(names)
    assert all(held)
    loads = [len(part) for part in parts]
    assert max(loads) - min(loads) <= max(sizes)
    if clients == len(names):
        assert [h.pop() for h in held] == names.tolist()


def test_owners_of_equal_size_are_dealt_by_the_seed() -> None:
    whose = np.repeat(["a", "b", "c", "d"], 5)
    deals = {str(By()(np.zeros(20), 2, rng(seed), whose)) for seed in range(20)}
    assert len(deals) > 1
    assert str(By()(np.zeros(20), 2, rng(3), whose)) in deals


def test_without_owners_or_with_too_many_clients_it_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="needs the owner of each training sample; name them in"):
        By()(np.zeros(4), 2, rng(), None)
    with pytest.raises(ConfigError, match="between 1 and the 2 owners .*, got 3; clients.count=nu"):
        By()(np.zeros(4), 3, rng(), np.array([5, 5, 7, 7]))


def owned(owners: Any) -> Dataset:
    return Dataset("tiny", TINY.train, TINY.test, TINY.shape, TINY.classes, owners)


def test_no_count_is_a_client_for_each_owner() -> None:
    training = Training(Optimizers(MOMENTUM, MOMENTUM), batch_size=8)
    data = owned([f"ward {k % 5}" for k in range(N)])

    def built(data: Dataset, partition: Any, count: int | None) -> Any:
        return build(data, partition, [SMALL], count, Local(), training, Float32(), 8)

    federation = built(data, By(), None)
    assert federation.owners() == [[f"ward {k}"] for k in range(5)]
    assert sorted(len(o) for o in built(data, By(), 2).owners()) == [2, 3]
    with pytest.raises(ConfigError, match="needs the owner of each training sample; name them in"):
        built(TINY, By(), None)
    with pytest.raises(ConfigError, match="clients.count must be a whole number >= 1, got null"):
        built(data, Iid(), None)
    assert built(TINY, lambda y, n, r: np.array_split(np.arange(N), n), 2).owners() is None


def test_what_is_held_out_takes_its_owners_along() -> None:
    data = owned(np.arange(N))
    kept = hold_out(data, 0.25)
    assert kept.owners is not None
    for owner, image in zip(kept.owners, kept.train.x, strict=True):
        assert image.equal(TINY.train.x[owner])


@pytest.mark.parametrize(
    ("owners", "sentence"),
    [
        ([1, 2, 3], f"must name an owner for each of {N} training samples, got 3"),
        (np.zeros((N, 2), int), rf"got an array of shape \({N}, 2\)"),
        (np.zeros(N), "must be whole numbers or text, got float64 such as"),
        ([None] * N, "must be whole numbers or text, got object"),
        (["a"] * (N - 1) + [" "], f"names nobody for sample {N - 1}"),
    ],
)
def test_owners_that_are_none_are_one_sentence(owners: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=f"tiny: owners {sentence}|tiny: owners .*{sentence}"):
        owned(owners)


def test_text_of_any_array_and_numbers_of_any_size_are_owners() -> None:
    assert checked_owners(np.array(["x", "y"], dtype=object), 2, "o").tolist() == ["x", "y"]
    assert checked_owners(np.array([7, 250], dtype=np.uint8), 2, "o").dtype == np.int64


FILES = {
    "a.txt": ("ann\nbob\nann\n", ["ann", "bob", "ann"]),
    "a.csv": ("ann\n\nbob\nann\n", ["ann", "bob", "ann"]),
    "b.csv": ('hospital\n"St. Ann, Rome"\nbob\nann\n', ["St. Ann, Rome", "bob", "ann"]),
    "BOM.CSV": ("\ufeffann\r\nbob\r\nann\r\n", ["ann", "bob", "ann"]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_names_an_owner_a_line(name: str, tmp_path: Path) -> None:
    text, owners = FILES[name]
    (tmp_path / name).write_bytes(text.encode())
    assert read_owners(str(tmp_path / name), 3).tolist() == owners


def test_a_file_of_numbers_and_one_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "owners.npy", np.arange(N, dtype=np.int16) % 4)
    monkeypatch.setenv("HOME", str(tmp_path))
    data = By("~/owners.npy").owned(TINY)
    assert By().clients(data) == 4
    assert By().owned(TINY) is TINY


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("o.csv", b"ann,3\nbob,4\n", r"has 2 columns \(ann, 3\); keep the one"),
        ("o.txt", b"ann\nbob\n", "must name an owner for each of 3 training samples, got 2"),
        ("o.txt", b"ann\n\nbob\n", "names nobody for sample 1"),
        ("o.txt", b"\xff\xfe", "cannot be read"),
        ("o.npy", b"no array", "cannot be read"),
        ("o.json", b"[]", "must be a .npy, .csv or .txt file"),
        (None, b"", "cannot be read .*No such file"),
    ],
)
def test_a_file_that_does_not_name_them_is_one_sentence(
    name: str | None, content: bytes, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / (name or "missing.txt")
    if name:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"partition.owners={path}.*{sentence}") as told:
        read_owners(str(path), 3)
    assert "\n" not in str(told.value)

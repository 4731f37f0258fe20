"""A user's own arrays: .npz and .npy, anything that is not what it should be named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_files import arrays

from ifl.data.readers.arrays import from_arrays
from ifl.errors import DataError


def saved(path: Path, **named: Any) -> str:
    np.savez(path / "own.npz", **named)
    return str(path / "own.npz")


def parts(n: int = 40) -> dict[str, np.ndarray]:
    train, test = arrays(n), arrays(8, seed=1)
    both = {f"train_{k}": v for k, v in train.items()} | {f"test_{k}": v for k, v in test.items()}
    del both["test_owners"]
    return both


def test_x_and_y_are_held_out_by_rule_with_their_owners(tmp_path: Path) -> None:
    given = arrays()
    data = from_arrays(saved(tmp_path, **given))
    assert (data.name, data.shape, data.classes) == ("own", (1, 8, 8), 4)
    assert (len(data.train), len(data.test)) == (32, 8)
    assert "own: it comes in one part, so a fifth of each class, 8 of 40" in data.remarks[0]
    assert data.owners is not None
    where = {x.tobytes(): k for k, x in enumerate(given["x"])}
    places = [where[x.numpy().tobytes()] for x in data.train.x]
    assert data.owners.tolist() == [k % 3 for k in places]
    assert data.train.y.tolist() == [k % 4 for k in places]


@pytest.mark.parametrize("style", ["train_x", "x_train", "folder"])
def test_parts_are_taken_as_they_are(style: str, tmp_path: Path) -> None:
    named = parts()
    if style == "x_train":  # as Keras has them
        named = {"_".join(reversed(key.split("_"))): value for key, value in named.items()}
    root = saved(tmp_path, **named)
    if style == "folder":
        for key, value in named.items():
            np.save(tmp_path / key, value)
        Path(root).unlink()
        (tmp_path / "notes.txt").write_text("x")
        root = str(tmp_path)
    data = from_arrays(root, name="a")
    assert (len(data.train), len(data.test), data.remarks) == (40, 8, ())
    assert np.array_equal(data.test.x[:, 0].numpy(), arrays(8, seed=1)["x"])


def test_channels_that_come_last_are_put_first(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
    root = saved(tmp_path, x=x, y=np.arange(20) % 2)
    for data in (from_arrays(root), from_arrays(root, shape=[3, 6, 5])):
        assert data.shape == (3, 6, 5)


def test_text_becomes_classes_in_the_order_of_the_alphabet(tmp_path: Path) -> None:
    given = arrays()
    y = np.array(["dog", "cat", "eel", "ant"])[given["y"]]
    data = from_arrays(saved(tmp_path, x=given["x"], y=y))
    assert data.class_names == ("ant", "cat", "dog", "eel")
    both = torch.cat([data.train.y, data.test.y]).bincount()
    assert both.tolist() == [10] * 4


def test_labels_of_any_whole_type_and_a_gap_that_is_told(tmp_path: Path) -> None:
    given = arrays()
    for y in (given["y"].astype(np.uint8), given["y"][:, None], given["y"] * 1.0):
        assert from_arrays(saved(tmp_path, x=given["x"], y=y)).classes == 4
    data = from_arrays(saved(tmp_path, x=given["x"], y=given["y"] + 1))
    assert data.classes == 5
    assert data.remarks[0] == "own: no sample is of class 0"
    data = from_arrays(saved(tmp_path, x=given["x"], y=given["y"] + 3))
    assert data.remarks[0] == "own: no sample is of class 0, nor of 2 more"


X, Y = arrays()["x"], arrays()["y"]
WRONG: dict[str, tuple[Mapping[str, Any], dict[str, Any], str]] = {
    "objects": (
        {"x": X, "y": np.array([None] * 40)},
        {},
        "own.npz cannot be read .it holds Python objects",
    ),
    "no labels": ({"x": X}, {}, "own.npz holds train_x; it needs arrays x and y, or train_x"),
    "nothing": ({}, {}, "own.npz holds no array; it needs"),
    "test alone": ({"test_x": X, "test_y": Y}, {}, "own.npz holds test_x, test_y; it needs"),
    "half a test": ({"x": X, "y": Y, "test_x": X}, {}, "holds train_x, train_y, test_x; it needs"),
    "another name": ({"x": X, "y": Y, "extra": Y}, {}, "the array extra is not known; it needs"),
    "two names": ({"x": X, "y": Y, "x_train": X}, {}, "x_train stands for what another one holds"),
    "lengths": ({"x": X, "y": Y[:-1]}, {}, "train_x holds 40 samples and train_y 39 labels"),
    "one-hot": ({"x": X, "y": np.eye(4)[Y]}, {}, r"got float64 of shape \(40, 4\); np.argmax"),
    "fractions": ({"x": X, "y": Y + 0.5}, {}, "train_y must be one whole number or text"),
    "missing": ({"x": X, "y": np.full(40, np.nan)}, {}, "train_y must be one whole number or text"),
    "text of two kinds": (
        {**parts(), "test_y": np.array(["a"] * 8)},
        {},
        "labels are text in one part, numbers in the other",
    ),
    "a class that is not trained": (
        {**parts(), "train_y": np.array(["a", "b"] * 20), "test_y": np.array(["c"] * 8)},
        {},
        "test_y has a class c that train_y lacks",
    ),
    "text": ({"x": np.array([["a", "b"]] * 40), "y": Y}, {}, "train_x must hold numbers, a row or"),
    "flat": ({"x": X[:, 0, 0], "y": Y}, {}, r"got uint8 of shape \(40,\)"),
    "negative": ({"x": X, "y": Y - 1}, {}, "labels run from -1 to 2"),
    "classes": ({"x": X, "y": Y}, {"classes": 3}, "labels run from 0 to 3, data.classes=3"),
    "shape": ({"x": X, "y": Y}, {"shape": [1, 9, 9]}, r"data.shape=\[1, 9, 9\]"),
    "owners": ({"x": X, "y": Y, "owners": Y[:3]}, {}, "owners must name an owner for each of 40"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_in_one_sentence(case: str, tmp_path: Path) -> None:
    named, settings, sentence = WRONG[case]
    with pytest.raises(DataError, match=sentence) as told:
        from_arrays(saved(tmp_path, **named), **settings)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("cut.npz", "cut.npz cannot be read .it is damaged, or no file that numpy.savez"),
        ("text.npz", "text.npz cannot be read .it is damaged, or no file"),
        ("empty.npz", "empty.npz cannot be read"),
        ("alone.npy", "alone.npy is a single array; name its folder"),
        ("named.npz", "named.npz cannot be read"),
        ("nowhere.npz", "data.root: .*nowhere.npz was looked for and is not there"),
        (".", "holds no array; it needs arrays x and y"),
    ],
)
def test_files_that_hold_no_arrays_are_named(file: str, sentence: str, tmp_path: Path) -> None:
    whole = Path(saved(tmp_path, **arrays())).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:500])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", X)
    (tmp_path / "array.npy").rename(tmp_path / "named.npz")
    np.save(tmp_path / "alone.npy", X)
    if file == ".":
        (tmp_path / "alone.npy").unlink()
    with pytest.raises(DataError, match=sentence):
        from_arrays(str(tmp_path / file))

"""Any classification set of torchvision is one yaml: with or without parts, downloads, packages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets
from own_files import pictures
from PIL import Image

from ifl.data.readers.vision import from_torchvision
from ifl.errors import DataError

FAKE = {"size": 30, "image_size": (3, 10, 12), "num_classes": 3}
SHAPE = (3, 8, 8)


def fake(train: Any = FAKE, test: Any = FAKE, shape: Any = SHAPE, classes: int = 3) -> Any:
    return from_torchvision("FakeData", "-", "Fake", shape, classes, train, test)


def test_a_set_without_root_download_and_parts_is_held_out() -> None:
    data = fake()
    assert len(data.train) + len(data.test) == 30
    assert data.train.x.shape[1:] == SHAPE
    assert "Fake: it comes in one part, so a fifth of each class" in data.remarks[0]
    rows = {x.numpy().tobytes() for shard in (data.train, data.test) for x in shard.x}
    assert len(rows) == 30
    assert torch.equal(fake().test.x, data.test.x)
    alone = fake(train={**FAKE, "random_offset": 0}, test=FAKE)  # said in other words
    assert "all test samples are training samples too" in alone.remarks[0]
    assert len(alone.test) == len(data.test)


def test_parts_that_differ_are_taken_as_they_are() -> None:
    data = fake(test={**FAKE, "size": 20, "random_offset": 1000})
    assert (len(data.train), len(data.test), data.remarks) == (30, 20, ())
    part = fake(test={**FAKE, "size": 10})  # the first ten of the thirty
    assert len(part.train) + len(part.test) == 30


def test_some_test_samples_that_are_trained_on_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    data = made(monkeypatch, lambda k, train: (grey(k if train else k + 8), k % 2), 10)
    assert data.remarks == ("Made: 2 of 10 test samples are trained on too",)


def grey(value: int) -> Image.Image:
    return Image.new("L", (8, 8), value)


def made(
    monkeypatch: pytest.MonkeyPatch,
    sample: Any,
    count: int = 10,
    shape: Any = (1, 8, 8),
    **more: Any,
) -> Any:
    """Return the data set that is made of a set with these samples."""

    class Made(torchvision.datasets.VisionDataset):  # type: ignore[misc]
        def __init__(self, root: str, train: bool = True, **kwargs: Any) -> None:
            super().__init__(root, **kwargs)
            self.train = train

        def __len__(self) -> int:
            return count

        def __getitem__(self, place: int) -> Any:
            x, y = sample(place, self.train)
            return (self.transform(x) if self.transform else x), y

    monkeypatch.setattr(torchvision.datasets, "Made", Made, raising=False)
    train, test = {"train": True, **more}, {"train": False, **more}
    return from_torchvision("Made", "-", "Made", shape, 2, train, test)


@pytest.mark.parametrize("kind", [int, np.int32, np.int64, torch.tensor, np.array])
def test_whole_numbers_of_any_type_are_labels(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made(monkeypatch, lambda k, train: (grey(k + 50 * train), kind(k % 2)))
    assert data.test.y.tolist() == [0, 1] * 5


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ((1, 2), r"tuple \(1, 2\)"),
        (torch.zeros(40), r"Tensor \[40\]"),
        ("cat", "str 'cat'"),
        (0.5, "float 0.5"),
        (True, "bool True"),
        (None, "NoneType None"),
        ({"boxes": 1}, "dict"),
    ],
)
def test_other_labels_are_one_sentence(
    label: Any, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=f"Made: the label of sample 0 is {found}.* target_type"):
        made(monkeypatch, lambda k, train: (grey(k), label))


def test_what_a_transform_makes_is_taken_and_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = made(
        monkeypatch,
        lambda k, train: (grey(k + 50 * train), k % 2),
        transform=lambda image: 255 - np.asarray(image),
    )
    assert int(array.test.x[3].min()) == 252
    colour = made(
        monkeypatch,
        lambda k, train: (np.full((8, 8, 3), k + 50 * train, np.uint8), k % 2),
        shape=(3, 8, 8),
    )
    assert colour.train.x.shape == (10, 3, 8, 8)
    with pytest.raises(DataError, match=r"a transform makes samples of shape \[1, 8, 8\], data.sh"):
        made(monkeypatch, lambda k, train: (torch.zeros(1, 8, 8), 0), shape=(3, 8, 8))
    with pytest.raises(DataError, match="its samples are list, neither pictures nor arrays"):
        made(monkeypatch, lambda k, train: ([1], 0))


def test_a_transform_of_a_stored_set_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stored(torchvision.datasets.VisionDataset):  # type: ignore[misc]
        def __init__(self, root: str, train: bool = True, **kwargs: Any) -> None:
            super().__init__(root, **kwargs)
            self.data = torch.full((10, 8, 8), 60 if train else 30, dtype=torch.uint8)
            self.targets = torch.arange(10) % 2

        def __len__(self) -> int:
            return 10

        def __getitem__(self, place: int) -> Any:
            image = Image.fromarray(self.data[place].numpy())
            return (self.transform(image) if self.transform else image), self.targets[place]

    monkeypatch.setattr(torchvision.datasets, "Stored", Stored, raising=False)

    def loaded(**more: Any) -> Any:
        parts = {"train": True, **more}, {"train": False, **more}
        return from_torchvision("Stored", "-", "S", (1, 8, 8), 2, *parts)

    assert int(loaded().test.x[0].max()) == 30
    assert int(loaded(transform=lambda i: 255 - np.asarray(i)).test.x[0].max()) == 225


def test_a_folder_of_images_is_a_set_of_torchvision(tmp_path: Path) -> None:
    root = str(pictures(tmp_path))
    data = from_torchvision("ImageFolder", root, "Pets", (1, 8, 8), 2, {}, {})
    assert (len(data.train), len(data.test)) == (16, 4)


def test_what_torchvision_refuses_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = str(tmp_path)
    with pytest.raises(DataError, match="refuses data.train or data.test .*'trian'.; it takes "):
        from_torchvision("CIFAR10", here, "C", (3, 32, 32), 10, {"trian": True}, {})
    with pytest.raises(DataError, match="FER cannot be read in data.root=.*does not download this"):
        from_torchvision("FER2013", here, "FER", (1, 48, 48), 7, {"split": "train"}, {})
    with pytest.raises(DataError, match="ImageFolder|Pets cannot be read in data.root="):
        from_torchvision("ImageFolder", here, "Pets", (1, 8, 8), 2, {}, {})
    for name in ("Nonsense", "folder", "has_file_allowed_extension"):
        with pytest.raises(DataError, match=f"data.dataset={name} is not in torchvision.datasets"):
            from_torchvision(name, here, "N", (1, 8, 8), 2, {}, {})
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)
    off = {"split": "train", "download": False}
    with pytest.raises(DataError, match="SVHN needs a package that is not installed .*scipy"):
        from_torchvision("SVHN", here, "SVHN", (3, 32, 32), 10, off, {"split": "test"})


def test_a_set_at_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "pets")
    monkeypatch.setenv("HOME", str(tmp_path))
    data = from_torchvision("ImageFolder", "~/pets", "Pets", (1, 8, 8), 2, {}, {})
    assert len(data.train) == 16


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("QMNIST", {"root", "download", "what", "train"}),  # passes some on to MNIST
        ("EMNIST", {"root", "download", "split"}),
        ("ImageNet", {"root", "split", "transform"}),
        ("FakeData", {"size"}),
        ("CIFAR100", {"root", "download", "train"}),
    ],
)
def test_keywords_are_found_also_where_a_set_passes_them_on(name: str, keywords: set[str]) -> None:
    from ifl.data.readers.vision import _parameters

    found = _parameters(getattr(torchvision.datasets, name))
    assert keywords <= found
    assert ("download" in found) == ("download" in keywords)
    assert ("root" in found) == ("root" in keywords)

import os
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
import torchvision.datasets
from conftest import composed
from idx_files import IMAGES, LABELS, write_pair
from sklearn.datasets import load_digits

from ifl.cli.build import make
from ifl.data.dataset import Dataset, Shard, stratified_split
from ifl.data.readers import embedded
from ifl.data.readers.embedded import digits, kmnist10k
from ifl.errors import DataError


def test_digits_are_the_1797_real_ones_split_80_20_by_class() -> None:
    data = digits()
    assert len(data.train) + len(data.test) == 1797
    assert data.train.x.dtype == torch.uint8
    assert int(data.train.x.max()) == 255
    everything = torch.cat([data.train.y, data.test.y]).bincount()
    assert (data.test.y.bincount() - 0.2 * everything).abs().max() <= 0.5
    assert torch.equal(digits().test.x, data.test.x)


def test_inputs_run_from_minus_one_to_one() -> None:
    shard = Shard(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1), torch.zeros(2).long())
    assert shard.inputs().flatten().tolist() == [-1.0, 1.0]


def test_a_stratified_split_is_disjoint_and_exhaustive() -> None:
    labels = np.array([0] * 50 + [1] * 10 + [7] * 5)
    train, test = stratified_split(labels, 0.2, np.random.default_rng(0))
    assert sorted([*train, *test]) == list(range(65))
    assert np.bincount(labels[test], minlength=8).tolist() == [10, 2, 0, 0, 0, 0, 0, 1]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Yield a folder and the address on this machine at which it is served."""
    folder = tmp_path / "mirror"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("option", ["kmnist", "mnist", "fashion_mnist"])
def test_torchvision_downloads_and_checks_md5(
    option: str, served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, address = served
    resources = {**write_pair(mirror, "train", 30), **write_pair(mirror, "t10k", 10, seed=1)}
    config = composed(f"data={option}").data
    maker = getattr(torchvision.datasets, config.dataset)
    monkeypatch.setattr(maker, "mirrors", [address])
    monkeypatch.setattr(maker, "resources", list(resources.items()))
    config.root = str(tmp_path / "root")
    data = make(config)
    assert (len(data.train), len(data.test), data.classes) == (30, 10, 10)
    assert data.test.y.tolist() == list(range(10))
    expected = np.random.default_rng(1).integers(0, 256, (10, 28, 28))
    assert np.array_equal(data.test.x[:, 0].numpy(), expected)

    wrong = [(name, "0" * 32) for name in resources]
    monkeypatch.setattr(maker, "resources", wrong)
    config.root = str(tmp_path / "other")
    with pytest.raises(DataError, match="is not whole in data.root="):
        make(config)


def test_kmnist10k_reads_the_official_format(tmp_path: Path) -> None:
    md5 = write_pair(tmp_path / "KMNIST" / "raw", "t10k", 200)
    data = kmnist10k(str(tmp_path), "K", (1, 28, 28), 10, md5)
    assert (len(data.train), len(data.test)) == (160, 40)
    assert data.test.y.bincount().tolist() == [4] * 10


def test_kmnist10k_names_a_missing_and_a_damaged_file(tmp_path: Path) -> None:
    raw = tmp_path / "KMNIST" / "raw"
    md5 = write_pair(raw, "t10k", 20)
    (raw / LABELS).write_bytes((raw / LABELS).read_bytes()[:-3])
    with pytest.raises(DataError, match=f"{LABELS} has md5 .* expected {md5[LABELS]}"):
        kmnist10k(str(tmp_path), "K", (1, 28, 28), 10, md5)
    (raw / IMAGES).unlink()
    with pytest.raises(DataError, match=f"{IMAGES} was looked for in {raw}.*download it from http"):
        kmnist10k(str(tmp_path), "K", (1, 28, 28), 10, md5)


@pytest.mark.skipif("IFL_DATA" not in os.environ, reason="set IFL_DATA to a folder with KMNIST/raw")
def test_the_real_kmnist10k_has_1000_of_each_class() -> None:
    data = make(composed("data=kmnist10k").data)
    assert data.name == "KMNIST-10k"
    assert data.train.y.bincount().tolist() == [800] * 10
    assert data.test.y.bincount().tolist() == [200] * 10
    # the set's published mean is 0.1904 over all 70,000 images
    assert float(torch.cat([data.train.x, data.test.x]).float().mean() / 255) == pytest.approx(
        0.1904, abs=0.01
    )


def test_labels_and_shapes_that_break_the_promise_are_named() -> None:
    good = Shard(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
    late = Shard(good.x, torch.tensor([0, 3]))
    with pytest.raises(DataError, match="test labels run from 0 to 3, data.classes=2"):
        Dataset("d", good, late, (1, 4, 4), 2)
    with pytest.raises(DataError, match=r"data.shape=\[1, 5, 5\]"):
        Dataset("d", good, good, (1, 5, 5), 2)
    short = Shard(good.x, torch.tensor([0]))
    with pytest.raises(DataError, match="one label per sample"):
        Dataset("d", short, good, (1, 4, 4), 2)


def test_the_digits_are_those_of_scikit_learn_wherever_they_lie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels, labels = load_digits(return_X_y=True)
    found = [embedded.carried_digits()]
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    found.append(embedded.carried_digits())
    for x, y in found:
        assert (x.dtype, y.dtype) == (pixels.dtype, labels.dtype)
        assert np.array_equal(x, pixels)
        assert np.array_equal(y, labels)

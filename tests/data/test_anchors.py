from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, composed
from omegaconf import OmegaConf
from PIL import Image

from ifl.cli.build import assemble
from ifl.data.anchors import HeldOut, Nowhere, Other, Pictures, Strokes, check_source
from ifl.data.dataset import Dataset, Shard
from ifl.errors import ConfigError, DataError
from ifl.runs.identity import fingerprint
from ifl.seeding import numpy_rng


def rows(x: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


def test_anchors_are_not_dealt_and_come_without_labels() -> None:
    anchors, data = HeldOut(40)(TINY, numpy_rng(0, "anchors"))
    assert anchors is not None
    assert anchors.shape == (40, 1, 6, 6)
    assert len(data.train) == len(TINY.train) - 40
    assert not rows(anchors) & rows(data.train.x)
    assert rows(anchors) | rows(data.train.x) == rows(TINY.train.x)
    assert data.test is TINY.test
    again, _ = HeldOut(40)(TINY, numpy_rng(0, "anchors"))
    other, _ = HeldOut(40)(TINY, numpy_rng(1, "anchors"))
    assert again is not None
    assert other is not None
    assert torch.equal(anchors, again)
    assert not torch.equal(anchors, other)


def test_owners_stay_with_their_samples() -> None:
    owned = Dataset("t", TINY.train, TINY.test, TINY.shape, TINY.classes, TINY.train.y.numpy())
    _, data = HeldOut(40)(owned, numpy_rng(0, "anchors"))
    assert data.owners is not None
    assert np.array_equal(data.owners, data.train.y.numpy())


def test_anchors_of_another_set_are_its_training_samples() -> None:
    other = Dataset("other", TINY.test, TINY.train, TINY.shape, TINY.classes)
    anchors, data = Other(other, 30)(TINY, numpy_rng(0, "anchors"))
    assert anchors is not None
    assert data is TINY
    assert len(anchors) == 30
    assert rows(anchors) <= rows(TINY.test.x)
    every, _ = Other(other, None)(TINY, numpy_rng(0, "anchors"))
    assert every is not None
    assert len(every) == len(TINY.test)


def test_strokes_are_images_with_dark_and_bright_places() -> None:
    anchors, data = Strokes(20)(TINY, numpy_rng(0, "anchors"))
    assert anchors is not None
    assert data is TINY
    assert anchors.shape == (20, 1, 6, 6)
    assert anchors.dtype == torch.uint8
    spread = anchors.float().flatten(1).std(dim=1)
    assert float(spread.min()) > 30  # of 255
    assert Nowhere()(TINY, numpy_rng(0, "anchors")) == (None, TINY)


def test_every_client_has_them_as_networks_take_them() -> None:
    typed = ["anchors=held_out", "anchors.count=50", "clients.count=2", "batch_size=4"]
    federation = assemble(composed(*typed))
    first, second = federation.engine.clients
    assert first.anchors is not None
    assert second.anchors is not None
    assert first.anchors.shape == (50, 1, 28, 28)
    assert first.anchors.dtype == torch.float32
    assert float(first.anchors.min()) == -1
    assert torch.equal(first.anchors, second.anchors)
    assert sum(len(c.shard) for c in (first, second)) == 1438 - 50
    plain = assemble(composed(*typed[2:])).engine.clients
    assert plain[0].anchors is None


def test_what_cannot_be_anchors_is_refused() -> None:
    draws = numpy_rng(0, "anchors")
    with pytest.raises(ConfigError, match="must be below the number of training samples, got 240"):
        HeldOut(240)(TINY, draws)
    small = Dataset("small", Shard(TINY.train.x[..., :5], TINY.train.y),
                    Shard(TINY.test.x[..., :5], TINY.test.y), (1, 6, 5), TINY.classes)  # fmt: skip
    with pytest.raises(DataError, match=r"anchors of small are \[1, 6, 5\] torch.uint8, samples"):
        Other(small, 3)(TINY, draws)
    other = Dataset("other", TINY.test, TINY.train, TINY.shape, TINY.classes)
    with pytest.raises(ConfigError, match="at most the 80 training samples of other, got 81"):
        Other(other, 81)(TINY, draws)
    floats = Dataset("floats", Shard(TINY.train.x.float(), TINY.train.y),
                     Shard(TINY.test.x.float(), TINY.test.y), TINY.shape, TINY.classes)  # fmt: skip
    with pytest.raises(ConfigError, match="synthetic gives images of 0 to 255, floats holds"):
        Strokes()(floats, draws)
    with pytest.raises(ConfigError, match="anchors must be a callable"):
        check_source(3)


def test_all_pictures_below_a_folder_are_anchors(tmp_path: Path) -> None:
    for n in range(4):
        path = tmp_path / "any" / f"{n % 2}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 12), 60 * n, dtype=np.uint8)).save(path)
    anchors, data = Pictures(str(tmp_path))(TINY, numpy_rng(0, "anchors"))
    assert anchors is not None
    assert data is TINY
    assert anchors.shape == (4, 1, 6, 6)
    assert sorted({int(v) for v in anchors.unique()}) == [0, 60, 120, 180]
    some, _ = Pictures(str(tmp_path), 3)(TINY, numpy_rng(0, "anchors"))
    assert some is not None
    assert len(some) == 3
    with pytest.raises(ConfigError, match="holds 4 pictures, and 5 are asked for"):
        Pictures(str(tmp_path), 5)(TINY, numpy_rng(0, "anchors"))
    with pytest.raises(DataError, match="anchors.root: nowhere was looked for in .* is not there"):
        Pictures("nowhere")(TINY, numpy_rng(0, "anchors"))
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"notes.txt cannot be read as a picture"):
        Pictures(str(tmp_path))(TINY, numpy_rng(0, "anchors"))


def test_other_pictures_are_another_run_wherever_they_lie(tmp_path: Path) -> None:
    names = []
    for folder, grey in (("a", 10), ("b", 10), ("c", 11)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((6, 6), grey, dtype=np.uint8)).save(tmp_path / folder / "1.png")
        config = composed("anchors=folder", f"anchors.root={tmp_path / folder}")
        plain = OmegaConf.to_container(config, resolve=True)
        assert isinstance(plain, dict)
        names.append(fingerprint({str(key): value for key, value in plain.items()}))
    assert names[0] == names[1] != names[2]

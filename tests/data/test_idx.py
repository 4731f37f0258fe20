"""Files of the MNIST kind that lie where torchvision would read them as they are."""

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from idx_files import IMAGES, LABELS, write_pair

from ifl.data.readers.idx import check_unpacked
from ifl.errors import DataError

TRAIN = IMAGES.replace("t10k", "train")


def unpack(raw: Path) -> None:
    for packed in raw.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))


@pytest.fixture
def md5(tmp_path: Path) -> Mapping[str, str]:
    """Two pairs of files, packed and unpacked, as torchvision leaves them."""
    raw = tmp_path / "raw"
    found = {**write_pair(raw, "train", 30), **write_pair(raw, "t10k", 10, seed=1)}
    unpack(raw)
    return found


def cut(raw: Path) -> None:
    path = (raw / IMAGES).with_suffix("")
    path.write_bytes(path.read_bytes()[:-100])


def change(raw: Path) -> None:
    path = (raw / IMAGES).with_suffix("")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(raw: Path) -> None:
    (raw / IMAGES).with_suffix("").write_bytes(b"")


def swap(raw: Path) -> None:
    first, second = ((raw / name).with_suffix("") for name in (IMAGES, TRAIN))
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0]), first.write_bytes(contents[1])


def swap_packed_too(raw: Path) -> None:
    contents = (raw / IMAGES).read_bytes(), (raw / TRAIN).read_bytes()
    (raw / TRAIN).write_bytes(contents[0]), (raw / IMAGES).write_bytes(contents[1])
    unpack(raw)


def lose_packed(raw: Path) -> None:
    (raw / IMAGES).unlink()


def test_what_was_published_is_taken_unpacked_or_not(
    md5: Mapping[str, str], tmp_path: Path
) -> None:
    check_unpacked(tmp_path, md5)
    (tmp_path / "raw" / LABELS).with_suffix("").unlink()
    check_unpacked(tmp_path, md5)
    check_unpacked(tmp_path / "nowhere", md5)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut, "images-idx3-ubyte is not what .*gz holds, but damaged or another file"),
        (change, "images-idx3-ubyte is not what .*gz holds, but damaged or another file"),
        (empty, "images-idx3-ubyte is not what .*gz holds, but damaged or another file"),
        (swap, "images-idx3-ubyte is not what .*gz holds, but damaged or another file"),
        (swap_packed_too, "images-idx3-ubyte.gz has md5 .*, expected .*; it is damaged or another"),
        (lose_packed, f"t10k-images-idx3-ubyte cannot be checked without {IMAGES} beside it"),
    ],
)
def test_other_files_are_named(
    spoil: Callable[[Path], None], reason: str, md5: Mapping[str, str], tmp_path: Path
) -> None:
    spoil(tmp_path / "raw")
    with pytest.raises(DataError, match=reason) as told:
        check_unpacked(tmp_path, md5)
    assert "\n" not in str(told.value)


def test_what_older_torchvisions_kept_cannot_be_checked(
    md5: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "processed").mkdir()
    with pytest.raises(DataError, match="processed holds the set as older versions .* remove that"):
        check_unpacked(tmp_path, md5)

"""A user's own pictures: any size and mode, classes by folders, what is wrong named by file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_files import picture, pictures
from PIL import Image

from ifl.data.contents import contents
from ifl.data.readers.folder import from_folder
from ifl.errors import DataError, IFLError


def test_one_part_is_held_out_by_rule_and_says_so(tmp_path: Path) -> None:
    data = from_folder(str(pictures(tmp_path / "pets")))
    assert data.name == "pets"
    assert data.shape == (1, 8, 8)
    assert data.class_names == ("cat", "dog")
    assert data.train.x.dtype == torch.uint8
    assert (data.train.y.bincount().tolist(), data.test.y.bincount().tolist()) == ([8, 8], [2, 2])
    assert data.remarks == (
        "pets: it comes in one part, so a fifth of each class, 4 of 20 samples, is held out and "
        "tested on",
    )
    rows = {x.numpy().tobytes() for shard in (data.train, data.test) for x in shard.x}
    assert len(rows) == 20
    stored = np.asarray(Image.open(tmp_path / "pets" / "dog" / "a_0.png"))
    assert stored.tobytes() in rows
    assert torch.equal(from_folder(str(tmp_path / "pets")).test.x, data.test.x)


def test_train_and_test_are_taken_as_they_are(tmp_path: Path) -> None:
    pictures(tmp_path / "Train", ("10", "9", "2"), each=3)
    for name in ("2", "9", "10"):
        picture(tmp_path / "test" / name / "deep" / "x.png", seed=50 + int(name))
    (tmp_path / "outputs" / "runs").mkdir(parents=True)
    (tmp_path / "README.txt").write_text("about")
    data = from_folder(str(tmp_path), name="numbers")
    assert data.class_names == ("2", "9", "10")  # by number
    assert data.test.y.tolist() == [0, 1, 2]
    assert (len(data.train), data.remarks) == (9, ())
    ninth = np.random.default_rng(59).integers(0, 256, (8, 8), dtype=np.uint8)
    assert np.array_equal(data.test.x[1, 0].numpy(), ninth)


def test_pictures_that_are_tested_on_are_not_trained_on(tmp_path: Path) -> None:
    pictures(tmp_path / "train"), pictures(tmp_path / "test")
    data = from_folder(str(tmp_path), name="same")
    assert (len(data.train), len(data.test)) == (16, 4)
    assert "all test samples are training samples too" in data.remarks[-1]
    picture(tmp_path / "test" / "cat" / "new.png", seed=77)
    data = from_folder(str(tmp_path), name="nearly")
    assert (len(data.train), len(data.test)) == (20, 21)
    assert data.remarks == ("nearly: 20 of 21 test samples are trained on too",)


def test_other_sizes_and_modes_are_brought_to_one_and_told(tmp_path: Path) -> None:
    pictures(tmp_path, each=5)
    picture(tmp_path / "cat" / "wide.bmp", 1, (20, 10))
    picture(tmp_path / "dog" / "colour.jpg", 2, mode="RGB")
    data = from_folder(str(tmp_path), name="p")
    assert data.shape == (3, 8, 8)
    assert data.remarks[:2] == (
        "p: 1 of 12 pictures are not 8 x 8 and are resized, stretched where their proportions "
        "differ (data.shape sets the size)",
        "p: 11 of 12 pictures are grey, the others in colour",
    )
    data = from_folder(str(tmp_path), name="p", shape=[1, 4, 6], classes=2)
    assert data.train.x.shape[1:] == (1, 4, 6)
    assert data.remarks[0].startswith("p: 12 of 12 pictures are not 4 x 6")
    assert data.remarks[1] == "p: 1 of 12 pictures are in colour and are taken as grey"


def seen(tmp_path: Path, image: Image.Image, **more: Any) -> torch.Tensor:
    """Return the pixels that a picture becomes, beside others of the same size."""
    for name in "ab":
        (tmp_path / name).mkdir()
    image.save(tmp_path / "a" / "it.png", **more)
    for k in range(5):
        image.save(tmp_path / "b" / f"{k}.png", **more)
    return from_folder(str(tmp_path)).train.x[0]


def test_transparent_is_white_and_not_the_colour_beneath(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 2), (9, 8, 7, 255))
    x = seen(tmp_path, image)
    assert x[:, 2, 1].tolist() == [9, 8, 7]
    assert x[:, 0, 0].tolist() == [255, 255, 255]


def test_16_bits_keep_their_upper_half(tmp_path: Path) -> None:
    ramp = (np.arange(16).reshape(4, 4) * 4369).astype(np.uint16)
    x = seen(tmp_path, Image.fromarray(ramp))
    assert x.flatten().tolist() == [17 * k for k in range(16)]


def test_a_photo_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    image = Image.new("L", (6, 3))
    image.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    x = seen(tmp_path, image, exif=exif)
    assert x.shape == (1, 6, 3)
    assert int(x[0, 0, 2]) == 255


def test_palettes_black_and_white_and_cmyk_are_pictures_too(tmp_path: Path) -> None:
    pictures(tmp_path, each=5)
    picture(tmp_path / "cat" / "p.png", 3, mode="P")
    picture(tmp_path / "cat" / "1.png", 3, mode="1")
    picture(tmp_path / "cat" / "c.jpg", 3, mode="CMYK")
    assert len(from_folder(str(tmp_path)).train) == 10


Spoil = Callable[[Path], object]
WRONG: dict[str, tuple[Spoil, dict[str, Any], str]] = {
    "cut": (
        lambda p: (p / "cat/a_0.png").write_bytes((p / "cat/a_0.png").read_bytes()[:60]),
        {},
        "cat/a_0.png cannot be read as a picture .*; repair or remove it",
    ),
    "no picture": (
        lambda p: (p / "dog/notes.txt").write_text("hello"),
        {},
        "dog/notes.txt cannot be read as a picture .no picture of a known format",
    ),
    "empty file": (lambda p: (p / "dog/0.png").write_bytes(b""), {}, "dog/0.png cannot be read"),
    "animation": (
        lambda p: Image.new("L", (8, 8)).save(
            p / "cat/z.gif", save_all=True, append_images=[Image.new("L", (8, 8), 255)]
        ),
        {},
        "cat/z.gif cannot be read as a picture .it holds 2 frames",
    ),
    "floats": (
        lambda p: Image.fromarray(np.zeros((8, 8), np.float32)).save(p / "cat/z.tiff"),
        {},
        "cat/z.tiff cannot be read .*floating-point numbers; use data=arrays",
    ),
    "empty class": (lambda p: (p / "eel").mkdir(), {}, "eel holds no picture; add some, or rem"),
    "no class": (lambda p: picture(p / "x.png", 1), {}, "x.png lies in no class's folder; put"),
    "train alone among others": (
        lambda p: pictures(p / "train"),
        {},
        "holds train, cat, dog and no test; put",
    ),
    "another class tested": (
        lambda p: (pictures(p / "train"), pictures(p / "test", ("cat", "eel"))),
        {},
        "test/eel is a class that .*train lacks; both need",
    ),
    "number": (lambda p: None, {"classes": 3}, r"holds 2 classes \(cat, dog\) and data.classes=3"),
    "shape": (lambda p: None, {"shape": [2, 8, 8]}, r"\[3, height, width\] for colour .*\[2, 8, 8"),
    "dimensions": (lambda p: None, {"shape": [8, 8]}, "data.shape"),
    "expression": (lambda p: None, {"owner": "(a"}, r"data.owner=\(a is no regular expression"),
    "owner": (lambda p: None, {"owner": r"(\d\d)_"}, "finds no owner in a_0.png, a training"),
    "owner's folder": (lambda p: None, {"owner": "folder"}, "data.owner=folder finds no owner in"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_in_one_sentence(case: str, tmp_path: Path) -> None:
    spoil, settings, sentence = WRONG[case]
    spoil(pictures(tmp_path))
    with pytest.raises(IFLError, match=sentence) as told:
        from_folder(str(tmp_path), **settings)
    assert "\n" not in str(told.value)


def test_a_folder_that_holds_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data.root: .*nowhere was looked for and is not there"):
        from_folder(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=f"{tmp_path} holds no folder; put pictures into ROOT/CL"):
        from_folder(str(tmp_path))
    picture(tmp_path / "only" / "x.png", 1)
    with pytest.raises(DataError, match="holds one class, only, and needs two"):
        from_folder(str(tmp_path))
    with pytest.raises(DataError, match=r"x.png is no folder; .* or use data=arrays"):
        from_folder(str(tmp_path / "only" / "x.png"))
    picture(tmp_path / "other" / "x.png", 2)
    with pytest.raises(DataError, match="of 2 samples a fifth of each class is none; add samples"):
        from_folder(str(tmp_path))


@pytest.mark.parametrize("owner", [r"(\w+)_", "[abc]"])
def test_owners_are_found_in_file_names(owner: str, tmp_path: Path) -> None:
    pictures(tmp_path / "train")
    picture(tmp_path / "test" / "cat" / "nobody.png", 99)
    data = from_folder(str(tmp_path), owner=owner)
    assert data.owners is not None
    names = sorted(f.name for f in (tmp_path / "train" / "cat").iterdir())
    assert data.owners.tolist() == [name[0] for name in names] * 2


def test_owners_are_folders_below_the_class_and_held_out_samples_have_none(tmp_path: Path) -> None:
    for owner, start in (("ann", 0), ("bob", 100)):
        for kind in ("x", "y"):
            for k in range(5):
                picture(tmp_path / kind / owner / f"{k}.png", start + k + 10 * (kind == "y"))
    data = from_folder(str(tmp_path), owner="folder")
    assert data.owners is not None
    assert len(data.owners) == len(data.train) == 16
    for image, owner in zip(data.train.x, data.owners, strict=True):
        seeds = range(0, 20) if owner == "ann" else range(100, 120)
        drawn = [np.random.default_rng(s).integers(0, 256, (8, 8), np.uint8) for s in seeds]
        assert any(np.array_equal(image[0].numpy(), each) for each in drawn)


def test_the_same_pictures_elsewhere_have_the_same_digest_and_others_not(tmp_path: Path) -> None:
    first, second = pictures(tmp_path / "1"), pictures(tmp_path / "2")
    before = contents(str(first))
    assert before == contents(str(second)) != contents(str(tmp_path))
    (second / ".DS_Store").write_bytes(b"x"), (second / "cat" / "Thumbs.db").write_bytes(b"x")
    assert contents(str(second)) == before
    (second / "cat" / "a_0.png").rename(second / "dog" / "new.png")
    assert contents(str(second)) != before
    picture(first / "cat" / "a_0.png", 5)
    assert contents(str(first)) != before


def test_links_that_lead_back_are_followed_once(tmp_path: Path) -> None:
    pictures(tmp_path / "pets", each=5)
    (tmp_path / "pets" / "cat" / "again").symlink_to(tmp_path / "pets" / "cat")
    assert len(from_folder(str(tmp_path / "pets")).train) == 8

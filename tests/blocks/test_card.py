"""A card says what a block is, and a wrong one is named by its field."""

import json
from pathlib import Path
from typing import Any

import pytest
from exported_blocks import DIM, SHAPE, copied, set_on_card, written

from ifl.blocks.card import NAME, PROGRAM, WEIGHTS, read_card
from ifl.blocks.files import read_block
from ifl.errors import BlockError
from ifl.models import mlp_base


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(mlp_base(SHAPE, [], DIM), tmp_path_factory.mktemp("card") / "b")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return copied(whole, tmp_path / "b")


def test_a_card_is_read_as_it_was_written(folder: Path) -> None:
    block = read_block(folder)
    assert block.card == read_card((folder / NAME).read_bytes())
    assert block.card.text() == (folder / NAME).read_text(encoding="utf-8")
    assert block.card.takes == SHAPE
    assert read_block(folder / NAME, block.digest).digest == block.digest
    with pytest.raises(BlockError, match=r"its card has sha256 .*, and 0+\.\.\. is asked"):
        read_block(folder, "0" * 64)


FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"fusion_dim": "absent", "run": "absent"}, "lacks fusion_dim, run"),
    "unknown": ({"colour": "blue"}, "has colour, which no card of this version has"),
    "another format": ({"format": "onnx"}, "is not the card of a block: it lacks format=ifl-block"),
    "a later version": ({"version": 2}, "has version 2 of the format, and 1 is read here"),
    "no kind": ({"block": "head"}, "block must be base or modular, got head"),
    "no owner": ({"owner": 0}, "owner must be the number of a client as text, or server, got 0"),
    "no dimension": ({"fusion_dim": 0}, "fusion_dim must be a whole number >= 1, got 0"),
    "truth": ({"fusion_dim": True}, "fusion_dim must be a whole number >= 1, got True"),
    "no shape": ({"shape": []}, "shape must be a list of whole numbers >= 1, got []"),
    "no samples": ({"samples": ["images"]}, "samples must be one of images, floats, tokens, got"),
    "scaling": ({"scaling": "/ 255"}, "scaling of images must be 'uint8 / 127.5 - 1"),
    "one class": ({"classes": ["0"]}, "classes must be a list of 2 names or more, none twice"),
    "a class twice": ({"classes": ["a", "a"]}, "classes must be a list of 2 names or more, none"),
    "an escape": ({"licence": "\x1b[2J"}, "licence must be text or null, got"),
    "an accuracy": (
        {"accuracies": [{"with": "1", "accuracy": 90}]},
        'accuracies must be a list of {"with": owner, "accuracy": a fraction}',
    ),
    "a digest": ({"sha256": {"program.pt2": "0" * 64}}, "sha256 must be the sha256 of weights"),
    "a run": ({"run": "x" * 16}, "run must be 16 hexadecimal digits"),
    "another dimension": ({"fusion_dim": 15}, "into [2, 16], and its card promises [2, 15]"),
    "another shape": ({"shape": [1, 7, 7]}, "its program fails at torch.ops.aten.view"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_wrong_field_is_named(name: str, folder: Path) -> None:
    fields, sentence = FIELDS[name]
    set_on_card(folder, **fields)
    with pytest.raises(BlockError) as error:
        read_block(folder)
    assert sentence in str(error.value)
    assert str(error.value).startswith(f"{folder}: ")
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


TEXTS = {
    b"{": "card.json is no JSON",
    b"[" * 100_000: "card.json is no JSON",
    b"\xff": "card.json is no JSON",
    b"[]": "is not the card of a block",
    b'{"format": "ifl-block", "format": "x"}': "a field stands twice",
    b'{"format": NaN}': "NaN is no number",
    b" " * (10**6 + 1): "has more than 1,000,000 bytes",
}


@pytest.mark.parametrize("text", TEXTS, ids=[*map(str, range(len(TEXTS)))])
def test_what_is_no_card_is_refused(text: bytes, folder: Path) -> None:
    (folder / NAME).write_bytes(text)
    with pytest.raises(BlockError, match=TEXTS[text]):
        read_block(folder)


@pytest.mark.parametrize("name", [WEIGHTS, PROGRAM])
def test_a_changed_byte_is_named(name: str, folder: Path) -> None:
    payload = bytearray((folder / name).read_bytes())
    payload[len(payload) // 2] ^= 1
    (folder / name).write_bytes(payload)
    with pytest.raises(BlockError, match=f"{name} has sha256 .* was changed or damaged since"):
        read_block(folder)


def test_a_folder_that_is_no_block_is_refused(folder: Path) -> None:
    (folder / "run-me.py").write_text("")
    with pytest.raises(BlockError, match=r"it holds run-me\.py too"):
        read_block(folder)
    (folder / "run-me.py").unlink()
    (folder / PROGRAM).unlink()
    with pytest.raises(BlockError, match=r"it lacks program\.pt2"):
        read_block(folder)
    with pytest.raises(BlockError, match="there is no such folder"):
        read_block(folder / "nowhere")


def test_a_card_is_json_that_anybody_reads(folder: Path) -> None:
    card = json.loads((folder / NAME).read_text(encoding="utf-8"))
    assert card["licence"] == "CC BY 4.0"
    assert {*card["sha256"]} == {WEIGHTS, PROGRAM}

"""Blocks meet where z and classes are the same; a base block meets data that it takes."""

from dataclasses import replace
from typing import Any

import pytest
from exported_blocks import CARD

from ifl.blocks.card import SCALINGS
from ifl.blocks.pairing import check_data, check_pair, expectation
from ifl.errors import BlockError

MODULAR = replace(CARD, block="modular", owner="1")
ANIMALS = ["ant", "bee", "cat", "dog"]
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "twice base": ({}, {"block": "base"}, "the modular block is named second, and the card"),
    "exchanged": (
        {"block": "modular"},
        {"block": "base"},
        "the base block is named first, and",
    ),
    "z": ({}, {"fusion_dim": 8}, "gives z of 16 values and the modular block takes 8"),
    "number": ({}, {"classes": ["a", "b"]}, "has 4 classes and the modular block's 2"),
    "order": (
        {"classes": ANIMALS},
        {"classes": ["ant", "cat", "bee", "dog"]},
        "are the same in another order: class 1 is bee there and cat here",
    ),
    "others": (
        {"classes": ANIMALS},
        {"classes": ["ant", "bee", "cow", "dog"]},
        "are others: class 2 is cat there and cow here",
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_blocks_that_do_not_fit_are_refused(name: str) -> None:
    base, modular, sentence = PAIRS[name]
    with pytest.raises(BlockError, match=sentence):
        check_pair(replace(CARD, **base), replace(MODULAR, **modular))


def test_blocks_that_fit_may_differ_in_their_samples_and_name_classes_or_not() -> None:
    check_pair(CARD, MODULAR)
    check_pair(CARD, replace(MODULAR, shape=[30], samples="floats", scaling=SCALINGS["floats"]))
    check_pair(replace(CARD, classes=ANIMALS), MODULAR)


def test_data_that_a_base_block_does_not_take_are_refused() -> None:
    check_data(CARD, (1, 8, 8), "images", CARD.classes)
    check_data(CARD, (1, 8, 8), "images", ANIMALS)
    with pytest.raises(BlockError, match=r"have \[1, 9, 9\]; data\.shape=\[1,8,8\] resizes where"):
        check_data(CARD, (1, 9, 9), "images", CARD.classes)
    with pytest.raises(BlockError, match=r"takes images \(scaling: uint8 / 127.5 - 1, .* floats"):
        check_data(CARD, (1, 8, 8), "floats", CARD.classes)
    with pytest.raises(BlockError, match="card has 4 classes and the data 3; both need the same"):
        check_data(CARD, (1, 8, 8), "images", ANIMALS[:3])


def test_what_to_expect_follows_from_where_blocks_come_from() -> None:
    assert "which measured 75.0 % for them on tiny" in expectation(CARD, MODULAR)
    assert "did not measure them together" in expectation(CARD, replace(MODULAR, owner="2"))
    strange = expectation(CARD, replace(MODULAR, run="f" * 16))
    assert "never aligned" in strange
    assert "expect about chance, 25.0 %" in strange

"""Compares the cards of two blocks, and a base block's with data: do they fit, have they met?"""

from collections.abc import Sequence

from ifl.blocks.card import Card
from ifl.errors import BlockError


def check_pair(base: Card, modular: Card) -> None:
    """Raise BlockError unless one is a base block, the other modular, of one d and same classes."""
    for card, kind in ((base, "base"), (modular, "modular")):
        if card.block != kind:
            place = "first" if kind == "base" else "second"
            raise BlockError(
                f"the {kind} block is named {place}, and the card there says {card.block}; ifl "
                "compose BASE MODULAR takes one of each"
            )
    if base.fusion_dim != modular.fusion_dim:
        raise BlockError(
            f"the base block gives z of {base.fusion_dim} values and the modular block takes "
            f"{modular.fusion_dim}; blocks meet where their fusion dimension is the same"
        )
    check_classes(base.classes, modular.classes, "the base block's card", "the modular block's")


def check_data(base: Card, shape: Sequence[int], samples: str, classes: Sequence[str]) -> None:
    """Raise BlockError unless samples are such as a base block takes.

    Args:
        shape: of a sample of the data.
        samples: images, floats or tokens.
        classes: their names, or numbers where they have none.
    """
    if [*base.shape] != [*shape]:
        raise BlockError(
            f"the base block takes samples of the shape {[*base.shape]} and the data have "
            f"{[*shape]}; data.shape={str([*base.shape]).replace(' ', '')} resizes where data can "
            "be resized"
        )
    if base.samples != samples:
        raise BlockError(
            f"the base block takes {base.samples} (scaling: {base.scaling}) and the data hold "
            f"{samples}; give them as its run had them, images as uint8"
        )
    check_classes(base.classes, classes, "the base block's card", "the data")


def check_classes(first: Sequence[str], second: Sequence[str], one: str, other: str) -> None:
    """Raise BlockError unless classes are the same in the same order.

    Numbers, of classes without names, fit any names.
    """
    if len(first) != len(second):
        raise BlockError(
            f"{one} has {len(first)} classes and {other} {len(second)}; both need the same"
        )
    if [*first] == [*second] or unnamed(first) or unnamed(second):
        return
    place = next(n for n, pair in enumerate(zip(first, second, strict=True)) if len({*pair}) > 1)
    order = "the same in another order" if {*first} == {*second} else "others"
    raise BlockError(
        f"the classes of {one} and {other} are {order}: class {place} is {first[place]} there and "
        f"{second[place]} here; both need the same names in the same order"
    )


def unnamed(classes: Sequence[str]) -> bool:
    """Return whether these are the numbers of classes that have no names."""
    return [*classes] == [str(number) for number in range(len(classes))]


def expectation(base: Card, modular: Card) -> str:
    """Return in a sentence what to expect of two blocks, by where they come from."""
    if base.run == modular.run:
        for each in base.accuracies:
            if each["with"] == modular.owner:
                found = f"{100 * each['accuracy']:.1f} % for them on {base.data}"
                return f"both are of run {base.run}, which measured {found}"
        return f"both are of run {base.run}, which did not measure them together"
    return (
        f"they are of different runs, {base.run} and {modular.run}, and were never aligned, unless "
        "one was trained in front of the other since: z of one means nothing to the other, so "
        f"expect about chance, {100 / len(base.classes):.1f} %"
    )

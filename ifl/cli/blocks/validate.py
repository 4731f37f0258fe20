"""Validates a block from anybody: ifl validate BLOCK. Nothing of it is run before it is checked."""

import argparse
import sys
from typing import TYPE_CHECKING

from ifl.checks import place
from ifl.cli.console import spell_out
from ifl.errors import IFLError

if TYPE_CHECKING:
    from ifl.blocks.program import Block


def main() -> int:
    """Do what the command line says; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(
        description="Check a block's card, digests, weights and program, and then what it gives. "
        "Nothing is unpickled, and the program is run only if it does nothing but compute."
    )
    parser.add_argument("block", type=place, help="its folder, or its card.json")
    options = parser.parse_args()
    try:
        from ifl.blocks.files import read_block

        print(described(read_block(options.block)))
    except (IFLError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def described(block: "Block") -> str:
    """Return what is known of a block that was checked, and what its card claims."""
    card, shape = block.card, ", ".join(map(str, block.card.takes))
    what = f"{card.samples}, scaling {card.scaling}" if card.block == "base" else "z"
    gives = "z" if card.block == "base" else "logits"
    kind = "int64" if (card.block, card.samples) == ("base", "tokens") else "float32"
    said = ", ".join(f"{each['with']}: {100 * each['accuracy']:.1f} %" for each in card.accuracies)
    other = "modular" if card.block == "base" else "base"
    values = sum(buffer.numel() for buffer in block.buffers())
    return "\n".join(
        [
            "Checked: its files are whole, nothing was unpickled, and it keeps the contract.",
            f"takes     (B, {shape}) {kind}, {what}",
            f"gives     (B, {card.gives}) float32, {gives}",
            f"program   {len(block.graph.steps)} steps, {values:,} values: "
            + ", ".join(block.graph.operators),
            "Its card says, and nothing here can tell whether it is so:",
            f"is        {card.title}, {card.method}, {card.rounds} rounds, run {card.run}",
            f"data      {card.data} (sha256 {card.data_sha256[:16]}...)",
            f"classes   {', '.join(card.classes)}",
            f"accuracy  with the {other} block of {said}" if said else "accuracy  none",
            f"licence   {card.licence or 'none named: ask before using it'}",
            "versions  " + ", ".join(f"{name} {number}" for name, number in card.versions.items()),
            f"sha256    {block.digest} (of the card; compare it with what its owner says)",
        ]
    )

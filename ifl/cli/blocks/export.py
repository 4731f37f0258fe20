"""Exports a trained block: ifl export RUN --client K --block base|modular OUT."""

import argparse
import sys

from ifl.blocks.card import SCALINGS
from ifl.checks import place
from ifl.cli.console import spell_out
from ifl.errors import IFLError


def main() -> int:
    """Do what the command line says; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(
        description="Write a trained block of a finished run as files: weights, a program that "
        "needs no source of the network, and a card that says what it is."
    )
    parser.add_argument("run", type=place, help="the folder of a finished run")
    parser.add_argument("out", type=place, help="a new folder for the block")
    parser.add_argument(
        "--client", type=owner, required=True, metavar="K", help="its number, or server"
    )
    parser.add_argument("--block", choices=["base", "modular"], required=True)
    parser.add_argument("--licence", "--license", help="what others may do with it, on the card")
    parser.add_argument(
        "--samples", choices=[*SCALINGS], help="what a run of an older version does not say itself"
    )
    options = parser.parse_intermixed_args()
    try:
        from ifl.blocks.export import export_block
        from ifl.blocks.files import check_free
        from ifl.federation.trained import load
        from ifl.runs.folder import read_about

        check_free(options.out)
        about = read_about(options.run) or {}
        if "imports" in about:  # a vendor's folder: its network lies beside its vendor.yaml
            sys.path.insert(0, str(about["imports"]))
        trained = load(options.run)
        block = export_block(
            trained,
            options.block,
            options.client,
            options.out,
            options.licence or None,
            options.samples,
        )
    except (IFLError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    card = block.card
    print(f"{options.out}: {card.title}, {card.method}, {card.data}")
    print(f"sha256 of its card, which stands for all files: {block.digest}")
    if card.licence is None:
        print("Note: its card names no licence; --licence TEXT does", file=sys.stderr)
    return 0


def owner(argument: str) -> str:
    """Return who has a block.

    Raises:
        argparse.ArgumentTypeError: it is no number of a client, and not the server.
    """
    if argument != "server" and not (argument.isascii() and argument.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"must be the number of a client, 0 or above, or server, got {argument}"
        )
    return argument if argument == "server" else str(int(argument))

"""Serves a federation of vendors: ifl server agreed.yaml --certificates FOLDER."""

import argparse
import sys
from typing import TYPE_CHECKING

from ifl.checks import place, positive
from ifl.cli.console import Progress, spell_out
from ifl.engines.grpc.needed import check_installed

if TYPE_CHECKING:
    from ifl.vendors.agreed import Agreed

ADDRESS = "127.0.0.1:7440"


def main() -> int:
    """Do what the command line says; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(
        description="Conduct a federation among vendors who call, each with its certificate. The "
        "same command goes on where it was interrupted."
    )
    parser.add_argument("agreed", type=place, help="agreed.yaml, the same file at all parties")
    parser.add_argument("--certificates", type=place, required=True, help="the server's folder")
    parser.add_argument("--address", default=ADDRESS, help=f"HOST:PORT, {ADDRESS} by default")
    parser.add_argument("--folder", type=place, default="run", help="of the run; run by default")
    parser.add_argument("--patience", type=positive, default=600, help="seconds to wait for all")
    parser.add_argument("--timeout", type=positive, default=600, help="seconds for an answer")
    parser.add_argument("--grace", type=positive, default=5, help="seconds to come back in")
    parser.add_argument("--message-mb", type=positive, default=512, help="MiB of a message")
    options = parser.parse_args()
    from ifl.cli.vendors.files import TOLD, read_agreed

    try:
        check_installed("ifl server")
        served(options, read_agreed(options.agreed))
    except TOLD as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    return 0


def served(options: argparse.Namespace, agreed: "Agreed") -> None:
    """Serve until the run has ended, and say what came of it."""
    from ifl.engines.grpc.certificates import SERVER, read_certificates
    from ifl.engines.grpc.listener import Listener
    from ifl.vendors.server import VendorServer

    certificates = read_certificates(options.certificates, SERVER)
    listener = Listener(options.address, certificates, len(agreed.parties), options.message_mb, say)
    progress = Progress(agreed.rounds)
    try:
        say(f"Listening at {listener.address} for {', '.join(agreed.parties)}")
        server = VendorServer(
            agreed,
            options.folder,
            listener,
            options.patience,
            options.timeout,
            options.grace,
            say,
            progress,
        )
        about = server.run()
    finally:
        progress.close()
        listener.close()
    for name, compared in about.get("traffic", {}).items():
        say(f"Bytes of {name}: {compared}")
    say(f"Finished (rounds={agreed.rounds} reached): {options.folder}")


def say(sentence: str) -> None:
    """Print a sentence at once."""
    print(sentence, flush=True)

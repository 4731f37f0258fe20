"""Makes certificates to try with: ifl certificates OUT --names server ann ben."""

import argparse
import sys

from ifl.checks import place, positive
from ifl.cli.console import spell_out
from ifl.engines.grpc.certificates import AUTHORITY, Authority
from ifl.engines.grpc.needed import check_installed
from ifl.errors import IFLError


def main() -> int:
    """Do what the command line says; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(
        description="Make a throw-away authority and a folder of certificates for each name. Who "
        f"has OUT/{AUTHORITY} can let in anybody; a vendor is given its own folder alone."
    )
    parser.add_argument("out", type=place, help="the folder; names can be added to it later")
    parser.add_argument("--names", nargs="+", required=True, help="server, and the vendors'")
    parser.add_argument("--days", type=positive, default=30, help="that they are valid")
    options = parser.parse_args()
    try:
        check_installed("ifl certificates")
        Authority(options.out, options.days).issue(options.names)
    except IFLError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(options.out / name) for name in options.names))
    return 0

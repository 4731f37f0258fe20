"""Takes part in a federation for a vendor: ifl vendor vendor.yaml."""

import argparse
import sys

from ifl.checks import place
from ifl.cli.console import spell_out
from ifl.cli.vendors.server import say
from ifl.engines.grpc.needed import check_installed


def main() -> int:
    """Do what the command line says; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(
        description="Take part in a federation with an own network on own data. The same command "
        "goes on where it was interrupted."
    )
    parser.add_argument("vendor", type=place, help="vendor.yaml, which stays here")
    options = parser.parse_args()
    from ifl.cli.vendors.files import TOLD, data_of, read_agreed, read_vendor

    try:
        check_installed("ifl vendor")
        vendor = read_vendor(options.vendor)
        vendor.importable()
        agreed = read_agreed(vendor.path(vendor.agreed))
        from ifl.vendors.vendor import VendorRun

        data = data_of(vendor)
        for remark in data.remarks:
            say(remark)
        VendorRun(vendor, agreed, data, say).run()
    except TOLD as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to rejoin.", file=sys.stderr)
        return 130
    return 0

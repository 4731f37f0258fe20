"""Prepares a federation behind NVIDIA FLARE: ifl flare server KIT, site KIT, job OUT."""

import argparse
import sys

from ifl.checks import place, positive
from ifl.cli.console import spell_out
from ifl.cli.vendors.server import ADDRESS
from ifl.engines.flare.job import write_job
from ifl.engines.flare.kit import write_local
from ifl.engines.flare.local import Server, Site
from ifl.errors import IFLError

KIT = "the startup kit, as nvflare provision made it"


def main() -> int:
    """Do what the command line says; return the exit code."""
    spell_out()
    options = _parser().parse_args()
    try:
        if options.what == "job":
            write_job(options.out, options.sites)
            print(options.out)
            return 0
        own = (
            Site(str(options.socket.absolute()))
            if options.what == "site"
            else Server(options.address, options.wait, options.gone)
        )
        write_local(options.kit, own)
        print(options.kit / "local")
    except IFLError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Let NVIDIA FLARE carry what vendors and ifl server say to each other."
    )
    parts = parser.add_subparsers(dest="what", required=True)
    server = parts.add_parser("server", help="say in the server's kit where ifl server is")
    server.add_argument("kit", type=place, help=KIT)
    server.add_argument("--address", default=ADDRESS, help=f"of ifl server, {ADDRESS} by default")
    server.add_argument("--wait", type=positive, default=600, help="seconds for it to be there")
    server.add_argument("--gone", type=positive, default=60, help="seconds without it: job's end")
    site = parts.add_parser("site", help="say in a site's kit where its vendor calls")
    site.add_argument("kit", type=place, help=KIT)
    site.add_argument("--socket", type=place, required=True, help="path of the Unix socket")
    job = parts.add_parser("job", help="write the job that an administrator submits")
    job.add_argument("out", type=place, help="a new folder")
    job.add_argument("--sites", nargs="+", default=[], help="that take part; all by default")
    return parser

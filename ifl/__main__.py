"""Dispatches the commands: ifl [key=value ...] runs, ifl plot FOLDER draws; so does python -m ifl.

Every other command is named by its first word; each has its own --help. Export, validate and
compose are for trained blocks as files; server, vendor, certificates and flare for federations
among machines.
"""

import sys
from importlib import import_module
from pathlib import Path

COMMANDS = {
    "run": "ifl.cli.run",
    "plot": "ifl.cli.plot",
    "export": "ifl.cli.blocks.export",
    "validate": "ifl.cli.blocks.validate",
    "compose": "ifl.cli.blocks.compose",
    "server": "ifl.cli.vendors.server",
    "vendor": "ifl.cli.vendors.vendor",
    "certificates": "ifl.cli.vendors.certificates",
    "flare": "ifl.cli.vendors.flare",
    "attack": "ifl.trials.attack.command",
    "bench": "ifl.trials.bench.command",
    "bench-changes": "ifl.trials.bench.changes",
    "engines": "ifl.trials.engines",
    "scale": "ifl.trials.bench.scale",
    "faults": "ifl.trials.faults.command",
}


def main() -> int:
    """Do what the command line says; return the exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        del sys.argv[1]
        if name != "run":  # as argparse is to call the command
            sys.argv[0] = str(Path(sys.argv[0]).with_name(f"ifl {name}"))
    code: int = import_module(COMMANDS.get(name, COMMANDS["run"])).main()
    return code


if __name__ == "__main__":
    sys.exit(main())

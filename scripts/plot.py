"""Draw figures and tables from runs: python scripts/plot.py FOLDER [--report] [--out FOLDER]."""

import sys

from ifl.cli.plot import main

if __name__ == "__main__":
    sys.exit(main())

"""Time rounds against a plain loop: python scripts/bench.py --help."""

import sys

from ifl.trials.bench.command import main

if __name__ == "__main__":
    sys.exit(main())

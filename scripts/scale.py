"""Measure time and memory against the number of clients: python scripts/scale.py --help."""

import sys

from ifl.trials.bench.scale import main

if __name__ == "__main__":
    sys.exit(main())

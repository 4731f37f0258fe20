"""Kill, fuzz and soak the project: python scripts/faults.py --help."""

import sys

from ifl.trials.faults.command import main

if __name__ == "__main__":
    sys.exit(main())

"""Compare tables over engines with those of engine=local: python scripts/engines.py --help."""

import sys

from ifl.trials.engines import main

if __name__ == "__main__":
    sys.exit(main())

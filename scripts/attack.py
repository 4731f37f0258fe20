"""Try to see the images behind what clients upload: python scripts/attack.py --help."""

import sys

from ifl.trials.attack.command import main

if __name__ == "__main__":
    sys.exit(main())

"""Run one configuration, or with -m a sweep: python scripts/run.py [group=option] [key=value]."""

import sys

from ifl.cli.run import main

if __name__ == "__main__":
    sys.exit(main())

"""Time each change against its lack: python scripts/bench_changes.py --help."""

import sys

from ifl.trials.bench.changes import main

if __name__ == "__main__":
    sys.exit(main())

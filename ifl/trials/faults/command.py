"""Kill, corrupt and overload runs, and count what is lost.

python scripts/faults.py [--kills 60] [--seed 1]   # kills; a grid killed; two launchers at once
python scripts/faults.py --fuzz 1000000            # messages, coverage-guided; needs atheris
python scripts/faults.py --soak 5000               # rounds of every method, memory watched
python scripts/faults.py --vendors 20              # kills of vendors and their server, over gRPC
python scripts/faults.py --cost 200                # rounds, timed: what checkpoints take of them

The exit code is 1 if anything was lost.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

from ifl.checks import positive
from ifl.cli.console import spell_out
from ifl.errors import IFLError

say: Callable[[str], None] = partial(print, flush=True)


def main() -> int:
    """Try what is asked for; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=positive, metavar="N", help="kills in all, 60 by default")
    parser.add_argument("--seed", type=positive, default=1, help="of the instants, or of the fuzz")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--fuzz", type=positive, metavar="N", help="feed N messages to the decoder")
    what.add_argument("--soak", type=positive, metavar="N", help="run N rounds of every method")
    what.add_argument("--vendors", type=positive, metavar="N", help="kill N parties of vendors")
    what.add_argument("--cost", type=positive, metavar="N", help="time checkpoints over N rounds")
    options = parser.parse_args()
    other = next((o for o in ("fuzz", "soak", "vendors", "cost") if getattr(options, o)), None)
    if options.kills and other:
        parser.error(f"--kills is not for --{other}; leave one of them out")
    if options.soak and options.soak <= 500:
        parser.error("--soak must be more than the 500 rounds that memory has to settle")
    from ifl.trials.faults.processes import FaultError

    start = time.monotonic()
    try:
        survived = tried(options)
    except (IFLError, FaultError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    say(f"{'survived' if survived else 'NOT SURVIVED'}, {time.monotonic() - start:.0f} s")
    return 0 if survived else 1


def tried(options: argparse.Namespace) -> bool:
    """Try what is asked for; return whether it was survived."""
    if options.fuzz:
        from ifl.trials.faults.fuzz import fuzz

        return fuzz(options.fuzz, options.seed, say)
    if options.soak:
        from ifl.trials.faults.soak import soaks

        return soaks(options.soak, say)
    if options.vendors:
        from ifl.trials.faults.vendors import vendors

        return vendors(options.vendors, options.seed, say)
    if options.cost:
        from ifl.trials.faults.cost import cost

        return cost(options.cost, say)
    from ifl.trials.faults.grid import grids
    from ifl.trials.faults.kills import campaign

    tally = campaign(options.kills or 60, options.seed, say)
    say(
        f"kills {tally.kills} ({tally.torn} within a checkpoint write, {tally.commands} of "
        f"commands in their own interpreter), resumes {tally.resumes}, runs {tally.runs}\n"
        f"differing bytes {tally.differing_bytes}, lost rows {tally.lost_rows}, "
        f"lost checkpoints {tally.lost_checkpoints}"
    )
    return grids(say) and tally.survived

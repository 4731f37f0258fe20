"""Compare the tables that methods write over other engines with those of engine=local.

python scripts/engines.py --engines ray processes grpc

Runs whole commands, one after the other, and compares rounds.csv, compositions.csv and
traffic.csv byte for byte, but for the seconds. Writes a row per engine and method; rows of engines
that are not named stay as they are. The exit code is 1 if a cell differs.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from ifl.checks import place, positive
from ifl.cli.console import spell_out
from ifl.errors import ConfigError, IFLError
from ifl.runs.folder import read_about
from ifl.trials.faults.files import content

METHODS = {
    "IFL": ["method=ifl"],
    "IFL, int4": ["method=ifl", "codec=int4", "codec.rounding=stochastic"],
    "FSL": ["method=fsl"],
    "FL": ["method=fl"],
    "LG-FedAvg": ["method=lg_fedavg"],
    "FedGH": ["method=fedgh", "participation.fraction=0.67"],
    "CSE-FSL": ["method=cse_fsl"],
}
COMPARED = ("rounds.csv", "compositions.csv", "traffic.csv")
PACKAGES = {"ray": "ray", "grpc": "grpcio", "flare": "nvflare"}  # that an engine stands on
SETTINGS = (
    *("clients=mlp_homogeneous", "clients.count=4", "fusion.dim=16", "batch_size=8"),
    *("local.tau=2", "eval_every=3", "runtime.workers=1", "runtime.threads=1"),
)
OUT = Path("outputs/reference/engines/equal.csv")


def main() -> int:
    """Compare the engines named; return the exit code."""
    spell_out()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--engines", nargs="+", metavar="NAME", required=True, help="conf/engine")
    parser.add_argument("--rounds", type=positive, default=6, help="of each run, 6 by default")
    parser.add_argument("--hosts", type=positive, default=2, help="of each engine, 2 by default")
    parser.add_argument("--out", type=place, default=OUT, help=f"the table, {OUT} by default")
    options = parser.parse_args()
    try:
        found = compared(options.engines, options.rounds, options.hosts)
    except IFLError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    updated(options.out, found)
    print(f"written: {options.out}")
    return int(any(row["differing"] or not row["rows"] for row in found))


def compared(engines: Sequence[str], rounds: int, hosts: int) -> list[dict[str, Any]]:
    """Run every method on engine=local and on these; return a row for each of the latter.

    Raises:
        ConfigError: a run fails; says what it said.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="ifl-engines-") as outputs:
        for method, typed in METHODS.items():
            typed = [*SETTINGS, *typed, f"rounds={rounds}"]
            local = ran([*typed, "engine=local"], Path(outputs, "local"))
            for engine in engines:
                chosen = [f"engine={engine}", f"engine.hosts={hosts}"]
                other = ran([*typed, *chosen], Path(outputs, engine))
                row = {"engine": engine, "method": method, "rounds": rounds}
                row |= difference(local, other) | measured(local, other) | versions(engine)
                rows.append(row)
                print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
    return rows


def ran(typed: Sequence[str], outputs: Path) -> Path:
    """Run a command of its own; return the folder of its run."""
    program = [sys.executable, "-m", "ifl", *typed, f"outputs={outputs}", "runtime.quiet=true"]
    before = {*outputs.glob("runs/*/run.json")}
    done = subprocess.run(program, capture_output=True, text=True, env=environment())
    made = [path.parent for path in outputs.glob("runs/*/run.json") if path not in before]
    if done.returncode or len(made) != 1:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise ConfigError(f"{' '.join(typed)} ended with code {done.returncode}: {said[-1]}")
    return made[0]


def environment() -> dict[str, str]:
    """Return what a command finds in its environment: one thread, as the runs are set."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def difference(one: Path, other: Path) -> dict[str, int]:
    """Return how many rows of the first run were compared, and in how many cells they differ."""
    rows = cells = 0
    for name in COMPARED:
        ours, theirs = (content(folder, name).split(b"\n") for folder in (one, other))
        rows += sum(map(bool, ours[1:]))  # without the names of the columns
        cells += sum(unequal(*pair) for pair in zip_longest(ours, theirs, fillvalue=b""))
    return {"rows": rows, "differing": cells}


def unequal(one: bytes, other: bytes) -> int:
    """Return in how many cells two lines differ."""
    return sum(a != b for a, b in zip_longest(one.split(b","), other.split(b",")))


def measured(local: Path, other: Path) -> dict[str, Any]:
    """Return what run.json says of the engine, and what both runs took."""
    one, two = (read_about(folder) or {} for folder in (local, other))
    told = two.get("engine", {})
    row = {key: told.get(key) for key in ("exchanges", "overhead_ms_per_exchange")}
    seconds = {"seconds": two, "local_seconds": one}
    return row | {key: about["totals"]["seconds"] for key, about in seconds.items()}


def versions(engine: str) -> dict[str, str]:
    """Return the versions of what an engine stands on, of torch and of Python."""
    package = PACKAGES.get(engine)
    own = f"{package} {version(package)}" if package else ""
    return {"package": own, "torch": version("torch"), "python": platform.python_version()}


def updated(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a table with these rows in place of those of the same engines."""
    table = pd.DataFrame([*rows])
    if out.exists():
        kept = pd.read_csv(out, keep_default_na=False, dtype=str)
        table = pd.concat([kept[~kept.engine.isin(table.engine)], table.astype(str)])
    out.parent.mkdir(parents=True, exist_ok=True)
    table.sort_values("engine", kind="stable").to_csv(out, index=False, lineterminator="\n")

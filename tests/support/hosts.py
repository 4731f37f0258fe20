"""Two processes for the parties of all tests of a module, since one takes seconds to start."""

from pathlib import Path

import pandas as pd

from ifl.engines.processes import Processes
from ifl.federation.build import Federation
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.runs.folder import RunFolder

HOSTS = Processes(hosts=2)


def hosts() -> Processes:
    """A ``_target_``: these processes, whatever federation they had before."""
    return HOSTS


def tables(federation: Federation, folder: Path, schedule: Schedule) -> dict[str, str]:
    """Run a federation; return what its tables hold but for the seconds."""
    with RunFolder(folder) as record:
        run(federation, record, {"seed": 0}, schedule)
    return written(folder)


def written(folder: Path) -> dict[str, str]:
    """Return what the tables in a folder hold but for the seconds."""
    found = {}
    for name in ("rounds", "compositions", "traffic", "metrics", "classes"):
        table = pd.read_csv(folder / f"{name}.csv", dtype=str)
        found[name] = table.drop(columns="seconds", errors="ignore").to_csv()
    return found

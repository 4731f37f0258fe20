"""Runs thousands of rounds of every method, and checks that memory stays flat."""

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from hydra import compose, initialize_config_dir

from ifl.cli.build import assemble
from ifl.cli.config import CONF
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.runs.folder import Round, RunFolder
from ifl.trials.faults.methods import chosen, every_method
from ifl.trials.memory import resident_mb

TINY = ("clients=mlp_homogeneous", "clients.count=3", "clients.members.0.base.widths=[]")
SMALL = ("fusion.dim=8", "clients.members.0.modular.widths=[]", "batch_size=4", "local.tau=1")
GROWTH = 0.02  # allowed, of the resident memory
SETTLED = 500  # rounds until nothing more may grow


def soak(
    method: str, rounds: int, settled: int = SETTLED, watch: Callable[[Round], None] | None = None
) -> tuple[float, float]:
    """Run rounds with evaluations, checkpoints and files; return resident MB when settled, at end.

    Args:
        settled: the round after which the first is read.
        watch: called with every row.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*chosen(method), *TINY, *SMALL, "runtime.workers=1"])
    federation, read = assemble(config), [0.0]

    def note(row: Round) -> None:
        if watch:
            watch(row)
        if row.round == settled:
            read[0] = resident_mb()

    schedule = Schedule(rounds, eval_every=10, checkpoint_every=50)
    with tempfile.TemporaryDirectory() as folder, RunFolder(Path(folder)) as record:
        run(federation, record, {}, schedule, note)
        return read[0], resident_mb()


def soaks(rounds: int, say: Callable[[str], None]) -> bool:
    """Soak every method, each in a process of its own; return whether memory was flat."""
    flat = True
    for method in every_method():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            before, after = pool.submit(soak, method, rounds).result()
        grown = after / before - 1
        flat &= grown <= GROWTH
        say(
            f"{method:12} {before:6.1f} MB after round {SETTLED}, {after:6.1f} MB after round "
            f"{rounds}: {grown:+.2%}"
        )
    return flat

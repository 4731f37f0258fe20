"""Times the checkpoints of the default configuration."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hydra import compose, initialize_config_dir

from ifl.cli.build import assemble
from ifl.cli.config import CONF
from ifl.federation import runner
from ifl.federation.schedule import Schedule
from ifl.runs import checkpoint
from ifl.runs.folder import RunFolder

BOUND = 0.02  # of a run's time


def cost(rounds: int, say: Callable[[str], None]) -> bool:
    """Run the default configuration and time its checkpoints; return whether they are cheap."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [])
    federation, spent = assemble(config), []
    keep = runner._keep

    def timed(*arguments: Any) -> None:
        start = time.perf_counter()
        keep(*arguments)
        spent.append(time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as folder, RunFolder(Path(folder)) as record:
        schedule = Schedule(rounds, config.eval_every, checkpoint_every=config.checkpoint_every)
        with patch.object(runner, "_keep", timed):
            start = time.perf_counter()
            runner.run(federation, record, {}, schedule)
            total = time.perf_counter() - start
        files = (record.path / checkpoint.FOLDER).rglob("*")
        size = sum(path.stat().st_size for path in files if path.is_file()) / 1e6
    share = sum(spent) / total
    say(
        f"{rounds} rounds {total:.1f} s, {len(spent)} checkpoints of {size:.1f} MB, "
        f"{1e3 * statistics.median(spent):.0f} ms each: {share:.2%} of the time"
    )
    return share <= BOUND

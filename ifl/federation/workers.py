"""Chooses the device, and runs independent pieces of a round on worker threads.

Torch leaves Python's lock while it computes, so one-thread workers keep all cores busy with
the clients of a round; a piece's result does not depend on how many workers there are.
"""

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

from ifl.checks import check_whole
from ifl.cores import available_cores
from ifl.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_device(name: str) -> tuple[str, str | None]:
    """Return the device to use, and a sentence where it is not the one asked for.

    Raises:
        ConfigError: the name is neither cpu nor mps nor cuda nor cuda:number.
    """
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", str(name)):
        raise ConfigError(
            f"runtime.device must be cpu, cuda or cuda:0, cuda:1, ..., or mps, got {name}"
        )
    if name == "mps":
        there = torch.backends.mps.is_available()
    else:
        number = int(name.partition(":")[2] or 0)
        there = name == "cpu" or number < torch.cuda.device_count()
    if there:
        return name, None
    return "cpu", f"runtime.device={name} is not on this machine: going on with the CPU."


class Workers:
    """A pool of threads; with one worker, the caller's own thread.

    Args:
        count: how many pieces are worked on at a time; None for one per core.
        threads: of torch, within each piece; another number may change the last digits of
            floats, another count may not.

    Raises:
        ConfigError: a number is not a whole number from 1.
    """

    def __init__(self, count: int | None = 1, threads: int = 1) -> None:
        self.count = available_cores() if count is None else count
        check_whole("runtime.workers", self.count, 1)
        check_whole("runtime.threads", threads, 1)
        torch.set_num_threads(threads)
        pin = partial(torch.set_num_threads, threads)
        self._pool = ThreadPoolExecutor(self.count, "ifl-worker", pin) if self.count > 1 else None

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return the function's results in the order of the items."""
        return list(self._pool.map(function, items) if self._pool else map(function, items))

"""Runs each stream of a gRPC server in a thread that does not hold up the end of the program."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Daemons(Executor):
    """Starts a thread for each call; a program that ends waits for none of them.

    Threads of a ``ThreadPoolExecutor`` are waited for, so that a program that never closes its
    server would not end.
    """

    def submit(self, call: Callable[..., T], /, *args: Any, **named: Any) -> "Future[T]":
        """Let a thread of its own make a call."""
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call(*args, **named))
                except BaseException as error:  # whoever waits for the future gets it
                    future.set_exception(error)

        Thread(target=run, daemon=True, name="ifl-grpc").start()
        return future

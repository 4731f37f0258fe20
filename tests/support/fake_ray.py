"""A package ray whose actors are objects of this process: what Ray says, without Ray."""

import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: Actor
\tpid: 123
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit \
detail: Worker unexpectedly exits with a connection error code 2. End of file."""


class RayError(Exception):
    """What all of Ray's exceptions are."""


class GetTimeoutError(RayError, TimeoutError):
    """An answer is not there yet."""


class Remote:
    """An actor as others see it: ``actor.method.remote(...)`` returns a call.

    Args:
        made: the object itself.
    """

    def __init__(self, made: Any) -> None:
        self.made, self.dead, self.silent = made, False, False

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *told: Call(self, getattr(self.made, name), told))


class Call:
    """A call's result, or what it raised."""

    def __init__(self, actor: Remote, method: Callable[..., Any], told: Sequence[Any]) -> None:
        self.actor, self.raised = actor, RayError(DIED)
        if not (actor.dead or actor.silent):
            try:
                self.result = method(*told)
            except Exception as error:
                self.raised = RayError(f"ray::Actor.answer()\n  File ...\n{error}")


class FakeRay(ModuleType):
    """The package.

    Attributes:
        settings: what it was started with.
        actors: those that were made.
        placed: what they were made with.
        refuses: raised in place of starting.
    """

    def __init__(self) -> None:
        super().__init__("ray")
        self.settings: dict[str, Any] = {}
        self.actors: list[Remote] = []
        self.placed: dict[str, Any] = {}
        self.refuses: Exception | None = None
        self.exceptions = SimpleNamespace(RayError=RayError, GetTimeoutError=GetTimeoutError)
        self._begun = False

    def init(self, **settings: Any) -> None:
        if self.refuses:
            raise self.refuses
        self.settings, self._begun = settings, True
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as Ray does

    def is_initialized(self) -> bool:
        return self._begun

    def shutdown(self) -> None:
        self._begun = False

    def remote(self, kind: Callable[[], Any]) -> Any:
        def options(**placed: Any) -> Any:
            self.placed = placed
            return SimpleNamespace(remote=lambda: self.actor(kind()))

        return SimpleNamespace(options=options)

    def actor(self, made: Any) -> Remote:
        self.actors.append(Remote(made))
        return self.actors[-1]

    def wait(
        self, calls: list[Call], num_returns: int, timeout: float
    ) -> tuple[list[Call], list[Call]]:
        there = [call for call in calls if not call.actor.silent][:num_returns]
        return there, [call for call in calls if call not in there]

    def get(self, call: Call, timeout: float) -> Any:
        if call.actor.silent:
            raise GetTimeoutError
        if not hasattr(call, "result"):
            raise call.raised
        return call.result

    def kill(self, actor: Remote) -> None:
        actor.dead = True


def faked(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """Let ``import ray`` find one of these."""
    made = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", made)
    return made

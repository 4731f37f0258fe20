"""Checks the uplink budget against the first round; remarks on what many clients make costly."""

from collections.abc import Hashable, Iterator, Mapping

import torch

from ifl.comm.channel import Channel
from ifl.comm.message import Message, encode
from ifl.comm.schema import Form
from ifl.errors import ConfigError
from ifl.federation.engine import Engine
from ifl.federation.schedule import Schedule
from ifl.runs.folder import BYTES_PER_MB

PATIENCE = 1000  # rounds in which to look for the first to which somebody comes
LARGE_POOL = 4096  # rows
MANY_COMPOSITIONS = 10_000


def check_budget(schedule: Schedule, engine: Engine) -> None:
    """Refuse a budget that the first round overruns, and one that is the only end but never met.

    Args:
        engine: before its first round.

    Raises:
        ConfigError: names the budget and what a round costs.
    """
    if schedule.uplink_mb is None:
        return
    sent, clients = first_uplink(engine), len(engine.clients)
    field = f"stop.uplink_mb={schedule.uplink_mb}"
    per = " per client" if schedule.per_client else ""
    if not sent and schedule.only_bytes:
        raise ConfigError(
            f"{field} is never reached, since {type(engine.method).__name__} sends nothing; set "
            "rounds or stop.seconds too"
        )
    if schedule.uplink_bytes(clients) < sent:
        cost = sent / BYTES_PER_MB / (clients if schedule.per_client else 1)
        raise ConfigError(
            f"{field}{per} is below what the first round sends, {cost:.6f} MB{per}; allow a "
            "round at least, or lower batch_size, fusion.dim or clients.count"
        )


def first_uplink(engine: Engine) -> int:
    """Return the bytes that go up in the first round to which somebody comes.

    They are those of uploads of zeros: with a codec whose sizes hang on the values, at least
    about so many.
    """
    seed, drawn = engine.training.seed, engine.participation.present
    rounds = (drawn(engine.clients, seed, number) for number in range(1, PATIENCE + 1))
    present = next(filter(None, rounds), [])
    sizes: dict[Hashable, int] = {}  # of each once: split learning expects one tau times
    total = 0
    for client in present:
        agreed = engine.channel.agreed_with(client.number)
        for form in engine.server.expects(client.number):
            key = tuple(form.items()), tuple(agreed.items())
            if key not in sizes:
                sizes[key] = _size(form, engine.channel, agreed)
            total += sizes[key]
    return total


def _size(form: Form, channel: Channel, agreed: Mapping[str, int]) -> int:
    tensors = {
        name: torch.zeros(expected.sizes(agreed), dtype=expected.dtype or torch.float32)
        for name, expected in form.items()
    }
    return len(encode(Message(**tensors), channel.codec, channel.classes))


def costly(engine: Engine) -> Iterator[str]:
    """Yield sentences on a pool that is large and an evaluation of many compositions, if so.

    Args:
        engine: before its first round.
    """
    method, count = engine.method, len(engine.clients)
    drawn = engine.participation.drawn(count)
    if getattr(method, "relay", None) == "all" and hasattr(method, "smallest_pool"):
        rows = method.smallest_pool(engine.training, drawn)
        if rows > LARGE_POOL:
            yield (
                f"A pool has {rows} rows of {drawn} clients, which all of them get and learn from "
                f"in every round: method.relay=sample method.relay_rows={LARGE_POOL // 4} passes "
                "some on"
            )
    if engine.evaluation.local_only or count**2 <= MANY_COMPOSITIONS:
        return
    with engine.looking():
        blocks = method.blocks(engine.clients, engine.server)
        sizes = (engine.evaluation.bases, engine.evaluation.modulars)
        bases, modulars = (
            min(len(some), size or len(some)) for some, size in zip(blocks, sizes, strict=True)
        )
    if bases * modulars > MANY_COMPOSITIONS:
        yield (
            f"An evaluation tests {bases} x {modulars} compositions: evaluate.bases=16 "
            "evaluate.modulars=16 draws some for each, evaluate.local_only=true leaves out those "
            "of two clients"
        )

"""Describes all that a run is made of, so that a checkpoint of anything else is recognised.

What a configuration cannot show is told by digests: the data, who holds which samples, each
network's structure, and the code of a user's own classes.
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ifl.data.dataset import Dataset
from ifl.errors import ConfigError
from ifl.federation.build import Federation
from ifl.federation.engine import Engine
from ifl.federation.own_code import own_code
from ifl.federation.schedule import Schedule
from ifl.methods.parts.passing import alike
from ifl.runs.comparison import difference

DEPTH = 6  # of objects within objects that are described


def identity(federation: Federation, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint of this federation carries, and one that is resumed has to equal.

    Args:
        config: all settings, as run.json has them.
    """
    engine = federation.engine
    return {
        "config": config,
        "data": data_digest(federation.data),
        "partition": _digest(part for part in federation.parts),
        "networks": {c.name: structure(c.model) for c in alike(engine.clients)},
        "code": {
            "method": own_code(engine.method, engine.server),
            "codec": own_code(engine.channel.codec),
            "optimizer": own_code(*_optimizers(engine)),
            "augment": own_code(engine.training.augment),
        },
    }


def check_identity(kept: Mapping[str, Any], mine: Mapping[str, Any], where: str) -> None:
    """Refuse to resume what is not the same run.

    Args:
        kept: what a checkpoint carries; parts that one of before has not are not compared.
        mine: ``identity`` of what is to be run.
        where: how the sentence calls the checkpoint.

    Raises:
        ConfigError: names what differs.
    """
    settings = difference(kept.get("config", mine["config"]), mine["config"])
    if what := settings or changed(kept, mine):
        raise ConfigError(
            f"{where} is of another run: {what}; put that back as it was, or start anew beside it "
            "(fresh=true, or another folder)"
        )


def changed(kept: Mapping[str, Any], mine: Mapping[str, Any]) -> str | None:
    """Return what differs besides the configuration, in words; None if nothing does."""
    if kept.get("data", mine["data"]) != mine["data"]:
        return "the images or labels of the data set have changed since"
    if kept.get("partition", mine["partition"]) != mine["partition"]:
        return "the partition deals other samples to the clients than it did"
    for name, network in mine["networks"].items():
        if kept.get("networks", {}).get(name, network) != network:
            return f"it was written by other networks than the code makes now, that of {name}"
    for name, code in mine["code"].items():
        if kept.get("code", {}).get(name, code) != code:
            return f"the code of the {name} has changed since"
    return None


def data_digest(data: Dataset) -> str:
    """Return the sha256 of both parts of a data set: types, shapes and values."""
    return _digest(t for shard in (data.train, data.test) for t in (shard.x, shard.y))


def structure(network: nn.Module) -> str:
    """Return the sha256 of a network without its values: modules, tensors and own code."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    shapes = [(n, None if is_lazy(t) else tuple(t.shape), str(t.dtype)) for n, t in tensors]
    text = f"{_steady(repr(network))} {shapes} {own_code(*network.modules())}"
    return hashlib.sha256(text.encode()).hexdigest()


def settings(federation: Federation, schedule: Schedule) -> dict[str, Any]:
    """Return what a run is made of as plain values, where no configuration says it."""
    engine = federation.engine
    first = engine.clients[0]
    training = engine.training
    return {
        "seed": training.seed,
        "rounds": schedule.rounds,
        "eval_every": schedule.eval_every,
        "evaluate": dataclasses.asdict(engine.evaluation),
        "batch_size": training.batch_size,
        "on_bad_upload": engine.reception.on_bad_upload,
        "stop": {
            "uplink_mb": schedule.uplink_mb,
            "per_client": schedule.per_client,
            "accuracy": schedule.accuracy,
            "patience": schedule.patience,
            "seconds": schedule.seconds,
        },
        "data": {"name": federation.data.name},
        "clients": {"count": len(engine.clients), "members": [c.name for c in engine.clients]}
        | _own_settings(engine),
        "fusion": {"dim": engine.channel.agreed.get("d")},
        "method": plain(engine.method),
        "codec": plain(engine.channel.codec),
        "adversary": plain(engine.adversary),
        "participation": plain(engine.participation),
        "augment": plain(training.augment),
        "privacy": plain(federation.disclosure),
        "optimizer": {
            "base": {**plain(type(first.base_optimizer)), **plain(first.base_optimizer.defaults)},
            "modular": {
                **plain(type(first.modular_optimizer)),
                **plain(first.modular_optimizer.defaults),
            },
            "decay_rounds": training.optimizers.decay_rounds,
        },
    }


def _own_settings(engine: Engine) -> dict[str, Any]:
    """Return the batch size and rates of clients that do not have those of all, by name."""
    rates = {
        id(client.training): [optimizer.defaults.get("lr") for optimizer in client.optimizers]
        for client in alike(engine.clients)
    }
    own = [client for client in engine.clients if client.training != engine.training]
    told = {
        client.name: {
            "batch_size": client.training.batch_size,
            "lr": rates[id(client.training)],
        }
        for client in own
    }
    return {"own": told} if told else {}


def plain(value: Any, depth: int = DEPTH) -> Any:
    """Return a value as nested mappings of plain ones; an object as its class and its fields."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return _digest([value])
    if hasattr(value, "__qualname__"):  # a class or a function
        return {"_target_": f"{value.__module__}.{value.__qualname__}"}
    if depth == 0:
        return _steady(repr(value))
    if isinstance(value, list | tuple):
        return [plain(inner, depth - 1) for inner in value]
    if isinstance(value, Mapping):
        fields: Mapping[Any, Any] = value
    elif isinstance(value, functools.partial):
        fields = {**plain(value.func), "arguments": value.args, **value.keywords}
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        fields = {**plain(type(value)), **{name: getattr(value, name) for name in names}}
    else:
        own = {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_")}
        fields = {**plain(type(value)), **own}
    return {str(key): plain(inner, depth - 1) for key, inner in fields.items()}


def _optimizers(engine: Engine) -> Sequence[object]:
    own = [optimizer for client in alike(engine.clients) for optimizer in client.optimizers]
    return [*own, *engine.server.optimizers()]


def _digest(arrays: Iterable[Tensor | np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        tensor = torch.as_tensor(array).detach().cpu().contiguous()
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _steady(text: str) -> str:
    """Return a repr without the places in memory that it may name."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)

"""Writes and reads checkpoints: all that the next rounds of a run depend on.

A checkpoint is the folder ``checkpoint/round-N`` of a run: tensors in safetensors, the rest in
JSON, never pickle. It is written under another name, brought to disk and renamed, and only then
is the one before it removed, so that a whole one is there at any instant. A checksum over both
files tells a torn or corrupt one, which is never loaded. Where some clients are not in memory, it
names the files of theirs in ``checkpoint/clients`` (``ifl.runs.parts``): only those that changed
are written, and a file goes when no checkpoint names it.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save, save_file
from torch import Tensor

from ifl.errors import ConfigError
from ifl.runs.comparison import CHECKPOINT, CLIENTS, FILES, OWN
from ifl.runs.parts import Part, hand_on, is_there, keep_only

State = Mapping[str, Any]  # nested mappings and lists of tensors, numbers, text and None
FEW = 16  # files that are brought to disk one by one
FORMAT, WITH_PARTS = 2, 3  # the latter where clients have files of their own
FOLDER, (TENSORS, REST) = CHECKPOINT, FILES
PLAIN = torch.contiguous_format


@dataclass(frozen=True)
class Checkpoint:
    """The state after a round.

    Args:
        parts: by client, of its state in ``folder``.
    """

    round: int
    state: State
    parts: Mapping[int, Part] = field(default_factory=dict)
    folder: Path = Path()


def write(
    run: Path,
    number: int,
    state: State,
    keep: int = 1,
    parts: Mapping[int, Part] | None = None,
    files: Mapping[int, Path] | None = None,
) -> None:
    """Make the state after round ``number`` the checkpoint of the folder ``run``.

    Args:
        keep: how many stay: this one, and the last of those before it.
        parts, files: of the state by client, if there are any, and where they are now.

    Raises:
        ConfigError: the state holds what is neither tensor nor plain value.
    """
    tensors: dict[str, Tensor] = {}
    rest = {"format": FORMAT, "round": number, "state": _take_out("", state, tensors, {})}
    if parts:
        rest |= {"format": WITH_PARTS, "parts": {k: asdict(part) for k, part in parts.items()}}
        rest = json.loads(json.dumps(rest))  # keys as they are read
        _take_in(run / FOLDER / CLIENTS, parts, files or {})
    payload = save(tensors)
    record = json.dumps({"sha256": _checksum(payload, rest), **rest})
    whole = run / FOLDER / f"round-{number}"
    partial = whole.with_suffix(".partial")
    for left_over in (partial, whole):  # a whole one of this round would have been loaded
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in ((TENSORS, payload), (REST, record.encode())):
        with open(partial / name, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    _sync_folder(partial)
    partial.rename(whole)
    _sync_folder(whole.parent)
    _sync_folder(run)
    before = sorted((n for n in held(run) if n < number), reverse=True)[: keep - 1]
    kept = {whole.name, *(f"round-{n}" for n in before)}
    for other in whole.parent.iterdir():
        if other.name not in kept and OWN.fullmatch(other.name):  # what else is there is a user's
            shutil.rmtree(other)
    older = [found.parts.values() for n in before if (found := at(run, n))]
    own = (parts or {}).values()
    keep_only(run / FOLDER / CLIENTS, [*own, *(part for its in older for part in its)])


def _take_in(folder: Path, parts: Mapping[int, Part], files: Mapping[int, Path]) -> None:
    """Have these parts on disk in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = [number for number, part in parts.items() if not is_there(folder, part)]
    at_once = len(fresh) > FEW and sys.platform == "linux"  # where sync waits for its end
    if at_once:
        os.sync()
    for number in fresh:
        hand_on(files[number], folder / parts[number].name, durable=not at_once)
    _sync_folder(folder)


def newest(run: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of a run's folder, if there is one."""
    found = (at(run, number) for number in sorted(held(run), reverse=True))
    return next((checkpoint for checkpoint in found if checkpoint is not None), None)


def held(run: Path) -> list[int]:
    """Return the rounds of which a run's folder has checkpoints, whole or not."""
    names = [path.name.removeprefix("round-") for path in (run / FOLDER).glob("round-*")]
    return [int(name) for name in names if name.isdecimal()]


def at(run: Path, number: int) -> Checkpoint | None:
    """Return the checkpoint of a round, if there is a whole one."""
    path = run / FOLDER / f"round-{number}"
    try:
        payload = (path / TENSORS).read_bytes()
        rest = json.loads((path / REST).read_text(encoding="utf-8"))
        told = rest.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if told != _checksum(payload, rest) or rest["format"] not in (FORMAT, WITH_PARTS):
        return None
    parts = {int(k): Part(**its) for k, its in rest.get("parts", {}).items()}
    folder = run / FOLDER / CLIENTS
    if not all(is_there(folder, part) for part in parts.values()):
        return None
    return Checkpoint(rest["round"], _put_back(rest["state"], load(payload)), parts, folder)


def to_bytes(state: State) -> bytes:
    """Return a state as bytes, for ``from_bytes``: its JSON, how long that is, its tensors.

    Raises:
        ConfigError: the state holds what is neither tensor nor plain value.
    """
    tensors: dict[str, Tensor] = {}
    rest = json.dumps(_take_out("", state, tensors, {})).encode()
    return b"".join([len(rest).to_bytes(8, "little"), rest, save(tensors)])


def from_bytes(payload: bytes) -> State:
    """Return the state that ``to_bytes`` was given, with the lists that JSON made of tuples."""
    end = 8 + int.from_bytes(payload[:8], "little")
    state: State = _put_back(json.loads(payload[8:end]), load(payload[end:]))
    return state


def write_file(path: Path, state: State) -> None:
    """Write a state to a file of its own, its JSON in the header of its tensors.

    Raises:
        ConfigError: the state holds what is neither tensor nor plain value.
    """
    tensors: dict[str, Tensor] = {}
    rest = json.dumps(_take_out("", state, tensors, {}, copied=False))
    try:
        save_file(tensors, path, {"state": rest})
    except (RuntimeError, ValueError):  # some are views of one another
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, {"state": rest})


def read_file(path: Path) -> State:
    """Return the state that was written to a file, with the lists that JSON made of tuples."""
    payload = path.read_bytes()
    end = 8 + int.from_bytes(payload[:8], "little")
    rest = json.loads(payload[8:end])["__metadata__"]["state"]
    state: State = _put_back(json.loads(rest), load(payload))
    return state


def size_of(state: Any) -> int:
    """Return the bytes of all tensors in a state."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    inner = state.values() if isinstance(state, Mapping) else state
    return sum(map(size_of, inner)) if isinstance(state, Mapping | list | tuple) else 0


def _checksum(payload: bytes, rest: State) -> str:
    digest = hashlib.sha256(payload)
    digest.update(json.dumps(rest).encode())
    return digest.hexdigest()


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # Windows opens no folder, and needs no sync of one
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_out(
    name: str,
    value: Any,
    tensors: dict[str, Tensor],
    taken: dict[tuple[Any, ...], str],
    copied: bool = True,
) -> Any:
    """Return the value with its tensors moved to ``tensors``, their names in their places.

    Args:
        taken: names by place in memory: what stands in the state twice is kept once.
        copied: so that what is taken does not change with the state.
    """
    if isinstance(value, Tensor):
        place = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() and place in taken:
            return {"tensor": taken[place]}
        name = f"{len(tensors)}{name}"  # none twice
        there = value.detach().cpu()
        tensors[name] = there.clone(memory_format=PLAIN) if copied else there.contiguous()
        taken[place] = name
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {
            key: _take_out(f"{name}/{key}", v, tensors, taken, copied) for key, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [_take_out(f"{name}/{i}", v, tensors, taken, copied) for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(
        f"a checkpoint holds tensors, numbers and text, but {name} is a {type(value).__name__}; "
        "set checkpoint_every=null, or choose another optimizer"
    )


def _put_back(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if list(value) == ["tensor"] and isinstance(value["tensor"], str):
            return tensors[value["tensor"]]
        return {key: _put_back(v, tensors) for key, v in value.items()}
    return [_put_back(v, tensors) for v in value] if isinstance(value, list) else value

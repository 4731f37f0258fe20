"""Compares what a run's folder holds with what is asked for, in a sentence that names both."""

import json
import os
import re
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

from ifl.checks import typed
from ifl.errors import ConfigError
from ifl.runs.folder import TABLES, read_about
from ifl.runs.identity import flatten, relevant
from ifl.runs.parts import NAME

ANOTHER = "name another folder, or leave out hydra.run.dir: it then follows from the configuration"
OWN_FOLDERS = ("ImageFolder", "DatasetFolder")  # of torchvision: of which it knows nothing
CHECKPOINT, OWN = "checkpoint", re.compile(r"round-\d+(\.partial)?")  # a folder, those within
CLIENTS = "clients"  # the folder within it of parts of a state (ifl.runs.parts)
FILES = ("tensors.safetensors", "state.json")  # of a checkpoint
OTHERS = (
    CHECKPOINT,
    "classes.csv",
    "predictions.safetensors",
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
)
ENDS = ("rounds", "eval_every", "stop")  # when a run is tested and ended, not how it is trained


def difference(there: Mapping[str, Any], here: Mapping[str, Any], *without: str) -> str | None:
    """Return where two configurations first differ; None if their fingerprints are the same.

    Keys without a dot, which are typed most, come before the others.

    Args:
        there, here: nested mappings of plain values, as run.json has them.
        without: dotted keys that do not count, such as "rounds".

    >>> difference({"seed": 0, "local": {"tau": 5}}, {"seed": 1, "local": {"tau": 6}})
    'seed is 0 there and 1 here'
    """
    kept, asked = relevant(there, *without), relevant(here, *without)
    differing = [
        key
        for key in {**asked, **kept}
        if json.dumps(kept.get(key), default=str) != json.dumps(asked.get(key), default=str)
        or (key in kept) != (key in asked)
    ]
    if not differing:
        return None
    key = min(differing, key=lambda key: key.count("."))
    named = key.removesuffix("._target_")
    return f"{named} is {_value(there, key)} there and {_value(here, key)} here"


def _value(config: Mapping[str, Any], key: str) -> str:
    flat = flatten(config)
    return typed(flat[key]) if key in flat else "not set"


def check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a folder that holds anything but the run of this configuration, or nothing of a run.

    Raises:
        ConfigError: names the first key that differs, or the file that is no run's.
    """
    about = read_about(folder)
    if about is None:
        _check_bare(folder)
        return
    there = about.get("config")
    if not isinstance(there, Mapping):
        raise ConfigError(f"{folder} holds a run that does not say its configuration; {ANOTHER}")
    if where := difference(there, config):
        raise ConfigError(f"{folder} holds another run: {where}; {ANOTHER}")
    if where := _other_place(there, config):
        raise ConfigError(
            f"{folder} holds another run: {where}, and what lies there is not compared; give the "
            "two another data.name each, or name another folder with hydra.run.dir"
        )


def _other_place(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Return where a user's own data lay and lie, if at two places; None if they are told apart.

    The ready-made sets check what they read, or a digest of it is part of the configuration.
    """
    kept, asked = flatten(there.get("data")), flatten(here.get("data"))
    if str(asked.get("_target_")).startswith("ifl.") and asked.get("dataset") not in OWN_FOLDERS:
        return None
    first, second = (str(Path(str(data.get("root"))).expanduser()) for data in (kept, asked))
    if asked.get("contents") is not None or os.path.abspath(first) == os.path.abspath(second):
        return None
    return f"data.root is {first} there and {second} here"


def holds(folder: Path, config: Mapping[str, Any]) -> bool:
    """Return whether the folder holds the run of this configuration."""
    there = (read_about(folder) or {}).get("config")
    return isinstance(there, Mapping) and difference(there, config) is None


def beginnings(path: Path, config: Mapping[str, Any]) -> list[Path]:
    """Return finished runs beside a run's folder that differ from it in nothing but their end.

    The longest come first. Neighbours are those that are named alike but for the last word, the
    fingerprint.
    """
    found = []
    alike = f"{escape(path.name.rpartition('-')[0])}*/run.json"
    for folder in (file.parent for file in path.parent.glob(alike) if file.parent != path):
        about = read_about(folder) or {}
        there, why = about.get("config"), str(about.get("stop_reason"))
        if not about.get("finished") or not isinstance(there, Mapping):
            continue
        if why.startswith(("rounds=", "stop.")) and difference(there, config, *ENDS) is None:
            found.append((int(about["totals"]["rounds"]), folder))
    return [folder for _, folder in sorted(found, reverse=True)]


def _check_bare(folder: Path) -> None:
    """Refuse tables that no run.json goes with: what a run would write over is not its own."""
    if (folder / "run.json").exists():
        raise ConfigError(
            f"{folder / 'run.json'} is damaged, or no run's; remove the folder if it is, and the "
            "same command runs it again, or name another one"
        )
    checkpoints = [*(folder / CHECKPOINT).glob("*")]
    foreign = [path for path in checkpoints if not _is_checkpoint(path)]
    if not checkpoints:  # which say themselves what they are of
        foreign = [folder / name for name in OTHERS if (folder / name).is_file()]
    if foreign:
        raise ConfigError(
            f"{folder} holds {foreign[0].relative_to(folder)} and no run.json, so it is not known "
            f"what it is of; move that away, or {ANOTHER}"
        )
    if checkpoints:
        return
    heads = {f"{name}.csv": ",".join(columns) for name, columns in TABLES.items()}
    for name, head in {**heads, "partition.csv": None}.items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8", errors="replace").strip() not in (
            "",
            head,
        ):
            raise ConfigError(
                f"{folder} holds a {name} and no run.json, so it is not known what it is of; move "
                f"the file away, or {ANOTHER}"
            )


def _is_checkpoint(path: Path) -> bool:
    """Return whether a run wrote this, and nobody anything into it."""
    names = {p.name for p in path.glob("*")}
    if path.name == CLIENTS:
        return all(NAME.fullmatch(name) for name in names)
    return bool(OWN.fullmatch(path.name)) and names <= {*FILES}

"""Exports a trained block of a finished run to files that need no source of its network."""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ifl
from ifl.blocks.card import SCALINGS, Card, Kind
from ifl.blocks.files import check_free, checked_block, samples, write_files
from ifl.blocks.program import Block
from ifl.blocks.serialise import check_same, files_of
from ifl.checks import check_one_of
from ifl.errors import BlockError, ConfigError
from ifl.federation.trained import KINDS, Trained
from ifl.runs.wholeness import digests


def export_block(
    trained: Trained,
    kind: Kind,
    owner: str | int,
    out: Path | str,
    licence: str | None = None,
    samples_are: str | None = None,
) -> Block:
    """Write a block's weights, program and card into a new folder; return what was written.

    Args:
        trained: a finished run.
        kind: base or modular.
        owner: the number of a client, or "server".
        out: the folder.
        licence: what others may do with the block.
        samples_are: images, floats or tokens, of a run of before that does not say it.

    Raises:
        BlockError: there is something in the place of the folder, or the block cannot be written
            as a program.
        ConfigError: there is no such block, or it does not tell what its samples are.
        OutputError: the folder cannot be written.
    """
    check_one_of("block", kind, *KINDS)
    out = Path(out).expanduser()
    check_free(out)
    module = trained.block(kind, owner)
    card = card_of(trained, kind, str(owner), licence, samples_are)
    made: list[Block] = []

    def check(folder: Path) -> None:
        made.append(checked_block(folder))
        check_same(module, made[0], samples(card, 8))

    try:
        write_files(out, files_of(module, card), check)
    except BlockError as error:
        raise BlockError(f"{card.title}: {error}") from error
    return made[0]


def card_of(
    trained: Trained,
    kind: Kind,
    owner: str,
    licence: str | None = None,
    samples_are: str | None = None,
) -> Card:
    """Return what a run says of a block, without digests of its files.

    Raises:
        ConfigError: the run does not tell what its samples are.
    """
    about, agreed = trained.about, trained.agreed
    config = about.get("config") or {}
    found = agreed.get("samples", "tokens" if agreed["tokens"] else samples_are)
    if found is None:
        raise ConfigError(
            f"{trained.path} is of an older version, which did not keep whether samples are "
            "images, which are scaled, or floats; --samples images or --samples floats says it"
        )
    if samples_are not in (None, found):
        raise ConfigError(f"{trained.path} has {found} as samples; leave --samples out")
    names = [str(name) for name in agreed.get("class_names") or about.get("class_names") or ()]
    rows = trained.compositions()
    mine, other = ("base", "modular") if kind == "base" else ("modular", "base")
    method = about.get("method") or {"title": _name(config.get("method"))}
    versions = {name: version(name) for name in ("torch", "safetensors")}
    return Card(
        block=kind,
        owner=owner,
        fusion_dim=agreed["fusion_dim"],
        shape=[*agreed["shape"]],
        samples=found,
        scaling=SCALINGS[found],
        classes=names or [str(number) for number in range(agreed["classes"])],
        method=method["title"],
        rounds=about["totals"]["rounds"],
        run=str(about.get("run") or run_digest(trained.path, str(about.get("data_digest")))),
        data=about.get("data") or config["data"]["name"],
        data_sha256=str(about["data_digest"]),
        accuracies=[
            {"with": str(row[other]), "accuracy": float(row["accuracy"])}
            for _, row in rows[rows[mine] == owner].iterrows()
        ],
        licence=licence,
        versions={"ifl": ifl.__version__, "python": platform.python_version(), **versions},
        sha256={},
    )


def run_digest(folder: Path, data: str) -> str:
    """Return 16 digits that tell a run by its data and its tables, but for the seconds.

    They say nothing of its settings: those, with a seed, might be guessed.
    """
    text = json.dumps([data, sorted(digests(folder).items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _name(method: Any) -> str:
    """Return the name of a method's class where a run says no title."""
    target = method.get("_target_") if isinstance(method, Mapping) else method
    return str(target or "unknown").rpartition(".")[2]

"""Writes blocks as files, and changes them as somebody who knows the format would."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ifl.blocks.card import NAME, PROGRAM, SCALINGS, WEIGHTS, Card
from ifl.blocks.files import write_files
from ifl.blocks.serialise import files_of

SHAPE, DIM, CLASSES = (1, 8, 8), 16, 4
GRAPH = "models/model.json"
CARD = Card(
    block="base",
    owner="0",
    fusion_dim=DIM,
    shape=[*SHAPE],
    samples="images",
    scaling=SCALINGS["images"],
    classes=[str(number) for number in range(CLASSES)],
    method="IFL",
    rounds=2,
    run="0123456789abcdef",
    data="tiny",
    data_sha256="0" * 64,
    accuracies=[{"with": "1", "accuracy": 0.75}],
    licence="CC BY 4.0",
    versions={"ifl": "0"},
    sha256={},
)


def written(module: nn.Module, folder: Path, **changes: Any) -> Path:
    """Write a block's files into a new folder and return it."""
    write_files(folder, files_of(module, replace(CARD, **changes)))
    return folder


def copied(source: Path, folder: Path) -> Path:
    """Copy a block's files into a folder and return it."""
    folder.mkdir()
    for name in (NAME, WEIGHTS, PROGRAM):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


def set_on_card(folder: Path, **fields: Any) -> None:
    """Change fields of a card; None as text "absent" removes one."""
    card = json.loads((folder / NAME).read_text(encoding="utf-8"))
    card = {key: value for key, value in {**card, **fields}.items() if value != "absent"}
    (folder / NAME).write_text(json.dumps(card), encoding="utf-8")


def digested(folder: Path) -> None:
    """Let a card tell the digests that its files have now."""
    sums = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in (WEIGHTS, PROGRAM)}
    set_on_card(folder, sha256=sums)


Members = dict[str, bytes]  # of a .pt2 file, by their names below its one folder


def change_program(folder: Path, change: Callable[[Members], None], packed: bool = False) -> None:
    """Change the members of a block's program, and its card's digest with them."""
    path = folder / PROGRAM
    with zipfile.ZipFile(path) as file:
        root = file.namelist()[0].partition("/")[0]
        members = {i.filename.removeprefix(f"{root}/"): file.read(i) for i in file.infolist()}
    change(members)
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, payload in members.items():
            file.writestr(f"{root}/{name}", payload)
    path.write_bytes(buffer.getvalue())
    digested(folder)


def change_graph(members: Members, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON of a program."""
    graph = json.loads(members[GRAPH])
    change(graph)
    members[GRAPH] = json.dumps(graph).encode()


def nodes(program: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of a program."""
    found: list[dict[str, Any]] = program["graph_module"]["graph"]["nodes"]
    return found

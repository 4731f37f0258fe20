"""Reads a .pt2 file, a zip of JSON and raw tensors, without torch's own loader of it.

``torch.export.load`` runs code of who wrote the file: it unpickles sample inputs, and weights and
constants that say so, and evaluates sizes and guards as Python. Here members are read as what they
are, JSON and bytes; pickles, code and expressions that are no plain sizes are refused, whoever
reads the file afterwards.
"""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ifl.blocks.graph import DTYPES, STRIDED
from ifl.errors import BlockError

PROGRAM = "models/model.json"
INPUTS = "data/sample_inputs/model.pt"
CONFIGS = {
    "weight": "data/weights/model_weights_config.json",
    "tensor": "data/constants/model_constants_config.json",
}
FOLDERS = {"weight": "data/weights", "tensor": "data/constants"}  # tensor: a constant
PLAIN = {
    "archive_format",
    "archive_version",
    "byteorder",
    ".data/version",
    ".data/serialization_id",
}
NEEDED = {PROGRAM, *CONFIGS.values()}
TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d+", re.ASCII)
SIZE = re.compile(  # a size as SymPy writes one: symbols, whole numbers, and what is made of them
    r"(Symbol\('[a-z]{1,2}\d+'(, (positive|nonnegative|integer)=True)*\)"
    r"|(Add|CeilDiv|CleanDiv|FloorDiv|Integer|Max|Min|Mod|Mul|PythonMod)(?=\()|-?\d{1,9}|[(), ])*",
    re.ASCII,
)
TREES = {"builtins.tuple", "builtins.list", "builtins.dict", None}


@dataclass(frozen=True)
class Archive:
    """The contents of a .pt2 file.

    Args:
        program: models/model.json.
        tensors: weights and constants by name.
    """

    program: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_archive(payload: bytes) -> Archive:
    """Return what a .pt2 file holds.

    Raises:
        BlockError: it is none, or holds what could run code in torch's own loader.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as file:
            members = dict(_members(file, len(payload)))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise BlockError(f"program.pt2 cannot be read as a zip file ({error})") from error
    try:
        program = json.loads(members[PROGRAM])
        tensors: dict[str, Tensor] = {}
        for kind, name in CONFIGS.items():
            for key, entry in json.loads(members[name])["config"].items():
                tensors[str(key)] = _tensor(kind, str(key), entry, members)
        _check_plain(program)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BlockError(
            f"program.pt2 is not as torch.export writes it ({type(error).__name__}: "
            f"{str(error)[:80]}); ask its sender to export it anew"
        ) from error
    return Archive(program, tensors)


def _members(file: zipfile.ZipFile, size: int) -> Iterator[tuple[str, bytes]]:
    """Yield the members by their name below the one folder that holds all, each once."""
    infos = file.infolist()
    names = [info.filename for info in infos]
    if len({*names}) < len(names):
        raise BlockError("program.pt2 holds a file twice, and torch may read the other one")
    root = names[0].partition("/")[0] if names else ""
    found = {name.removeprefix(f"{root}/") for name in names}
    if lacking := sorted(NEEDED - found):
        raise BlockError(
            f"program.pt2 lacks {lacking[0]}, which torch.export of torch 2.14 writes; export it "
            "with such a version"
        )
    if sum(info.file_size for info in infos) > size:
        raise BlockError("program.pt2 unpacks to more than its own size, and torch packs nothing")
    for info in infos:
        name = info.filename.removeprefix(f"{root}/")
        if name == INPUTS and info.file_size:
            raise BlockError(
                "program.pt2 holds sample inputs, a pickle that torch's own loader would run; "
                "a block goes without"
            )
        if name not in NEEDED | PLAIN | {INPUTS} and not TENSOR.fullmatch(name):
            raise BlockError(
                f"program.pt2 holds {info.filename[:80]}, and a block has weights, constants and a "
                "program alone"
            )
        yield name, file.read(info)


def _tensor(kind: str, key: str, entry: Mapping[str, Any], members: Mapping[str, bytes]) -> Tensor:
    """Return a weight or a constant from its raw bytes."""
    path = entry["path_name"]
    if entry["use_pickle"] is not False or not str(path).startswith(f"{kind}_"):
        raise BlockError(
            f"program.pt2 keeps {key[:80]} as a pickle or an object, which could run code; a block "
            "has plain tensors alone"
        )
    meta, raw = entry["tensor_meta"], members[f"{FOLDERS[kind]}/{path}"]
    sizes, strides = ([size["as_int"] for size in meta[name]] for name in ("sizes", "strides"))
    dtype = DTYPES[meta["dtype"]]
    if meta["layout"] != STRIDED or meta["storage_offset"] != {"as_int": 0}:
        raise ValueError(f"{key} is not laid out plainly")
    if strides != [prod(max(size, 1) for size in sizes[n + 1 :]) for n in range(len(sizes))]:
        raise ValueError(f"{key} is not contiguous")
    if len(raw) != prod(sizes) * dtype.itemsize:
        raise ValueError(f"{key} has {len(raw)} bytes for the shape {sizes}")
    if not raw:
        return torch.empty(sizes, dtype=dtype)
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(sizes)


def _check_plain(program: Any) -> None:
    """Refuse what torch's own loader, or the module that it gives, would evaluate as Python."""
    if program.get("guards_code"):
        raise BlockError("program.pt2 holds guards, which torch runs as Python; a block has none")
    waiting = [program]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key == "expr_str" and not SIZE.fullmatch(str(inner)):
                    raise BlockError(
                        f"program.pt2 has a size {str(inner)[:60]!r}, which is more than symbols "
                        "and numbers, and which torch's own loader would evaluate as Python"
                    )
                if key in ("in_spec", "out_spec"):
                    _check_tree(json.loads(inner)[1])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_tree(tree: Mapping[str, Any]) -> None:
    """Refuse a structure of inputs or outputs that is more than tuples, lists and dictionaries."""
    if tree["type"] not in TREES or tree["context"] not in (None, "null", "[]"):
        raise BlockError(
            f"program.pt2 takes or gives a {str(tree['type'])[:60]}; a block takes and gives a "
            "tensor"
        )
    for child in tree["children_spec"]:
        _check_tree(child)

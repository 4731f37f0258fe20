"""Nothing in a block's files is unpickled, evaluated or run before it is checked.

Who changes a file here knows the format, and lets the card tell the new digests.
"""

import io
import os
import pickle
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_blocks import (
    DIM,
    Members,
    change_graph,
    change_program,
    copied,
    digested,
    nodes,
    written,
)
from safetensors.torch import load, save_file
from torch import nn

from ifl.blocks.card import PROGRAM, WEIGHTS
from ifl.blocks.files import read_block
from ifl.errors import BlockError

MARK = "somebody-ran-this"
CODE = f"open({MARK!r}, 'w').close()"
WEIGHTS_CONFIG = "data/weights/model_weights_config.json"
CONSTANTS_CONFIG = "data/constants/model_constants_config.json"


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (CODE,))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    block = nn.Sequential(nn.Flatten(), nn.Linear(64, DIM), nn.ReLU())
    return written(block, tmp_path_factory.mktemp("untrusted") / "b")


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return copied(whole, tmp_path / "b")


def torch_pickle() -> bytes:
    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    return buffer.getvalue()


def inputs(members: Members) -> None:
    members["data/sample_inputs/model.pt"] = torch_pickle()


def weight(members: Members) -> None:
    members[WEIGHTS_CONFIG] = members[WEIGHTS_CONFIG].replace(
        b'"use_pickle": false', b'"use_pickle": true', 1
    )
    members["data/weights/weight_0"] = torch_pickle()


def constant(members: Members) -> None:
    entry = b'{"path_name": "opaque_obj_0", "is_param": false, "use_pickle": true}'
    members[CONSTANTS_CONFIG] = b'{"config": {"c": ' + entry + b"}}"


def opaque(members: Members) -> None:
    members["data/constants/opaque_obj_0"] = pickle.dumps(Evil())


def legacy(members: Members) -> None:
    members["data/weights/model.pt"] = torch_pickle()


def compiled(members: Members) -> None:
    members["data/aotinductor/model/library.so"] = b"\x7fELF"


def size(members: Members) -> None:
    name = "models/model.json"
    members[name] = members[name].replace(b"Symbol('s", f"({CODE}) or Symbol('s".encode(), 1)


def guards(members: Members) -> None:
    change_graph(members, lambda program: program.update(guards_code=[CODE]))


def tree(members: Members) -> None:
    name = "models/model.json"
    members[name] = members[name].replace(
        b'\\"builtins.tuple\\"', b'\\"collections.defaultdict\\"', 1
    )


def target(name: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        change_graph(members, lambda program: nodes(program)[-1].update(target=name))

    return change


def training(members: Members) -> None:
    entry = {"name": "training", "arg": {"as_bool": True}, "kind": 1}
    change_graph(members, lambda program: nodes(program)[-1]["inputs"].append(entry))


def early(members: Members) -> None:
    change_graph(members, lambda program: nodes(program).reverse())


def mutation(members: Members) -> None:
    entry = {"buffer_mutation": {"arg": {"name": "relu"}, "buffer_name": "1.bias"}}
    change_graph(
        members,
        lambda program: program["graph_module"]["signature"]["output_specs"].insert(0, entry),
    )


def version(members: Members) -> None:
    change_graph(members, lambda program: program["schema_version"].update(major=9))


def nonsense(members: Members) -> None:
    change_graph(members, lambda program: program["graph_module"].pop("signature"))


def deep(members: Members) -> None:
    members["models/model.json"] = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"


def bytes_changed(members: Members) -> None:
    members["data/weights/weight_0"] = bytes(len(members["data/weights/weight_0"]))


def cut(members: Members) -> None:
    members["data/weights/weight_0"] = members["data/weights/weight_0"][:-4]


def lacking(members: Members) -> None:
    del members["models/model.json"]


CHANGES = {
    "sample inputs": (inputs, "holds sample inputs, a pickle that torch's own loader would run"),
    "a pickled weight": (weight, "keeps 1.weight as a pickle or an object, which could run code"),
    "a pickled constant": (constant, "keeps c as a pickle or an object"),
    "an object": (opaque, "opaque_obj_0, and a block has weights, constants and a program alone"),
    "weights as before": (legacy, "data/weights/model.pt, and a block has weights, constants and"),
    "a library": (compiled, "library.so, and a block has weights, constants and a program alone"),
    "a size": (size, "which is more than symbols and numbers"),
    "guards": (guards, "holds guards, which torch runs as Python"),
    "a structure": (tree, "takes or gives a collections.defaultdict; a block takes and gives a"),
    "a command": (target("torch.os.system"), "calls torch.os.system, which is none of the"),
    "a file": (target("torch.ops.aten.from_file.default"), "calls torch.ops.aten.from_file"),
    "memory": (target("torch.ops.aten.as_strided.default"), "calls torch.ops.aten.as_strided"),
    "a dunder": (target("torch.ops.aten.__class__.mro"), "calls torch.ops.aten.__class__.mro"),
    "in place": (target("torch.ops.aten.relu_.default"), "relu_.default, which is none of the"),
    "into another": (target("torch.ops.aten.add.out"), "add.out, which writes into what it is"),
    "an overload": (target("torch.ops.aten.relu.other"), "aten.relu.other, which torch 2"),
    "training": (training, "with training=True, as in training"),
    "an early use": (early, "before it computes it"),
    "a mutation": (mutation, "a block takes one tensor, gives one, and changes nothing"),
    "a later schema": (version, "has version 9 of torch.export's schema, and 8 is read here"),
    "no signature": (nonsense, "is not as torch.export writes it (KeyError: 'signature')"),
    "depth": (deep, "is not as torch.export writes it (RecursionError"),
    "other weights": (bytes_changed, "hold other values of 1.weight"),
    "fewer weights": (cut, "has 4092 bytes for the shape [16, 64]"),
    "no program": (lacking, "lacks models/model.json"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_program_is_refused_in_a_sentence_and_not_run(name: str, folder: Path) -> None:
    change, sentence = CHANGES[name]
    change_program(folder, change)
    with pytest.raises(BlockError) as error:
        read_block(folder)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not os.path.exists(MARK)


def test_the_same_file_runs_code_in_the_loader_of_torch(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """So that the refusals above are not for nothing: a size is enough."""
    change_program(folder, lambda members: None)
    read_block(folder)
    change_program(folder, size)
    torch.export.load(folder / PROGRAM)
    assert os.path.exists(MARK)


def test_a_program_that_was_not_changed_is_taken_by_torch_too(folder: Path) -> None:
    x = torch.randn(3, 1, 8, 8)
    theirs, ours = torch.export.load(folder / PROGRAM).module(), read_block(folder)
    with torch.no_grad():
        assert torch.equal(theirs(x), ours(x))


def test_no_path_and_no_line_of_source_is_in_a_program(folder: Path) -> None:
    payload = (folder / PROGRAM).read_bytes()
    for word in (b"site-packages", b".py", b'stack_trace": "F', str(folder.parent).encode()):
        assert word not in payload


def test_a_packed_or_doubled_program_is_refused(folder: Path) -> None:
    def padded(members: Members) -> None:
        members["byteorder"] = b"little" + b" " * 10**6

    change_program(folder, padded, packed=True)
    with pytest.raises(BlockError, match="unpacks to more than its own size"):
        read_block(folder)


def test_a_file_that_is_no_zip_is_refused(folder: Path) -> None:
    (folder / PROGRAM).write_bytes(torch_pickle()[:100])
    digested(folder)
    with pytest.raises(BlockError, match="cannot be read as a zip file"):
        read_block(folder)


def test_weights_are_safetensors_and_finite(folder: Path) -> None:
    tensors = load((folder / WEIGHTS).read_bytes())
    (folder / WEIGHTS).write_bytes(torch_pickle())
    digested(folder)
    with pytest.raises(BlockError, match="is no safetensors file"):
        read_block(folder)
    tensors["1.bias"][3] = torch.nan
    save_file(tensors, folder / WEIGHTS)
    digested(folder)
    with pytest.raises(BlockError, match=r"1\.bias holds values that are not finite"):
        read_block(folder)
    assert not os.path.exists(MARK)


VALUES: tuple[Any, ...] = (None, True, -1, 2**63, 10**30, 1.5, "x", "Infinity", [], {}, [[1]])
VALUES += ({"as_int": -5}, {"as_ints": [10**6, 10**6]}, {"as_tensor": {"name": "input"}})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths to everything within a JSON value."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from places(inner, (*path, key))


@pytest.mark.parametrize("seed", range(4))
def test_a_program_changed_anywhere_is_read_or_refused_in_a_sentence(
    seed: int, whole: Path, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    said = []
    for number in range(40):

        def change(program: dict[str, Any]) -> None:
            *path, last = chance.choice([*places(program["graph_module"])])
            found: Any = program["graph_module"]
            for key in path:
                found = found[key]
            found[last] = deepcopy(chance.choice(VALUES))

        folder = copied(whole, tmp_path / str(number))
        change_program(folder, partial(change_graph, change=change))
        try:
            read_block(folder)
        except BlockError as error:
            said.append(str(error))
    assert len(said) > 10
    assert not any("\n" in sentence for sentence in said)

"""Reads the graph of a .pt2 program, which is JSON, into steps; nothing of it is evaluated.

The fields are those of torch's ``torch._export.serde.schema``, major version 8. Of expressions
with symbols, which torch's own loader evaluates as Python, none is read: sizes follow from the
samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ifl.blocks.operators import OF_TRAINING, operator_of
from ifl.errors import BlockError

MAJOR = 8  # of the schema
MOST_STEPS = 20_000
DTYPES = dict(
    enumerate(
        (
            torch.uint8,
            torch.int8,
            torch.int16,
            torch.int32,
            torch.int64,
            torch.float16,
            torch.float32,
            torch.float64,
        ),
        start=1,
    )
) | {12: torch.bool, 13: torch.bfloat16}
FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
STRIDED = 7  # the layout of all tensors here


@dataclass(frozen=True)
class Value:
    """The name of a tensor or a size that a program has computed before."""

    name: str


class Device:
    """Stands for the device that a program runs on, whatever its sender's was."""


@dataclass(frozen=True)
class Step:
    """A call of an operator.

    Args:
        target: its name.
        arguments: by name: plain values, or ``Value`` and ``Device`` in the place of others.
        outputs: the names of what it returns: one, several, or none.
        several: it returns a tuple or a list.
    """

    target: str
    call: Callable[..., Any]
    arguments: Mapping[str, Any]
    outputs: Sequence[str]
    several: bool

    @property
    def positional(self) -> bool:
        """True where it calls one of Python's operators, whose arguments have no names."""
        return self.target.startswith("_operator.")


@dataclass(frozen=True)
class Graph:
    """A program: a tensor in, steps, a tensor out.

    Args:
        input: the name of the samples, or z.
        tensors: names of the weights and constants in the graph -> in the file of weights.
        output: the name of z, or the logits.
    """

    input: str
    tensors: Mapping[str, str]
    steps: Sequence[Step]
    output: str

    @property
    def operators(self) -> list[str]:
        """The names of the operators that it calls, each once."""
        return sorted({s.target.split(".")[-2] for s in self.steps if not s.positional})


def read_graph(program: Mapping[str, Any]) -> Graph:
    """Return the graph of a program.

    Args:
        program: models/model.json of a .pt2 file.

    Raises:
        BlockError: it is none, or calls what is not run.
    """
    try:
        major = program["schema_version"]["major"]
        if major != MAJOR:
            raise BlockError(
                f"its program has version {major} of torch.export's schema, and {MAJOR} is read "
                f"here; export it with another version of torch than {program['torch_version']}"
            )
        module = program["graph_module"]
        return _graph(module["graph"], module["signature"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BlockError(
            f"its program is not as torch.export writes it ({type(error).__name__}: "
            f"{str(error)[:80]}); ask its sender to export it anew"
        ) from error


def _graph(graph: Mapping[str, Any], signature: Mapping[str, Any]) -> Graph:
    tensors: dict[str, str] = {}
    inputs: list[str] = []
    for entry in signature["input_specs"]:
        ((kind, spec),) = entry.items()
        if kind == "user_input":
            inputs.append(_text(spec["arg"]["as_tensor"]["name"]))
        elif kind in ("parameter", "buffer", "tensor_constant"):
            tensors[_text(spec["arg"]["name"])] = _text(spec[f"{kind}_name"])
        else:
            raise BlockError(f"its program takes a {kind}, and only tensors are handed to one")
    kinds = [kind for entry in signature["output_specs"] for kind in entry]
    if len(inputs) != 1 or kinds != ["user_output"]:
        raise BlockError(
            f"its program takes {len(inputs)} tensors and gives {', '.join(kinds)}; a block takes "
            "one tensor, gives one, and changes nothing"
        )
    (last,) = signature["output_specs"]
    output = _text(last["user_output"]["arg"]["as_tensor"]["name"])
    if len(graph["nodes"]) > MOST_STEPS:
        raise BlockError(f"its program has more than {MOST_STEPS} steps")
    known = {*inputs, *tensors}
    steps = []
    for node in graph["nodes"]:
        step = _step(node, known)
        known |= {*step.outputs}
        steps.append(step)
    if output not in known:
        raise BlockError(f"its program gives {output}, which it does not compute")
    return Graph(inputs[0], tensors, steps, output)


def _step(node: Mapping[str, Any], known: set[str]) -> Step:
    target = _text(node["target"])
    call = operator_of(target)
    arguments = {_text(i["name"]): _argument(target, i["arg"], known) for i in node["inputs"]}
    for name in OF_TRAINING:
        if arguments.get(name):
            raise BlockError(
                f"its program calls {target} with {name}={arguments[name]}, as in training; export "
                "a block in evaluation mode"
            )
    outputs: list[str] = []
    several = len(node["outputs"]) > 1
    for entry in node["outputs"]:
        ((kind, value),) = entry.items()
        if kind == "as_tensors":
            several = True
            outputs += [_text(each["name"]) for each in value]
        elif kind == "as_tensor":
            outputs.append(_text(value["name"]))
        elif kind == "as_sym_int":
            outputs.append(_text(value["as_name"]))
        elif kind != "as_none":
            raise BlockError(f"its program calls {target} for {kind}, which is no tensor")
    return Step(target, call, arguments, outputs, several)


def _argument(target: str, entry: Mapping[str, Any], known: set[str]) -> Any:
    """Return an argument: a plain value, ``Value``, ``Device``, or a list of such."""
    ((kind, value),) = entry.items()

    def named(name: object) -> Value:
        if name not in known:
            raise BlockError(f"its program uses {str(name)[:80]} before it computes it")
        return Value(_text(name))

    def sized(size: Mapping[str, Any]) -> Any:
        ((which, inner),) = size.items()
        return named(inner) if which == "as_name" else _plain(inner, int)

    def optional(each: Mapping[str, Any]) -> Value | None:
        return named(each["as_tensor"]["name"]) if "as_tensor" in each else None

    plain = {"as_int": int, "as_float": float, "as_bool": bool, "as_string": str}
    if kind in plain:
        return _plain(value, plain[kind])
    if kind.removesuffix("s") in plain:
        return [_plain(each, plain[kind.removesuffix("s")]) for each in value]
    readers: dict[str, Callable[[Any], Any]] = {
        "as_none": lambda _: None,
        "as_tensor": lambda each: named(each["name"]),
        "as_tensors": lambda all_: [named(each["name"]) for each in all_],
        "as_optional_tensor": optional,
        "as_optional_tensors": lambda all_: [optional(each) for each in all_],
        "as_sym_int": sized,
        "as_sym_ints": lambda all_: [sized(each) for each in all_],
        "as_scalar_type": DTYPES.__getitem__,
        "as_memory_format": FORMATS.__getitem__,
        "as_layout": {STRIDED: torch.strided}.__getitem__,
        "as_device": lambda _: Device(),
    }
    if kind not in readers:
        raise BlockError(f"its program calls {target} with {str(kind)[:40]}, which is not read")
    return readers[kind](value)


def _plain(value: object, kind: type) -> Any:
    """Return a value that is of this type; a whole number is a float too."""
    if kind is float and type(value) is int:
        return float(value)
    if kind is float and value in ("Infinity", "-Infinity", "NaN"):
        return float(str(value))
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:40]} is no {kind.__name__}")
    return value


def _text(value: object) -> str:
    text: str = _plain(value, str)
    return text

"""Turns a trained block into files: torch.export's program, weights, and what was checked of both.

The program is functional and in evaluation mode, with any batch size. File names, lines of source
and samples are left out of it: it tells the layers, and nothing of where their code lies.
"""

import hashlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ifl.blocks.card import NAME, PROGRAM, WEIGHTS, Card
from ifl.blocks.files import samples
from ifl.errors import BlockError

ABSOLUTE, RELATIVE = 1e-5, 1e-4  # by which a program may differ from its block: float32's sums


def files_of(block: nn.Module, card: Card) -> dict[str, bytes]:
    """Return the files of a block by name.

    Args:
        block: a module; it is left as it is.
        card: without digests of the other files.

    Raises:
        BlockError: torch.export cannot make a program of it.
    """
    copy = deepcopy(block).cpu().eval().requires_grad_(False)
    program = _exported(copy, samples(card, 2))
    tensors = {**program.state_dict, **_constants(program)}
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer)
    files = {
        WEIGHTS: save({name: t.detach().contiguous().clone() for name, t in tensors.items()}),
        PROGRAM: buffer.getvalue(),
    }
    sums = {name: hashlib.sha256(payload).hexdigest() for name, payload in files.items()}
    return {NAME: replace(card, sha256=sums).text().encode(), **files}


def check_same(block: nn.Module, program: nn.Module, x: Tensor) -> None:
    """Raise BlockError unless a program gives what its block gives of x."""
    with torch.inference_mode():
        told, found = deepcopy(block).cpu().eval()(x), program(x)
    if not torch.allclose(told, found, rtol=RELATIVE, atol=ABSOLUTE):
        raise BlockError(
            f"its program gives values that differ by up to {float((told - found).abs().max()):.2g}"
            " from the block's own: it draws random numbers, or depends on more than its input"
        )


def _exported(block: nn.Module, x: Tensor) -> Any:
    for module in block.modules():  # as torch.export writes plainly
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            tensor.data = tensor.data.contiguous().clone()
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(block, (x,), dynamic_shapes=({0: batch},))
            program = program.run_decompositions({})  # functional, and otherwise as it is
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise BlockError(
            f"torch.export makes no program of it ({type(error).__name__}: {reason[:200]}); a "
            "block has to take any batch size, and its steps must not depend on values"
        ) from error
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
            node.meta.pop(key, None)
    program._example_inputs = None
    program._guards_code = []
    return program


def _constants(program: Any) -> dict[str, Tensor]:
    for name, constant in program.constants.items():
        if not isinstance(constant, Tensor):
            raise BlockError(f"it holds {name}, a {type(constant).__name__} that is no tensor")
    return dict(program.constants)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what torch.export says of its own inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

"""Writes a block's folder of three files, and reads and checks one that anybody may have sent.

Order matters: the card, the digests, the weights, the program's text, and then the contract, for
which the program is run for the first time.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from ifl.blocks.archive import read_archive
from ifl.blocks.card import MOST_BYTES, NAME, PROGRAM, WEIGHTS, Card, read_card
from ifl.blocks.graph import read_graph
from ifl.blocks.program import Block
from ifl.errors import BlockError, OutputError


def write_files(
    out: Path, files: Mapping[str, bytes], check: Callable[[Path], None] = lambda folder: None
) -> None:
    """Make a folder with these files, in one step.

    Args:
        check: looks at the files where they are before they get the folder's name.

    Raises:
        BlockError: there is something of this name.
        OutputError: the folder cannot be written.
    """
    check_free(out)
    partial = out.with_name(f".{out.name}-{uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
        for name, payload in files.items():
            (partial / name).write_bytes(payload)
        check(partial)
        check_free(out)
        partial.rename(out)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written ({error.strerror}); make room there, or name another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(out: Path) -> None:
    """Raise BlockError if there is something of this name."""
    if os.path.lexists(out):
        raise BlockError(f"{out} is there already, and nothing is overwritten; name another")


def read_block(folder: Path | str, digest: str | None = None) -> Block:
    """Return the block of a folder, or of a file within it, after all checks.

    Args:
        folder: that ``export_block`` or ``ifl export`` wrote, anywhere.
        digest: the sha256 of its card, if it has to be this block and no other.

    Raises:
        BlockError: something is not as its card says, or may not be run; names it.
    """
    path = Path(folder).expanduser()
    if path.is_file():
        path = path.parent
    try:
        block = checked_block(path)
        if digest is not None and digest != block.digest:
            raise BlockError(
                f"its card has sha256 {block.digest[:16]}..., and {digest[:16]}... is asked for"
            )
        return block
    except BlockError as error:
        told = "".join(letter if letter.isprintable() else "?" for letter in str(error))
        raise BlockError(f"{path}: {told}") from error


def checked_block(path: Path) -> Block:
    """Do as ``read_block`` with a folder that the sentences do not name."""
    if not path.is_dir():
        raise BlockError(
            "there is no such folder; ifl export RUN OUT --client K --block base makes"
        )
    told = _payload(path / NAME, MOST_BYTES)
    card = read_card(told)
    if others := sorted({entry.name for entry in path.iterdir()} - {NAME, WEIGHTS, PROGRAM}):
        raise BlockError(f"it holds {others[0]} too, and a block is {NAME}, {WEIGHTS}, {PROGRAM}")
    files = {name: _payload(path / name) for name in (WEIGHTS, PROGRAM)}
    for name, payload in files.items():
        if (found := hashlib.sha256(payload).hexdigest()) != card.sha256[name]:
            raise BlockError(
                f"{name} has sha256 {found[:16]}... and its card says {card.sha256[name][:16]}...: "
                "it was changed or damaged since it was exported; fetch it anew"
            )
    weights = _weights(files[WEIGHTS])
    archive = read_archive(files[PROGRAM])
    _check_equal(weights, archive.tensors)
    graph = read_graph(archive.program)
    if lacking := sorted({*graph.tensors.values()} - weights.keys()):
        raise BlockError(f"{WEIGHTS} lacks {lacking[0][:80]}, which the program takes")
    block = Block(card, graph, weights, hashlib.sha256(told).hexdigest()).eval()
    check_contract(block)
    return block


def samples(card: Card, count: int) -> Tensor:
    """Return samples such as a block takes, or z: tokens 0, or evenly from -1 to 1."""
    if card.block == "base" and card.samples == "tokens":
        return torch.zeros(count, *card.takes, dtype=torch.int64)
    x = torch.empty(count, *card.takes)
    return torch.linspace(-1, 1, x.numel()).reshape(x.shape)


def check_contract(block: Block) -> None:
    """Run samples through the block, two and one: (B, ...) has to become (B, d) or (B, classes).

    Raises:
        BlockError: it does not, or a sample's outputs depend on another one.
    """
    pair = samples(block.card, 2)
    outputs = []
    for x in (pair, pair[:1]):
        block.check_sizes(x)
        with torch.inference_mode():
            found = block(x)
        expected = (len(x), block.card.gives)
        if not isinstance(found, Tensor) or (*found.shape,) != expected:
            shape = [*found.shape] if isinstance(found, Tensor) else type(found).__name__
            raise BlockError(
                f"its program turns {[*x.shape]} into {shape}, and its card promises {[*expected]}"
            )
        if found.dtype != torch.float32 or not found.isfinite().all():
            raise BlockError(f"its program gives {found.dtype}, or values that are not finite")
        outputs.append(found)
    if not torch.allclose(outputs[0][:1], outputs[1], rtol=1e-3, atol=1e-4):
        raise BlockError("its program gives a sample other values beside another sample")


def _payload(file: Path, most: int | None = None) -> bytes:
    try:
        if not file.is_file():
            raise BlockError(f"it lacks {file.name}; a block is {NAME}, {WEIGHTS} and {PROGRAM}")
        if most and file.stat().st_size > most:
            raise BlockError(f"{file.name} has more than {most:,} bytes")
        return file.read_bytes()
    except OSError as error:
        raise BlockError(f"{file.name} cannot be read ({error.strerror})") from error


def _weights(payload: bytes) -> dict[str, Tensor]:
    try:
        tensors = load_tensors(payload)
    except (SafetensorError, LookupError, ValueError, TypeError) as error:
        raise BlockError(f"{WEIGHTS} is no safetensors file ({str(error)[:80]})") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise BlockError(f"{WEIGHTS}: {name[:80]} holds values that are not finite")
    return tensors


def _check_equal(weights: Mapping[str, Tensor], within: Mapping[str, Tensor]) -> None:
    """Refuse a program whose own copy of the weights is another one."""
    for name in sorted({*weights, *within}):
        one, other = weights.get(name), within.get(name)
        if one is None or other is None or one.dtype != other.dtype or not torch.equal(one, other):
            raise BlockError(f"{WEIGHTS} and {PROGRAM} hold other values of {name[:80]}")

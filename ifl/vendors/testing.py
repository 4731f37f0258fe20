"""Tests all compositions of vendors' blocks, of which the server has none.

Each vendor sends z of test images, the server passes them on, and each answers for its modular
block. Of a public test set that all have, it answers counts. Of private ones, guesses, which go
back to the vendor whose images they are, and it counts; labels stay with it.
"""

from collections.abc import Callable, Mapping

import torch
from safetensors.torch import save
from torch import Tensor

from ifl.comm.wire import parse
from ifl.engines.afar import groups
from ifl.engines.base import Packet
from ifl.errors import MessageError
from ifl.federation.class_counts import Pair
from ifl.vendors.agreed import Agreed

Ask = Callable[[Mapping[int, Packet]], Mapping[int, Packet]]


def tested(ask: Ask, clients: list[int], agreed: Agreed) -> dict[Pair, Tensor]:
    """Test every base block with every modular block.

    Args:
        ask: what each client answers a packet; those that are lost are left out.
        clients: their numbers.

    Returns:
        (3, C) int64 as ``tallied``, by pair of owners.

    Raises:
        MessageError: a vendor answers what is no answer.
    """
    answers = ask({k: Packet({"op": "z"}) for k in clients})
    z: dict[str, Tensor] = {}
    for k, answer in answers.items():
        z[f"k{k}"] = _float(_tensors(answer, ["z"], k)["z"], agreed.fusion_dim, k)
    op = "score" if agreed.test == "public" else "guess"
    found: dict[Pair, Tensor] = {}
    guessed: dict[int, dict[str, Tensor]] = {int(name[1:]): {} for name in z}
    for group in groups(z):
        packet = Packet({"op": op}, save({name: z[name].contiguous() for name in group}))
        for i, answer in ask(dict.fromkeys(answers, packet)).items():
            for name, its in _tensors(answer, group, i).items():
                k = int(name[1:])
                if op == "score":
                    found[str(k), str(i)] = _counts(its, agreed.classes, len(z[name]), i)
                else:
                    guessed[k][f"k{i}"] = _guesses(its, agreed.classes, len(z[name]), i)
    if op == "guess":
        asked = {k: Packet({"op": "judge"}, save(its)) for k, its in guessed.items() if its}
        for k, answer in ask(asked).items():
            for name, its in _tensors(answer, [*guessed[k]], k).items():
                found[str(k), name[1:]] = _counts(its, agreed.classes, len(z[f"k{k}"]), k)
    order = sorted(found, key=lambda pair: (int(pair[0]), int(pair[1])))
    return {pair: found[pair] for pair in order}


def _tensors(answer: Packet, names: list[str], client: int) -> dict[str, Tensor]:
    parsed = parse(answer.body)
    if {*parsed.entries} != {*names}:
        raise MessageError(f"client {client} answers an evaluation with other names than asked for")
    return {name: parsed.tensor(name) for name in names}


def _float(z: Tensor, dim: int, client: int) -> Tensor:
    good = z.dtype == torch.float32 and z.dim() == 2 and z.shape[1] == dim and len(z)
    if not good or not z.isfinite().all():
        raise MessageError(f"client {client} sends a z for testing that is not finite (n, {dim})")
    return z


def _guesses(guesses: Tensor, classes: int, count: int, client: int) -> Tensor:
    good = guesses.dtype == torch.int64 and (*guesses.shape,) == (count,)
    if not good or int(guesses.min()) < 0 or int(guesses.max()) >= classes:
        raise MessageError(f"client {client} guesses what is no class for each of {count} samples")
    return guesses


def _counts(counts: Tensor, classes: int, count: int, client: int) -> Tensor:
    good = counts.dtype == torch.int64 and (*counts.shape,) == (3, classes)
    if not good or int(counts.min()) < 0 or [*map(int, counts.sum(dim=1)[:2])] != [count, count]:
        raise MessageError(f"client {client} counts other guesses than {count} samples have")
    if (counts[2] > torch.minimum(counts[0], counts[1])).any():
        raise MessageError(f"client {client} counts more right guesses than there are")
    return counts

"""Tries a network before training against the contract of its two blocks.

All but the first run is on copies, and leaves the global generators as they were.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ifl.errors import ConfigError, IFLError
from ifl.models import SplitModel
from ifl.seeding import GLOBAL, kept_generators

NORM = "a batch normalisation, say, has no statistics of a single sample"


def check_contract(
    model: SplitModel,
    name: str,
    x: Tensor,
    fusion_dim: int,
    classes: int,
    batch_size: int | None = None,
) -> None:
    """Run samples through both blocks and compare what comes out with the contract.

    Without a batch size two samples at inference, on the model itself: its lazy layers get their
    parameters here, drawn from the global generators. With one, on copies, two and one at
    inference and a batch in training, from whose outputs a gradient has to come back.

    Args:
        x: (n, ...) real samples, as networks take them; taken again from the first where fewer
            than a batch.
        batch_size: in training; None for the first run.

    Raises:
        ConfigError: names the client, the block, the expected and the found shape and dtype, or
            what else is wrong.
    """
    for block in (model.base, model.modular):
        if not isinstance(block, nn.Module):
            raise ConfigError(f"{name}: a block is a {type(block).__name__}, not a torch module")
    if both := {id(p) for p in model.base.parameters()} & {
        id(p) for p in model.modular.parameters()
    }:
        shared = [n for n, p in model.base.named_parameters() if id(p) in both]
        raise ConfigError(
            f"{name}: its base and its modular block share parameters ({', '.join(shared)}); make "
            "each its own, since one is trained while the other is held fixed"
        )
    sizes = (fusion_dim, classes)
    if batch_size is None:
        with torch.no_grad():
            _pass(model, name, rows(x, 2), sizes, training=False)
        return
    for count in (2, 1):
        check_takes(model, name, rows(x, count), fusion_dim, classes)
    _check_gradients(copied(model, name), name, rows(x, batch_size), sizes)
    if batch_size > 1:
        _check_repeats(model, name, rows(x, 2), sizes)


def check_takes(model: SplitModel, name: str, x: Tensor, fusion_dim: int, classes: int) -> None:
    """Raise ConfigError unless a copy of the network takes these samples (n, ...) at inference."""
    with kept_generators(), torch.no_grad():
        _pass(copied(model, name), name, x, (fusion_dim, classes), training=False)


class Named(Protocol):
    """A client: its name, its network, and its samples once through."""

    name: str
    model: SplitModel

    def portions(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield x (n, ...) and y (n,)."""


def tried(client: Named) -> tuple[Tensor, Tensor]:
    """Return z (n, d) and logits (n, classes) of a client's first samples, at inference."""
    trial, (x, _) = copied(client.model, client.name).eval(), next(client.portions())
    with kept_generators(), torch.no_grad():
        z = trial.base(x)
        return z, trial.modular(z)


def check_learns_from_one(client: Named, reason: str) -> None:
    """Raise ConfigError if a client's modular block cannot be trained on a single row of z.

    Args:
        reason: which setting makes it so, and the way out.
    """
    trial, (x, _) = copied(client.model, client.name), next(client.portions())
    with kept_generators(), torch.no_grad():
        z = trial.base.eval()(x[:1])
        try:
            trial.modular.train()(z)
        except Exception as error:
            raise ConfigError(
                f"{client.name}: its modular block cannot learn from one row "
                f"({_first_line(error)}), and {reason}"
            ) from error


def _pass(
    model: SplitModel, name: str, x: Tensor, sizes: tuple[int, int], training: bool
) -> tuple[Tensor, Tensor]:
    """Return z and logits; raise ConfigError at the first that is not as the contract says."""
    was = model.training
    model.train(training)
    out, found = x, []
    for block, size in zip(("base", "modular"), sizes, strict=True):
        given, expected = tuple(out.shape), (len(x), size)
        try:
            out = getattr(model, block)(out.clone())
        except Exception as error:
            raise ConfigError(f"{name}: {_refused(block, out, training, error)}") from error
        shape = f"{tuple(out.shape)} {out.dtype}" if isinstance(out, Tensor) else repr(type(out))
        if shape != f"{expected} {torch.float32}":
            last = "fusion.dim" if block == "base" else "data.classes"
            way_out = f"its last layer must fit {last}"
            if isinstance(out, Tensor) and tuple(out.shape) == expected:
                way_out = "end it with .float()"
            elif len(x) == 1:
                way_out = "a single sample keeps its first dimension (no squeeze())"
            raise ConfigError(
                f"{name}: its {block} block turns {given} into {shape}, expected {expected} "
                f"{torch.float32}; {way_out}"
            )
        if not out.isfinite().all():
            what = "training samples" if block == "base" else "the z of training samples"
            raise ConfigError(
                f"{name}: its {block} block makes {int((~out.isfinite()).sum())} values that are "
                f"not finite of {len(x)} {what}{' in training' * training}, before any step; look "
                "for a logarithm, a division or weights that are too large"
            )
        found.append(out)
    model.train(was)
    return found[0], found[1]


def _refused(block: str, given: Tensor, training: bool, error: Exception) -> str:
    if isinstance(error, IFLError):
        return str(error)
    kind = "float32" if given.is_floating_point() else f"{given.dtype}".removeprefix("torch.")
    reason = _first_line(error)
    takes = f"its {block} block does not take a {tuple(given.shape)} {kind} batch"
    if training:
        more = f"; {NORM}: set batch_size to 2 or more" if len(given) == 1 else ""
        return f"{takes} in training ({reason}){more or '; it does at inference'}"
    if len(given) == 1:
        return f"{takes} ({reason}); a test set may end with a single sample"
    if block == "base" and not given.is_floating_point():
        return (
            f"{takes} ({reason}); integers other than uint8 are tokens: begin with an embedding "
            "of more rows than the largest, or give images as uint8 and features as floats"
        )
    return f"{takes} ({reason}); its first layer must fit data.shape and fusion.dim"


def _check_gradients(model: SplitModel, name: str, x: Tensor, sizes: tuple[int, int]) -> None:
    with kept_generators(), torch.enable_grad():
        z, logits = _pass(model, name, x, sizes, training=True)
        model.modular.requires_grad_(False)
        back = model.modular.train()(z.detach().requires_grad_().clone())
    learning = [any(p.requires_grad for p in b.parameters()) for b in (model.base, model.modular)]
    if (learning[0] and not z.requires_grad) or not back.requires_grad:
        block = "modular" if z.requires_grad or not learning[0] else "base"
        raise ConfigError(
            f"{name}: no gradient comes back through its {block} block, so that nothing before it "
            "learns; look for detach(), no_grad() or argmax()"
        )
    if learning[1] and not logits.requires_grad:
        raise ConfigError(f"{name}: its modular block detaches its own parameters; it cannot learn")


def _check_repeats(model: SplitModel, name: str, x: Tensor, sizes: tuple[int, int]) -> None:
    outputs = []
    for _ in range(2):
        with kept_generators(), torch.no_grad():
            outputs.append(_pass(copied(model, name), name, x, sizes, training=True))
    if not all(torch.equal(*pair) for pair in zip(*outputs, strict=True)):
        raise ConfigError(
            f"{name}: its network makes other outputs of the same samples, weights and random "
            "state; draw from torch's, NumPy's or Python's global generator, which follow the "
            "seed, or from one with a seed of its own"
        )


def copied(model: SplitModel, name: str) -> SplitModel:
    """Return a deep copy, which draws from the global generators where the network does.

    Raises:
        ConfigError: it cannot be copied.
    """
    try:
        return deepcopy(model, {id(generator): generator for generator in GLOBAL})
    except Exception as error:
        raise ConfigError(
            f"{name}: its network cannot be copied ({_first_line(error)}); copy.deepcopy has to "
            "work on a block: let it hold modules, tensors and plain values alone"
        ) from error


def check_apart(models: Iterable[tuple[str, nn.Module]]) -> None:
    """Raise ConfigError if two clients hold the same parameter or buffer."""
    owners: dict[int, str] = {}
    for name, model in models:
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.numel() and owners.setdefault(tensor.data_ptr(), name) != name:
                raise ConfigError(
                    f"{name} and {owners[tensor.data_ptr()]} share parameters or buffers; a "
                    "member's base and modular have to make fresh blocks each time"
                )


def lazy(model: nn.Module) -> bool:
    """Return whether a network has parameters or buffers that its first samples make."""
    return any(map(is_lazy, (*model.parameters(), *model.buffers())))


def rows(x: Tensor, count: int) -> Tensor:
    """Return so many samples of x (n, ...), from the first again where n is fewer."""
    return x[torch.arange(count) % len(x)]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__

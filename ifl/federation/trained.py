"""Keeps the trained blocks of a finished run, and loads them as torch modules, without Hydra.

Any base block goes with any modular block: that is what a run is for, and here they are.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ifl.client.client import Client
from ifl.client.state import tensors_of
from ifl.errors import ConfigError, IFLError
from ifl.federation.build import Federation
from ifl.federation.evaluation import Compositions
from ifl.federation.member import Member
from ifl.federation.own_code import import_named, own_code
from ifl.federation.predictions import read_predictions
from ifl.methods.parts.passing import alike
from ifl.models import SplitModel
from ifl.runs import checkpoint
from ifl.runs.checkpoint import State
from ifl.runs.folder import read_about
from ifl.runs.made import made, told
from ifl.runs.wholeness import spoilt
from ifl.seeding import global_stream

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("base", "modular")


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run: what it is, its tables, and its trained blocks in evaluation mode.

    A base block takes samples as ``ifl.Shard(x, y).inputs()`` gives them, images (B, C, H, W) in
    [-1, 1], and returns z (B, d); a modular block turns z into logits (B, classes). All float32.

    Args:
        path: the run's folder.
        about: its run.json: configuration, method, data, totals, result.
        bases, modulars: blocks by owner, the number of a client as text or "server".
        agreed: what all blocks had to fit: shape, classes, fusion_dim, and more of the samples.
    """

    path: Path
    about: Mapping[str, Any]
    bases: Mapping[str, nn.Module]
    modulars: Mapping[str, nn.Module]
    agreed: Mapping[str, Any]

    def block(self, kind: str, owner: str | int) -> nn.Module:
        """Return a block, "base" or "modular".

        Raises:
            ConfigError: the owner has no such block.
        """
        blocks = self.bases if kind == "base" else self.modulars
        if str(owner) not in blocks:
            raise ConfigError(f"{owner} has no {kind} block; choose one of {', '.join(blocks)}")
        return blocks[str(owner)]

    def compose(self, base: str | int, modular: str | int) -> SplitModel:
        """Return the base block of one owner with the modular block of another.

        Raises:
            ConfigError: one of them has no such block.
        """
        return SplitModel(self.block("base", base), self.block("modular", modular)).eval()

    @property
    def rounds(self) -> "pd.DataFrame":
        """The rows of rounds.csv."""
        import pandas as pd

        return pd.read_csv(self.path / "rounds.csv")

    def compositions(self) -> "pd.DataFrame":
        """Return base, modular and accuracy (a fraction) of every composition at the end."""
        import pandas as pd

        owners = {"base": str, "modular": str}
        rows = pd.read_csv(self.path / "compositions.csv", dtype=owners)
        last: pd.DataFrame = rows[rows["round"] == rows["round"].max()]
        return last.drop(columns="round").reset_index(drop=True)

    def predictions(self) -> "pd.DataFrame":
        """Return a row per composition and test sample: base, modular, sample, label, guess.

        Raises:
            IFLError: the run kept none.
        """
        return read_predictions(self.path)


def blocks_state(federation: Federation, tested: Compositions) -> State:
    """Return blocks (``Engine.blocks``) by kind and owner, and what it takes to make them again.

    "like" is the number of a client whose block of that kind is made alike, "made" the
    configuration of a block that says it itself; one that stands around another one holds that as
    ``inner``, and "like" is for it.
    """
    engine, data = federation.engine, federation.data
    kept = {
        kind: {
            owner: {
                "tensors": tensors_of(block),
                "like": _like(block, owner, kind, engine.clients),
                "code": own_code(*block.modules()),
                **({"made": block.made_of} if hasattr(block, "made_of") else {}),
            }
            for owner, block in its.items()
        }
        for kind, its in zip(KINDS, engine.blocks(tested), strict=True)
    }
    agreed = {"shape": [*data.shape], "classes": data.classes, "samples": data.train.kind}
    agreed |= {"class_names": [*data.class_names], "tokens": data.train.kind == "tokens"}
    return {"agreed": {**agreed, "fusion_dim": engine.channel.agreed["d"]}, **kept}


def _like(block: nn.Module, owner: str, kind: str, clients: Sequence[Client]) -> int | None:
    """Return the number of a client with such a block, its owner's first."""
    if hasattr(block, "made_of"):
        inner = getattr(block, "inner", None)
        return _like(inner, owner, kind, clients) if inner else None
    text, shapes = repr(block), _shapes(block)
    for client in sorted(alike(clients), key=lambda client: str(client.number) != owner):
        other = getattr(client.model, kind)
        if other is block or (repr(other) == text and _shapes(other) == shapes):
            return client.number
    return None


def _shapes(block: nn.Module) -> dict[str, tuple[int, ...]]:
    tensors = tensors_of(block).items()
    return {name: () if nn.parameter.is_lazy(t) else tuple(t.shape) for name, t in tensors}


def load(folder: Path | str, members: Sequence[Member] | None = None) -> Trained:
    """Load a finished run's trained blocks.

    The classes and functions that the run's configuration names have to be importable.

    Args:
        folder: of the run.
        members: of a run that was built in Python: those that it was built from.

    Raises:
        IFLError: there is no finished run with trained blocks in the folder, or they cannot be
            made here; says why.
    """
    path = Path(folder).expanduser()
    about = read_about(path)
    if about is None:
        raise IFLError(f"{path} holds no run.json; name the folder of a run, as its last line does")
    if not about.get("finished"):
        raise IFLError(f"{path} is not finished; the command that made it resumes it")
    if why := spoilt(path, about):
        raise IFLError(f"{path}: {why}")
    last = checkpoint.newest(path)
    kept = last.state.get("blocks") if last else None
    if kept is None:
        raise IFLError(
            f"{path} keeps no trained blocks: checkpoint_every was null, or an older version wrote "
            "it; fresh=true runs it anew beside it"
        )
    make = _from_members(members) if members else _from_config(about.get("config"), kept["agreed"])
    blocks = {
        kind: {
            owner: _block(make, kind, owner, entry, kept["agreed"])
            for owner, entry in kept[kind].items()
        }
        for kind in KINDS
    }
    return Trained(path, about, blocks["base"], blocks["modular"], kept["agreed"])


Make = Callable[[int, str], nn.Module]  # by a client's number and the kind


def _from_members(members: Sequence[Member]) -> Make:
    def make(number: int, kind: str) -> nn.Module:
        member = members[number % len(members)]
        return member.base() if kind == "base" else member.modular()

    return make


def _from_config(config: Any, agreed: Mapping[str, Any]) -> Make:
    members = config["clients"]["members"] if isinstance(config, Mapping) else None
    if not members or not isinstance(members[0], Mapping):
        raise ConfigError(
            "this run was built in Python, so its configuration does not say its networks; give "
            "those that it was built from: ifl.load(folder, members=[...])"
        )

    import_named(members)

    def make(number: int, kind: str) -> nn.Module:
        block: nn.Module = made(told(members[number % len(members)][kind], agreed))
        return block

    return make


def _block(
    make: Make, kind: str, owner: str, kept: Mapping[str, Any], agreed: Mapping[str, Any]
) -> nn.Module:
    """Make a block and give it the tensors that are kept of it."""
    what = f"the {kind} block of {owner if owner == 'server' else f'client {owner}'}"
    own = kept.get("made")
    if kept["like"] is None and own is None:
        raise ConfigError(f"{what} is like that of no client, so it cannot be made again")
    with global_stream(0, "trained"):  # what it draws is replaced
        inner = {} if kept["like"] is None else {"inner": make(kept["like"], kind)}
        block = (made({**own, **inner}) if own else inner["inner"]).eval()
        _materialise(block, kind, agreed)
    mine = tensors_of(block)
    if _shapes(block) != {name: tuple(tensor.shape) for name, tensor in kept["tensors"].items()}:
        raise ConfigError(
            f"{what} has other tensors than the code makes now; use the code that the run was "
            "made with"
        )
    if own_code(*block.modules()) != kept["code"]:
        warnings.warn(
            f"the code of {what} is another one than when the run was made, or is read by another "
            "version of Python: compare its accuracy with compositions()",
            stacklevel=3,
        )
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(kept["tensors"][name])
    return block


def _materialise(block: nn.Module, kind: str, agreed: Mapping[str, Any]) -> None:
    """Run a batch through a block with lazy layers, which have no tensors before."""
    if not any(nn.parameter.is_lazy(p) for p in (*block.parameters(), *block.buffers())):
        return
    shape = (2, *agreed["shape"]) if kind == "base" else (2, agreed["fusion_dim"])
    tokens = kind == "base" and agreed["tokens"]
    x: Tensor = torch.zeros(shape, dtype=torch.int64 if tokens else torch.float32)
    with torch.no_grad():
        block(x)

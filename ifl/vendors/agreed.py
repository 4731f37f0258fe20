"""Holds what all parties of a federation agreed on: agreed.yaml, the same at all."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ifl.checks import check_one_of, check_whole
from ifl.client.settings import Optimizers, Training
from ifl.comm.channel import Channel
from ifl.comm.codecs import Codec
from ifl.comm.contract import check_codec
from ifl.engines.grpc.certificates import SERVER, check_name
from ifl.errors import ConfigError
from ifl.methods.base import Method, described
from ifl.runs.comparison import difference
from ifl.runs.made import made

TELLS = ("losses", "classes")
DEFAULTS: Mapping[str, Any] = {
    "seed": 0,
    "batch_size": 32,
    "method": "ifl",
    "codec": "float32",
    "settings": [],
    "tau": 10,
    "eval_every": 10,
    "checkpoint_every": 10,
    "test": "private",
    "tells": [],
    "on_lost": "rejoin",
    "on_bad_upload": "stop",
}
NEEDED = ("parties", "classes", "fusion_dim", "rounds")


@dataclass(frozen=True)
class Agreed:
    """The terms of a federation, checked.

    Args:
        parties: names of the vendors; client k is the k-th.
        seed: of what all may know, such as which rows a server relays.
        classes: that labels run over.
        fusion_dim: d.
        batch_size: B.
        method, codec: as a run has them.
        rounds, eval_every, checkpoint_every: as a run has them.
        test: "private", each vendor judges what others guess of its own test images; "public", all
            have one test set.
        tells: of itself, what a vendor lets the server know: losses of training, or the classes
            that it has samples of, which some methods need.
        on_lost: "stop", a vendor that is lost ends the run; "skip", rounds go on without it;
            "rejoin", all wait for it, and go on together from the last checkpoint.
        on_bad_upload: as a run has it.
        terms: all of it as plain values, which the parties compare.

    Raises:
        ConfigError: a value is out of range.
    """

    parties: Sequence[str]
    seed: int
    classes: int
    fusion_dim: int
    batch_size: int
    method: Method
    codec: Codec
    rounds: int
    eval_every: int
    checkpoint_every: int
    test: str
    tells: Sequence[str]
    on_lost: str
    on_bad_upload: str
    terms: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.parties, Sequence) or isinstance(self.parties, str):
            raise ConfigError(f"parties must be a list of names, got {self.parties}")
        for name in self.parties:
            if check_name(name) == SERVER:
                raise ConfigError(f"parties: {SERVER} is the server's name; choose another one")
        if len({*self.parties}) < len(self.parties) or not self.parties:
            raise ConfigError(f"parties must be names, none twice, got {list(self.parties)}")
        for field, low in (("classes", 2), ("fusion_dim", 1), ("batch_size", 1), ("rounds", 1)):
            check_whole(field, getattr(self, field), low)
        for field, low in (("seed", 0), ("eval_every", 1), ("checkpoint_every", 1)):
            check_whole(field, getattr(self, field), low)
        check_one_of("test", self.test, "private", "public")
        check_one_of("on_lost", self.on_lost, "stop", "skip", "rejoin")
        check_one_of("on_bad_upload", self.on_bad_upload, "stop", "skip")
        for told in self.tells:
            check_one_of("tells", told, *TELLS)

    @property
    def digest(self) -> str:
        """The sha256 of the terms; how agreed.yaml is laid out does not count."""
        text = json.dumps(self.terms, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def title(self) -> str:
        """The method's name."""
        return str(described(self.method, "method")["title"])

    def channel(self, seed: int) -> Channel:
        """Return a channel for one of the parties.

        Args:
            seed: of what its codec draws.
        """
        drawing = check_codec(self.codec, self.classes)
        count = len(self.parties)
        sizes = {"B": self.batch_size, "d": self.fusion_dim, "N": count}
        sizes["batches"] = count * self.batch_size
        return Channel(self.codec, self.classes, "cpu", sizes, seed, drawing)

    def training(self) -> Training:
        """Return the settings of a server that trains nothing itself."""
        none = partial(torch.optim.SGD, lr=1.0)
        return Training(Optimizers(none, none), self.batch_size, self.seed)

    def refuses(self, told: Mapping[str, Any]) -> str | None:
        """Return why a party with the terms that it tells cannot take part, if so."""
        if told.get("agreed") == self.digest:
            return None
        theirs, differs = told.get("terms"), None
        with suppress(ValueError, TypeError, LookupError, AttributeError, RecursionError):
            differs = difference(theirs, self.terms) if isinstance(theirs, Mapping) else None
        where = f": {differs}" if differs else ""
        return f"its agreed.yaml is not the server's{where}; take the same file"


def agreed(terms: Mapping[str, Any]) -> Agreed:
    """Return the federation of these terms.

    Args:
        terms: the fields of ``Agreed`` as plain values, "method" and "codec" with a ``_target_``.

    Raises:
        ConfigError: a term is missing, unknown or out of range.
    """
    made_of = {name: made(terms[name]) for name in ("method", "codec")}
    values = {name: value for name, value in terms.items() if name not in ("settings", "tau")}
    return Agreed(**{**values, **made_of}, terms=terms)

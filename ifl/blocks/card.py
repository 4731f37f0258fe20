"""Describes a block in JSON: what it takes and gives, where it comes from, and its digests."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ifl.errors import BlockError

NAME, WEIGHTS, PROGRAM = "card.json", "weights.safetensors", "program.pt2"
FORMAT, VERSION = "ifl-block", 1
MOST_BYTES = 10**6  # of a card
Kind = Literal["base", "modular"]
SCALINGS = {  # of samples, before a base block takes them, by what they are
    "images": "uint8 / 127.5 - 1, float32 in [-1, 1]",
    "floats": "none, float32 as the data set has them",
    "tokens": "none, int64 as the data set has them",
}
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Card:
    """A block's card.

    Args:
        block: base or modular.
        owner: the number of its client as text, or "server".
        fusion_dim: d, the size of z.
        shape: of a sample, without the batch.
        samples: images, floats or tokens.
        scaling: of samples before they are taken.
        classes: their names in the order of the logits; numbers where they have none.
        method: the title of the method that trained it.
        rounds: for how long.
        run: tells runs apart; blocks of one run have met.
        data: the name of the data set that its run tested on.
        data_sha256: of that data set's samples and labels.
        accuracies: {"with": owner, "accuracy": a fraction}, by the last evaluation of its run,
            with each block of the other kind.
        licence: as its owner says; None: nothing is said.
        versions: of ifl, torch and Python.
        sha256: of the other files, by name.
    """

    block: Kind
    owner: str
    fusion_dim: int
    shape: Sequence[int]
    samples: str
    scaling: str
    classes: Sequence[str]
    method: str
    rounds: int
    run: str
    data: str
    data_sha256: str
    accuracies: Sequence[Mapping[str, Any]]
    licence: str | None
    versions: Mapping[str, str]
    sha256: Mapping[str, str]

    @property
    def title(self) -> str:
        """The block in words."""
        whose = "the server" if self.owner == "server" else f"client {self.owner}"
        return f"{self.block} block of {whose}"

    @property
    def takes(self) -> tuple[int, ...]:
        """The shape of what it takes, without the batch."""
        return tuple(self.shape) if self.block == "base" else (self.fusion_dim,)

    @property
    def gives(self) -> int:
        """The size of a row that it gives: d or the number of classes."""
        return self.fusion_dim if self.block == "base" else len(self.classes)

    def text(self) -> str:
        """Return the card as it is written."""
        about = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(about, indent=2, ensure_ascii=False) + "\n"


def read_card(payload: bytes) -> Card:
    """Return the card that a file holds.

    Raises:
        BlockError: it is none; names the field.
    """
    if len(payload) > MOST_BYTES:
        raise BlockError(f"{NAME} has {len(payload):,} bytes, and {MOST_BYTES:,} are the most")
    try:
        found = json.loads(payload, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BlockError(f"{NAME} is no JSON ({str(error)[:80]})") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BlockError(f"{NAME} is not the card of a block: it lacks format={FORMAT}")
    if found.get("version") != VERSION:
        raise BlockError(
            f"{NAME} has version {str(found.get('version'))[:20]} of the format, and {VERSION} is "
            "read here; use the version of ifl that it names"
        )
    rest = {key: value for key, value in found.items() if key not in ("format", "version")}
    names = {field.name for field in fields(Card)}
    if lacking := sorted(names - rest.keys()):
        raise BlockError(f"{NAME} lacks {', '.join(lacking)}; ask its sender to export it anew")
    if unknown := sorted(rest.keys() - names):
        raise BlockError(f"{NAME} has {', '.join(unknown)[:80]}, which no card of this version has")
    for key, value in rest.items():
        rule, fits = RULES[key]
        if not fits(value):
            raise BlockError(f"{NAME}: {key} must be {rule}, got {str(value)[:60]}")
    if rest["scaling"] != SCALINGS[rest["samples"]]:
        raise BlockError(
            f"{NAME}: scaling of {rest['samples']} must be {SCALINGS[rest['samples']]!r}, got "
            f"{rest['scaling'][:60]!r}"
        )
    return Card(**rest)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its fields, none of which may stand twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a field stands twice")
    return made


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _whole(value: object, low: int = 1) -> bool:
    return type(value) is int and low <= value < 2**31


def _list(value: object, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


def _mapping(value: object, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(_text, value)) and all(map(fits, value.values()))


def _sum(value: object) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


def _owner(value: object) -> bool:
    return (
        isinstance(value, str)
        and (value == "server" or re.fullmatch(r"\d{1,9}", value, re.A)) is not None
    )


def _accuracy(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"with", "accuracy"}
        and _owner(value["with"])
        and type(value["accuracy"]) in (int, float)
        and 0 <= value["accuracy"] <= 1
    )


RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "block": ("base or modular", lambda value: value in ("base", "modular")),
    "owner": ("the number of a client as text, or server", _owner),
    "fusion_dim": ("a whole number >= 1", _whole),
    "shape": ("a list of whole numbers >= 1", lambda value: bool(value) and _list(value, _whole)),
    "samples": (f"one of {', '.join(SCALINGS)}", lambda v: isinstance(v, str) and v in SCALINGS),
    "scaling": ("text", _text),
    "classes": (
        "a list of 2 names or more, none twice",
        lambda value: _list(value, _text) and 2 <= len(value) == len({*value}),
    ),
    "method": ("text", _text),
    "rounds": ("a whole number >= 0", lambda value: _whole(value, 0)),
    "run": ("16 hexadecimal digits", lambda v: isinstance(v, str) and _sum(v * 4)),
    "data": ("text", _text),
    "data_sha256": ("a sha256", _sum),
    "accuracies": (
        'a list of {"with": owner, "accuracy": a fraction}',
        lambda value: _list(value, _accuracy),
    ),
    "licence": ("text or null", lambda value: value is None or _text(value)),
    "versions": ("names and versions", lambda value: _mapping(value, _text)),
    "sha256": (
        f"the sha256 of {WEIGHTS} and {PROGRAM}",
        lambda value: _mapping(value, _sum) and value.keys() == {WEIGHTS, PROGRAM},
    ),
}

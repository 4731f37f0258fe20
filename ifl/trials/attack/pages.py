"""Shows the results of an attack as tables and pictures."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ifl.analysis.tables import FREE, PERCENT, Cell, Table, Value, over_seeds

if TYPE_CHECKING:
    from ifl.trials.attack.attacks import Pictures

COLUMNS = 6  # images of each client in the figure
MEASURES = {"ssim": ("SSIM", 3), "psnr": ("PSNR (dB)", 2)}
NOTE = (
    "Means over images and clients, ± half the 95 % interval over seeds. The rows without z are "
    "the mean image of the class, of the attacker's own images."
)
GAIN_NOTE = (
    "Differences to the mean image of the class, seed by seed: means over images and clients, ± "
    "half the 95 % interval over seeds. Told: in which of the two the interval lies above 0."
)


def tables(
    rows: pd.DataFrame, labels: pd.DataFrame, curves: pd.DataFrame, data: str
) -> list[Table]:
    """Return likeness, gains, labels and curves of training.

    Args:
        rows, labels, curves: by the fields of Row, LabelRow, CurveRow; labels may be empty.
    """
    shown = [_likeness(rows, data), _gains(rows, data), _clients(rows, data)]
    return [*shown, *([_labels(labels, data)] if len(labels) else []), _curves(curves, data)]


def _likeness(rows: pd.DataFrame, data: str) -> Table:
    decoded = rows[rows.attacker == "decoder"]
    ways = list(decoded.knowledge.unique())
    body: list[list[Cell]] = []
    for target, part in rows.groupby("target", sort=False):
        alone = _both(part[part.attacker == "class mean image"])
        body.append([str(target), "y alone", *alone * len(ways)])
        for travels, cells in _by_travels(part):
            body.append([str(target), travels, *(c for way in ways for c in _both(cells(way)))])
    head = [f"{way}: {name}" for way in ways for name, _ in MEASURES.values()]
    caption = f"{data}: likeness of decoded images, by what travels and is known"
    return Table("likeness", caption, ["target", "travels", *head], body, NOTE)


def _gains(rows: pd.DataFrame, data: str) -> Table:
    decoded = rows[rows.attacker == "decoder"]
    ways = list(decoded.knowledge.unique())
    body: list[list[Cell]] = []
    for target, part in decoded.groupby("target", sort=False):
        for travels, cells in _by_travels(part):
            line: list[Cell] = [str(target), travels]
            for way in ways:
                gained = {
                    name: _cell(cells(way), f"{column}_gain", digits)
                    for column, (name, digits) in MEASURES.items()
                }
                line += [*gained.values(), told(gained)]
            body.append(line)
    names = [*(f"{name}, gain" for name, _ in MEASURES.values()), "told"]
    head = [f"{way}: {name}" for way in ways for name in names]
    caption = f"{data}: gain over y alone, by what travels and is known"
    return Table("gains", caption, ["target", "travels", *head], body, GAIN_NOTE)


def told(gained: Mapping[str, Value]) -> str:
    """Return in which of several measures a gain has an interval above 0.

    >>> told({"SSIM": Value(0.3, 0.1), "PSNR (dB)": Value(0.2, 0.4)})
    'SSIM'
    """
    if any(isnan(value.half) for value in gained.values()):
        return "-"  # one seed
    above = [name.partition(" ")[0] for name, value in gained.items() if value.mean > value.half]
    return "both" if len(above) == len(gained) else ", ".join(above) or "neither"


def _clients(rows: pd.DataFrame, data: str) -> Table:
    first = rows[rows.target == rows.target.iloc[0]]
    plain = first[first.attacker == "decoder"].travels.iloc[0]
    ways = list(first[first.attacker == "decoder"].knowledge.unique())
    body: list[list[Cell]] = []
    for client, part in first.groupby("client"):
        line: list[Cell] = [f"{client} ({part.base.iloc[0]})"]
        line += _both(part[part.attacker == "class mean image"])
        z = part[(part.attacker == "decoder") & (part.travels == plain)]
        body.append([*line, *(c for way in ways for c in _both(z[z.knowledge == way]))])
    names = [name for name, _ in MEASURES.values()]
    head = [f"{way}: {name}" for way in ("y alone", *ways) for name in names]
    caption = f"{data}, {first.target.iloc[0]}: likeness from {plain}, by client (its base block)"
    return Table("clients", caption, ["client", *head], body)


def _labels(labels: pd.DataFrame, data: str) -> Table:
    z = labels[labels.travels != "nothing"]
    ways = list(z.knowledge.unique())
    body: list[list[Cell]] = []
    for target, part in labels.groupby("target", sort=False):
        blind = _cell(part[part.travels == "nothing"], "accuracy", 1, 100)
        for travels in z[z.target == target].travels.unique():
            rows = part[part.travels == travels]
            cells = [_cell(rows[rows.knowledge == way], "accuracy", 1, 100) for way in ways]
            body.append([str(target), travels, *cells, blind])
    caption = f"{data}: labels told from z alone (%), by what travels and is known"
    note = "A guess is the commonest label of the attacker's images. ± as above."
    return Table("labels", caption, ["target", "travels", *ways, "a guess"], body, note)


def _curves(curves: pd.DataFrame, data: str) -> Table:
    body: list[list[Cell]] = []
    places = curves.groupby(["seed", "target", "client", "knowledge", "attempt"]).cumcount()
    for (target, way), part in curves.groupby(["target", "knowledge"], sort=False):
        errors = part.groupby(places).held_out.mean()
        epochs = f"{part.epoch.max():.0f}"
        body.append([str(target), str(way), epochs, *(Value(float(e), digits=4) for e in errors)])
    head = [f"{place / places.max():.0%}" for place in sorted(places.unique())]
    caption = f"{data}: mean square error on pairs held out, by what part of training is done"
    note = "Means over decoders, of values in [-1, 1]; the attacker takes the best of its tries."
    return Table("curves", caption, ["target", "known", "epochs", *head], body, note)


def _by_travels(part: pd.DataFrame) -> Iterator[tuple[str, "_Ways"]]:
    decoded = part[part.attacker == "decoder"]
    for travels in decoded.travels.unique():
        yield travels, _Ways(decoded[decoded.travels == travels])


class _Ways:
    """Picks the rows of what is known."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows

    def __call__(self, knowledge: str) -> pd.DataFrame:
        return self.rows[self.rows.knowledge == knowledge]


def _both(part: pd.DataFrame) -> list[Cell]:
    return [_cell(part, column, digits) for column, (_, digits) in MEASURES.items()]


def _cell(part: pd.DataFrame, column: str, digits: int, scale: float = 1) -> Value:
    limits = PERCENT if scale == 100 else FREE
    return over_seeds(part.groupby("seed")[column].mean().tolist(), digits, scale, limits=limits)


def figure(pictures: Mapping[str, Sequence["Pictures"]], data: str, seed: int) -> Figure:
    """Draw originals above what was made of them, some images of each client.

    Args:
        pictures: by target, of the same clients; all of the first is shown, of others what knows
            the weights.
    """
    first = next(iter(pictures))
    shown = [(first, name) for name in _chosen(pictures[first][0].rows)]
    for target in list(pictures)[1:]:
        decoded = pictures[target][0].rows
        shown += [(target, name) for name in decoded if name.endswith("decoder, weights")]
    strips = [
        torch.cat([_strip(p.rows[name][:COLUMNS]) for p in pictures[target]], dim=2)
        for target, name in shown
    ]
    raster = torch.cat(strips, dim=1)  # (C, H, W)
    height, width = strips[0].shape[1], raster.shape[2]
    drawn = Figure(figsize=(3.6 + width / 110, 0.8 + raster.shape[1] / 110), layout="constrained")
    axes = drawn.add_subplot()
    image = raster[0] if raster.shape[0] == 1 else raster.permute(1, 2, 0)
    axes.imshow(image.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ticks = [name if target == first else f"{target}: {name}" for target, name in shown]
    axes.set_yticks([height * (n + 0.5) for n in range(len(shown))], ticks, fontsize=7)
    clients = pictures[first]
    each = width / len(clients)
    names = [f"client {n}\n{p.base}" for n, p in enumerate(clients)]
    axes.set_xticks([each * (n + 0.5) for n in range(len(clients))], names, fontsize=7)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for n in range(1, len(clients)):
        axes.axvline(each * n - 0.5, color="#D55E00", linewidth=1)
    axes.set_title(f"{data}, seed {seed}: travels, attacker, knowledge", fontsize=8)
    return drawn


def _chosen(rows: Mapping[str, Tensor]) -> list[str]:
    """Return the rows to show: all of z as it is, of the rest what knows the weights."""
    plain = ("nothing", "original", "y alone", "float16", "bfloat16", "int8")  # nothing new to see
    first = next(name for name in rows if name.endswith(", decoder, weights")).partition(",")[0]
    kept = [n for n in rows if n.startswith(f"{first}, ")]
    rest = [n for n in rows if n.endswith("weights") and not n.startswith((f"{first}, ", *plain))]
    known = [n for n in rows if n.startswith("y alone")]
    return ["original", *kept, *rest, *known]


def _strip(images: Tensor) -> Tensor:
    """Return images (n, C, H, W) side by side, white between: (C, H + 1, n (W + 1))."""
    framed = torch.nn.functional.pad(images, (0, 1, 0, 1), value=1.0)
    return torch.cat([*framed], dim=2)

"""Shows the results of an attack as tables and pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ifl.analysis.tables import Cell, Table, over_seeds

if TYPE_CHECKING:
    from ifl.trials.attack.attacks import Pictures

COLUMNS = 6  # images of each client in the figure
KNOWLEDGE = ("weights", "architecture", "none")
NOTE = (
    "Means over images and clients, ± half the 95 % interval over seeds. The first row has no z: "
    "it is the mean image of the class, of the attacker's own images."
)


def tables(rows: pd.DataFrame, data: str) -> list[Table]:
    """Return SSIM and PSNR by what travels, and SSIM of z as in the paper by base block."""
    ways = [(a, k) for a in ("inverter", "descent") for k in KNOWLEDGE]
    head = [f"{attacker}, {knowledge}" for attacker, knowledge in ways]
    z = rows[rows.attacker.isin(["inverter", "descent"])]
    paper = z.travels.iloc[0]
    mean = rows[rows.attacker == "class mean image"]
    shown = []
    for column, digits in (("ssim", 3), ("psnr", 2)):
        name = "PSNR (dB)" if column == "psnr" else "SSIM"
        body: list[list[Cell]] = [["y alone", *[_cell(mean, column, digits)] * len(ways)]]
        for travels in z.travels.unique():
            part = z[z.travels == travels]
            body.append([travels, *_cells(part, ways, column, digits)])
        caption = f"{data}: {name} of reconstructions, by what travels, attacker and knowledge"
        shown.append(Table(column, caption, ["travels", *head], body, NOTE))
    body = []
    for client in z.client.unique():
        part = z[(z.client == client) & (z.travels == paper)]
        alone = _cell(mean[mean.client == client], "ssim", 3)
        named = f"{client} ({part.base.iloc[0]})"
        body.append([named, alone, *_cells(part, ways, "ssim", 3)])
    caption = f"{data}: SSIM of reconstructions from {paper}, by client (its base block)"
    shown.append(Table("clients", caption, ["client", "y alone", *head], body))
    return shown


def _cells(
    part: pd.DataFrame, ways: Sequence[tuple[str, str]], column: str, digits: int
) -> list[Cell]:
    return [
        _cell(part[(part.attacker == attacker) & (part.knowledge == knowledge)], column, digits)
        for attacker, knowledge in ways
    ]


def _cell(part: pd.DataFrame, column: str, digits: int) -> Cell:
    return over_seeds(part.groupby("seed")[column].mean().tolist(), digits)


def figure(pictures: Sequence["Pictures"], data: str, seed: int) -> Figure:
    """Draw originals above what was made of them, some images of each client."""
    shown = _chosen(pictures[0].rows)
    strips = [
        torch.cat([_strip(p.rows[name][:COLUMNS]) for p in pictures], dim=2) for name in shown
    ]
    raster = torch.cat(strips, dim=1)  # (C, H, W)
    height, width = strips[0].shape[1], raster.shape[2]
    drawn = Figure(figsize=(3.6 + width / 110, 0.8 + raster.shape[1] / 110), layout="constrained")
    axes = drawn.add_subplot()
    grey = raster.shape[0] == 1
    image = raster[0] if grey else raster.permute(1, 2, 0)
    axes.imshow(image.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks([height * (n + 0.5) for n in range(len(shown))], shown, fontsize=7)
    each = width / len(pictures)
    names = [f"client {n}\n{p.base}" for n, p in enumerate(pictures)]
    axes.set_xticks([each * (n + 0.5) for n in range(len(pictures))], names, fontsize=7)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for n in range(1, len(pictures)):
        axes.axvline(each * n - 0.5, color="#D55E00", linewidth=1)
    axes.set_title(f"{data}, seed {seed}: travels, attacker, knowledge", fontsize=8)
    return drawn


def _chosen(rows: Mapping[str, Tensor]) -> list[str]:
    """Return the rows to show: all of z as in the paper, of the rest what knows the weights."""
    plain = ("nothing", "original", "float16", "bfloat16", "int8")  # as the first: nothing to see
    first = next(name for name in rows if name.endswith(", inverter, weights")).partition(",")[0]
    kept = [n for n in rows if n.startswith(f"{first}, ")]
    rest = [
        name
        for name in rows
        if name.endswith("weights") and not name.startswith(f"{first}, ")
        if not name.startswith(plain)
    ]
    known = [n for n in rows if n.startswith("y alone")]
    return ["original", *kept, *rest, *known]


def _strip(images: Tensor) -> Tensor:
    """Return images (n, C, H, W) side by side, white between: (C, H + 1, n (W + 1))."""
    framed = torch.nn.functional.pad(images, (0, 1, 0, 1), value=1.0)
    return torch.cat([*framed], dim=2)

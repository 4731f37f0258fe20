"""Writes figures as PNG, WebP and PDF."""

import io

from matplotlib.figure import Figure
from PIL import Image
from PIL.Image import Quantize


def png(figure: Figure, dpi: int = 150) -> bytes:
    """Return a PNG of few colours: as good for lines and areas, a third of the size."""
    small = io.BytesIO()
    _painted(figure, dpi).save(small, format="png", optimize=True)
    return small.getvalue()


def webp(figure: Figure, dpi: int = 100) -> bytes:
    """Return a WebP of fewer colours yet, for a page that holds many: smaller."""
    small = io.BytesIO()
    _painted(figure, dpi, 32).convert("RGB").save(
        small, format="webp", lossless=True, quality=100, method=6
    )
    return small.getvalue()


def _painted(figure: Figure, dpi: int, few: int = 64) -> Image.Image:
    """Return a figure in few colours, those of thin lines too; in 128 where it shows matrices."""
    matrices = any(axes.images for axes in figure.axes)
    colours, way = (128, Quantize.MEDIANCUT) if matrices else (few, Quantize.FASTOCTREE)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    return Image.open(drawn).convert("RGB").quantize(colours, way, dither=Image.Dither.NONE)


def pdf(figure: Figure) -> bytes:
    """Return a PDF that says nothing of when it was made: the same figure, the same bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="pdf", metadata={"CreationDate": None})
    return drawn.getvalue()

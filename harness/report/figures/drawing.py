"""The look of every figure, and its bytes: the same points and the same matplotlib give the same files. No torch."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DOTS_PER_INCH = 200
INK = "#222222"
FAINT = "#5F5F5F"
GRID = "#E4E4E4"
PAPER = "#FFFFFF"
TITLE_POINTS = 10.0
TEXT_POINTS = 7.5
SMALL_POINTS = 6.5
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT_POINTS,
    "svg.hashsalt": "harness",
    "svg.fonttype": "path",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.color": INK,
    # Text from outside is never read as a formula.
    "text.parse_math": False,
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure in both formats."""

    png: bytes
    svg: bytes


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in inches from the left and the top of a figure."""

    left: float
    top: float
    width: float
    height: float


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of that many inches; inside, the harness's style holds, whatever the user's own is."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(cast(Any, STYLE))
        figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
        FigureCanvasAgg(figure)
        yield figure


def picture(figure: Figure) -> Picture:
    """The bytes of a figure, to be called inside `canvas`: no date, no name of a program."""
    svg = _bytes(figure, "svg", {"Date": None, "Creator": None})
    return Picture(png=_bytes(figure, "png", {"Software": None}), svg=svg)


def place(figure: Figure, box: Box) -> Axes:
    """Axes that fill `box`."""
    width, height = (float(size) for size in figure.get_size_inches())
    bottom = 1 - (box.top + box.height) / height
    return figure.add_axes((box.left / width, bottom, box.width / width, box.height / height))


def heading(figure: Figure, title: str, note: str) -> None:
    """Title and subtitle at the upper left; a note of two lines has a line feed in it."""
    height = float(figure.get_size_inches()[1])
    figure.text(0.02, 1 - 0.21 / height, title, fontsize=TITLE_POINTS, fontweight="bold")
    figure.text(0.02, 1 - 0.27 / height, note, fontsize=SMALL_POINTS, color=FAINT, verticalalignment="top")


def _bytes(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, metadata=metadata)
    return stream.getvalue()

"""What every figure shares: look, title, places in inches, and its bytes.

The same points, style and matplotlib give the same files.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
from matplotlib import figure
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.report.analysis.points import Points
from harness.report.labels import cut

FIGURE_FOLDER = "figures"
KINDS = ("bars", "curves", "training", "steps", "ablations", "completions")
"""The kinds of figures, in the order of a report."""
BARS, CURVES, TRAINING, STEPS, ABLATIONS, COMPLETIONS = KINDS
WIDTH_INCHES = 5.6
DOTS_PER_INCH = 200
INK = "#222222"
FAINT = "#5F5F5F"
GRID = "#E4E4E4"
PAPER = "#FFFFFF"
TITLE_POINTS = 10.0
TEXT_POINTS = 7.5
SMALL_POINTS = 6.5
TITLE_CHARACTERS, NOTE_CHARACTERS = 58, 110
"""What fits into the width of a figure."""
HEAD: dict[str, Any] = {"fontsize": TEXT_POINTS, "fontweight": "bold"}
NOTE: dict[str, Any] = {"fontsize": SMALL_POINTS, "color": FAINT}
TICKS = {"color": FAINT, "labelcolor": INK, "major.size": 2.5, "major.width": 0.6}
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT_POINTS,
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
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in TICKS.items()},
    "text.color": INK,
    # No ticks are above an axis. To look for some would take a tenth of the drawing.
    "axes.titley": 1.0,
}
FIXED: dict[str, Any] = {
    # Text from outside is never read as a formula, nor given to TeX.
    "text.parse_math": False,
    "text.usetex": False,
    # The same bytes every time.
    "svg.hashsalt": "harness",
    # The page shares the shapes of letters among its figures.
    "svg.fonttype": "path",
    # Places are in inches.
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "savefig.bbox": None,
    "savefig.dpi": DOTS_PER_INCH,
}
"""What no style changes."""

_own_style: ContextVar[Mapping[str, Any] | None] = ContextVar("own_style", default=None)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure in all formats."""

    png: bytes
    svg: bytes
    pdf: bytes


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in inches from the left and the top of a figure."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure that is drawn when asked for. kind: one of KINDS. stem: of its file names. points: what is plotted.

    family, tab: figures that follow each other in one family show the same under several names (tab), one at a time
    where a format can switch. command: what makes figures of this kind from these runs.
    """

    kind: str
    stem: str
    title: str
    caption: str
    points: Points
    draw: Callable[[], Picture]
    family: str = ""
    tab: str = ""
    command: str = ""

    def file(self, ending: str) -> str:
        """The path below the report's folder; ending: png, svg, pdf or csv."""
        return f"{FIGURE_FOLDER}/{self.stem}.{ending}"


class Sheet:
    """A figure of matplotlib's with title and subtitle at the upper left; places are in inches from left and top."""

    def __init__(self, title: str, note: str, *, width: float, height: float) -> None:
        self.figure = figure.Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
        self.width, self.height = width, height
        FigureCanvasAgg(self.figure)
        head, lines = cut(title, TITLE_CHARACTERS), textwrap.fill(note, NOTE_CHARACTERS)
        self.figure.text(0.02, 1 - 0.21 / height, head, fontsize=TITLE_POINTS, fontweight="bold")
        self.figure.text(0.02, 1 - 0.27 / height, lines, verticalalignment="top", **NOTE)

    def axes(self, box: Box) -> Axes:
        """Axes that fill `box`."""
        return self.figure.add_axes((*self.corner(box), box.width / self.width, box.height / self.height))

    def corner(self, box: Box) -> tuple[float, float]:
        """The lower left corner of `box` as fractions of the figure."""
        return box.left / self.width, 1 - (box.top + box.height) / self.height

    def write(self, left: float, baseline: float, text: str, **style: Any) -> None:
        """A line of text."""
        self.figure.text(left / self.width, 1 - baseline / self.height, text, **style)

    def picture(self) -> Picture:
        """The bytes: no date, no name of a program."""
        return Picture(
            png=self._bytes("png", {"Software": None}, pil_kwargs={"compress_level": 3}),
            svg=self._bytes("svg", {"Date": None, "Creator": None}),
            pdf=self._bytes("pdf", {"CreationDate": None, "Creator": None, "Producer": None}),
        )

    def _bytes(self, kind: str, metadata: dict[str, Any], **options: Any) -> bytes:
        stream = io.BytesIO()
        self.figure.savefig(stream, format=kind, metadata=metadata, **options)
        return stream.getvalue()


@contextmanager
def styled(own: Mapping[str, Any]) -> Iterator[None]:
    """Figures drawn inside have these settings of matplotlib's over the harness's own."""
    token = _own_style.set(own)
    try:
        yield
    finally:
        _own_style.reset(token)


@contextmanager
def sheet(title: str, note: str, *, height: float, width: float = WIDTH_INCHES) -> Iterator[Sheet]:
    """An empty figure, to be drawn and turned into its bytes inside.

    There the harness's style holds, with what `styled` adds, and not the user's matplotlibrc.
    A title is cut where it is too long; a note takes a second line.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(cast(Any, {**STYLE, **(_own_style.get() or {}), **FIXED}))
        yield Sheet(title, note, width=width, height=height)


def round_ticks(axis: Axis, most: int, *, integer: bool = False) -> None:
    """At most `most` intervals between round numbers."""
    axis.set_major_locator(MaxNLocator(most, integer=integer, steps=[1, 2, 2.5, 5, 10]))


def separate_thousands(axis: Axis) -> None:
    """1,536 as the name of a tick."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def write_beside(axes: Axes, text: str, end: tuple[float, float], points: float, **style: Any) -> None:
    """A number right of the end of its bar, `points` away."""
    place: dict[str, Any] = {"xytext": (points, 0), "textcoords": "offset points", "annotation_clip": False}
    axes.annotate(text, end, verticalalignment="center", **place, **style)


def prepare_horizontal_bars(axes: Axes) -> None:
    """Prepares the grid for horizontal bars."""
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")

"""Learning curves as pictures: the same points and the same matplotlib give the same bytes.

One colour per method in every figure; random-reward controls are grey and dashed. Lines carry their names at
their ends.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.report.curves import Line, Panel, Point
from harness.report.figures.drawing import (
    FAINT,
    SMALL_POINTS,
    TEXT_POINTS,
    Box,
    Picture,
    canvas,
    heading,
    picture,
    place,
)
from harness.report.groups import Group
from harness.report.labels import (
    CONTROL_COLOUR,
    Unit,
    data_name,
    flop_unit,
    method_name,
    metric_name,
    percent,
    task_name,
)

WIDTH_INCHES = 5.6
LEAST_HEIGHT_INCHES = 3.3
LEFT_INCHES = 0.53
RIGHT_INCHES = 1.71
BOTTOM_INCHES = 0.46
TOP_INCHES = 0.56
HEAD_CHARACTERS = 15
LABEL_CHARACTERS = 26
SUBTITLE_CHARACTERS = 104
HEAD_INCHES = 0.155
DETAIL_INCHES = 0.12
AXIS_LABELS = {
    "samples": "Training samples (completions)",
    "updates": "Optimiser updates",
    "seconds": "Training time (s)",
}
DASHES = ("-", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
CONTROL_DASHES = ((0, (4, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one line is drawn; dashes are matplotlib's line style."""

    colour: str
    dashes: Any
    marker: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The horizontal axis: which column of the points, in which unit, up to where (in that unit)."""

    axis: str
    unit: Unit
    end: float

    def x(self, point: Point) -> float:
        """Where `point` stands."""
        return float(getattr(point, self.axis)) / self.unit.size


@dataclass(frozen=True, kw_only=True)
class Name:
    """What stands at the end of a line: method and last value, below it what sets the line apart."""

    head: str
    details: tuple[str, ...]
    end: Point

    @property
    def inches(self) -> float:
        """Height, with the space to the next."""
        return HEAD_INCHES + DETAIL_INCHES * len(self.details)


def draw(panel: Panel, axis: str, colours: Mapping[str, str], *, title: str = "") -> Picture:
    """The curves of `panel` against `axis` (one of curves.AXES). colours: one per method."""
    names = [_name(line) for line in panel.lines]
    plot_height = max(LEAST_HEIGHT_INCHES - TOP_INCHES - BOTTOM_INCHES, sum(name.inches for name in names) * 1.1)
    with canvas(WIDTH_INCHES, plot_height + TOP_INCHES + BOTTOM_INCHES) as figure:
        width = WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES
        axes = place(figure, Box(left=LEFT_INCHES, top=TOP_INCHES, width=width, height=plot_height))
        scale = _scale(panel, axis)
        looks = looks_of([line.group for line in panel.lines], colours)
        _draw_titles(figure, panel, title or f"{task_name(panel.task)}: {metric_name(panel.metric)}")
        _prepare_axes(axes, panel, scale)
        for line, look in zip(panel.lines, looks, strict=True):
            _draw_line(axes, line, look, scale)
        _draw_ceiling(axes, panel)
        _draw_names(axes, names, looks, scale, plot_height)
        return picture(figure)


def _scale(panel: Panel, axis: str) -> Scale:
    largest = max(getattr(point, axis) for line in panel.lines for point in line.points)
    unit = flop_unit(largest) if axis == "flops" else Unit(name="", size=1.0)
    return Scale(axis=axis, unit=unit, end=(largest or 1.0) / unit.size)


def looks_of(groups: Sequence[Group], colours: Mapping[str, str]) -> list[Look]:
    """The look of every group; lines of the same colour differ in dashes and markers."""
    used: dict[str, int] = {}
    looks = []
    for group in groups:
        colour = CONTROL_COLOUR if group.is_control else colours[group.method]
        number = used[colour] = used.get(colour, -1) + 1
        dashes = CONTROL_DASHES if group.is_control else DASHES
        looks.append(Look(colour=colour, dashes=dashes[number % len(dashes)], marker=MARKERS[number % len(MARKERS)]))
    return looks


def _draw_titles(figure: Figure, panel: Panel, title: str) -> None:
    counts = sorted({len(line.group.seeds) for line in panel.lines})
    seeds = " or ".join(str(count) for count in counts)
    spread = f"mean of {seeds} seeds, band: 95 % interval over seeds" if counts[-1] > 1 else "one seed, no band"
    where = f"{panel.model} model, {data_name(panel.protocol.data)}, {panel.n:,} {panel.protocol.split} items"
    fits = len(where) + len(spread) <= SUBTITLE_CHARACTERS
    heading(figure, title, f"{where}; {spread}" if fits else f"{where}\n{spread}")


def _prepare_axes(axes: Axes, panel: Panel, scale: Scale) -> None:
    name = f"Training compute ({scale.unit.name})" if scale.axis == "flops" else AXIS_LABELS[scale.axis]
    axes.set_xlabel(name)
    axes.set_ylabel(f"{metric_name(panel.metric).capitalize()} (%)")
    axes.set_ylim(*_span(panel))
    axes.set_xlim(0, scale.end)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=scale.axis in ("samples", "updates"), steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _span(panel: Panel) -> tuple[float, float]:
    """Per cent at the bottom and the top. The bottom is 0 unless all curves lie in the upper part."""
    points = [point for line in panel.lines for point in line.points]
    top = max(point.value if point.high is None else point.high for point in points)
    bottom = min(point.value if point.low is None else point.low for point in points)
    low = 0.0 if bottom < 0.5 * top else max(0.0, 10.0 * math.floor(10 * bottom - 0.2))
    return low, min(100.0, max(100 * top + 0.06 * (100 * top - low), low + 5))


def _draw_line(axes: Axes, line: Line, look: Look, scale: Scale) -> None:
    xs = [scale.x(point) for point in line.points]
    values = [100 * point.value for point in line.points]
    depth = 2.5 if line.group.is_control else 3
    axes.plot(xs, values, color=look.colour, linestyle=look.dashes, linewidth=1.5, zorder=depth, clip_on=False)
    dots: dict[str, Any] = {
        "markersize": 3.6,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
        "linestyle": "",
    }
    axes.plot(xs, values, color=look.colour, marker=look.marker, zorder=depth + 0.1, clip_on=False, **dots)
    _draw_band(axes, line, look, scale, depth - 1)


def _draw_band(axes: Axes, line: Line, look: Look, scale: Scale, depth: float) -> None:
    xs = [scale.x(point) for point in line.points]
    bands = [
        (100 * point.low, 100 * point.high) for point in line.points if point.low is not None and point.high is not None
    ]
    if not bands:
        return
    lows, highs = zip(*bands, strict=True)
    axes.fill_between(xs, lows, highs, color=look.colour, alpha=0.1, linewidth=0, zorder=depth)
    # Where bands lie over each other their fills mix; the edges keep their colour.
    style: dict[str, Any] = {"alpha": 0.55, "linewidth": 0.5, "linestyle": look.dashes, "zorder": depth + 0.5}
    for edge in (lows, highs):
        axes.plot(xs, edge, color=look.colour, **style)


def _draw_ceiling(axes: Axes, panel: Panel) -> None:
    if panel.ceiling is None or 100 * panel.ceiling > axes.get_ylim()[1]:
        return
    axes.axhline(100 * panel.ceiling, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate(
        f"perfect solver: {percent(panel.ceiling)}",
        (0, 100 * panel.ceiling),
        xytext=(4, -2),
        textcoords="offset points",
        verticalalignment="top",
        fontsize=SMALL_POINTS,
        color=FAINT,
    )


def _name(line: Line) -> Name:
    control = ["random-reward control"] if line.group.is_control else []
    return Name(
        head=f"{_cut(method_name(line.group.method))}  {percent(line.points[-1].value)}",
        details=(*control, *textwrap.wrap(line.group.variant, LABEL_CHARACTERS)),
        end=line.points[-1],
    )


def _cut(text: str) -> str:
    return text if len(text) <= HEAD_CHARACTERS else f"{text[: HEAD_CHARACTERS - 1]}…"


def _draw_names(axes: Axes, names: Sequence[Name], looks: Sequence[Look], scale: Scale, plot_height: float) -> None:
    """Name and last value of every line, right of the axes, pushed apart where lines end close together."""
    bottom, top = axes.get_ylim()
    ends = [min((100 * name.end.value - bottom) / (top - bottom), 1.0) for name in names]
    middles = spread_out(ends, [name.inches / plot_height for name in names])
    # Dotted and thin: a leader must not look like the curve going on.
    leader: dict[str, Any] = {"linewidth": 0.7, "linestyle": (0, (1, 1.5)), "clip_on": False}
    style: dict[str, Any] = {"transform": axes.transAxes, "verticalalignment": "center"}
    for name, look, end, middle in zip(names, looks, ends, middles, strict=True):
        start = min(scale.x(name.end) / scale.end, 1.0) + 0.012
        axes.plot([start, 1.05, 1.075], [end, middle, middle], color=look.colour, transform=axes.transAxes, **leader)
        y = middle + DETAIL_INCHES * len(name.details) / 2 / plot_height
        axes.text(1.09, y, name.head, fontsize=TEXT_POINTS, fontweight="bold", **style)
        for text in name.details:
            y -= DETAIL_INCHES / plot_height
            axes.text(1.09, y, text, fontsize=SMALL_POINTS, color=FAINT, **style)


def spread_out(wanted: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Middles of labels of `sizes`, close to `wanted` and without overlap; all in one unit.

    Labels that touch become a block at the mean of their wishes, inside 0..1 as far as there is room.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _bottom(blocks[-1], wanted, sizes) < _top(blocks[-2], wanted, sizes):
            last = blocks.pop()
            blocks[-1] += last
    middles = [0.0] * len(wanted)
    for block in blocks:
        edge = _bottom(block, wanted, sizes)
        for index in block:
            middles[index] = edge + sizes[index] / 2
            edge += sizes[index]
    return middles


def _bottom(block: Sequence[int], wanted: Sequence[float], sizes: Sequence[float]) -> float:
    size = sum(sizes[index] for index in block)
    middle = sum(wanted[index] for index in block) / len(block)
    return max(min(middle - size / 2, 1.0 - size), 0.0)


def _top(block: Sequence[int], wanted: Sequence[float], sizes: Sequence[float]) -> float:
    return _bottom(block, wanted, sizes) + sum(sizes[index] for index in block)

"""Learning curves as pictures: the same points and the same matplotlib give the same bytes.

One colour per method in every figure; random-reward controls are grey and dashed. Lines carry their names at
their ends.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from harness.report.analysis.curves import FLOPS, SAMPLES, UPDATES, Axis, Line, Panel, Point, curve_points
from harness.report.figures import frame
from harness.report.figures.looks import Colours, Look, looks_of
from harness.report.labels import (
    Unit,
    capitalized,
    cut,
    data_name,
    flop_unit,
    method_name,
    metric_name,
    percent,
    task_name,
)

LEAST_HEIGHT_INCHES = 3.3
LEFT_INCHES = 0.53
RIGHT_INCHES = 1.71
BOTTOM_INCHES = 0.46
TOP_INCHES = 0.56
HEAD_CHARACTERS = 15
LABEL_CHARACTERS = 26
VARIANT_CHARACTERS = 156
SUBTITLE_CHARACTERS = 104
HEAD_INCHES = 0.155
DETAIL_INCHES = 0.12


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The horizontal axis: which column of the points, in which unit, up to where (in that unit)."""

    axis: Axis
    unit: Unit
    end: float

    def x(self, point: Point) -> float:
        """Where `point` is drawn."""
        return float(getattr(point, self.axis.column)) / self.unit.size


@dataclass(frozen=True, kw_only=True)
class Name:
    """The text at the end of a line: method and last value, below it what sets the line apart."""

    head: str
    details: tuple[str, ...]
    end: Point

    @property
    def inches(self) -> float:
        """Height, with the space to the next."""
        return HEAD_INCHES + DETAIL_INCHES * len(self.details)


def curve_figure(panel: Panel, axis: Axis, colours: Colours, *, title: str = "") -> frame.Figure:
    """A panel against one axis. title: that of the picture, task and metric by default."""
    where = f"{panel.model} model, {data_name(panel.protocol.data)}, {panel.protocol.split} split"
    return frame.Figure(
        stem=f"{panel.stem}-{axis.name}",
        title=f"{task_name(panel.task)}, {metric_name(panel.metric)} against {axis.title}",
        caption=f"{capitalized(where)}. Mean over seeds with the 95 % interval over seeds.",
        points=curve_points(panel, axis),
        draw=partial(draw, panel, axis, colours, title=title),
        family=panel.stem,
        tab=capitalized(axis.short),
    )


def draw(panel: Panel, axis: Axis, colours: Colours, *, title: str = "") -> frame.Picture:
    """The curves of `panel` against `axis`."""
    names = [_name(line) for line in panel.lines]
    plot_height = max(LEAST_HEIGHT_INCHES - TOP_INCHES - BOTTOM_INCHES, sum(name.inches for name in names) * 1.1)
    head = title or f"{task_name(panel.task)}: {metric_name(panel.metric)}"
    with frame.sheet(head, _note(panel), height=plot_height + TOP_INCHES + BOTTOM_INCHES) as sheet:
        width = frame.WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES
        axes = sheet.axes(frame.Box(left=LEFT_INCHES, top=TOP_INCHES, width=width, height=plot_height))
        scale = _scale(panel, axis)
        looks = looks_of([line.group for line in panel.lines], colours)
        _prepare_axes(axes, panel, scale)
        for line, look in zip(panel.lines, looks, strict=True):
            _draw_line(axes, line, look, scale)
        _draw_ceiling(axes, panel)
        _draw_names(axes, names, looks, scale, plot_height)
        return sheet.picture()


def _scale(panel: Panel, axis: Axis) -> Scale:
    largest = max(getattr(point, axis.column) for line in panel.lines for point in line.points)
    unit = flop_unit(largest) if axis is FLOPS else Unit(name="", size=1.0)
    return Scale(axis=axis, unit=unit, end=(largest or 1.0) / unit.size)


def _note(panel: Panel) -> str:
    counts = sorted({len(line.group.seeds) for line in panel.lines})
    seeds = " or ".join(str(count) for count in counts)
    spread = f"mean of {seeds} seeds, band: 95 % interval over seeds" if counts[-1] > 1 else "one seed, no band"
    where = f"{panel.model} model, {data_name(panel.protocol.data)}, {panel.n:,} {panel.protocol.split} items"
    fits = len(where) + len(spread) <= SUBTITLE_CHARACTERS
    return f"{where}; {spread}" if fits else f"{where}\n{spread}"


def _prepare_axes(axes: Axes, panel: Panel, scale: Scale) -> None:
    axes.set_xlabel(scale.axis.label.format(unit=scale.unit.name))
    axes.set_ylabel(f"{metric_name(panel.metric).capitalize()} (%)")
    axes.set_ylim(*_span(panel))
    axes.set_xlim(0, scale.end)
    frame.round_ticks(axes.xaxis, 6, integer=scale.axis in (SAMPLES, UPDATES))
    frame.round_ticks(axes.yaxis, 6)
    frame.separate_thousands(axes.xaxis)


def _span(panel: Panel) -> tuple[float, float]:
    """Per cent at the bottom and the top. The bottom is 0 unless all curves lie in the upper part."""
    points = [point for line in panel.lines for point in line.points]
    top = max(point.interval.high if point.interval else point.value for point in points)
    bottom = min(point.interval.low if point.interval else point.value for point in points)
    low = 0.0 if bottom < 0.5 * top else max(0.0, 10.0 * math.floor(10 * bottom - 0.2))
    return low, min(100.0, max(100 * top + 0.06 * (100 * top - low), low + 5))


def _draw_line(axes: Axes, line: Line, look: Look, scale: Scale) -> None:
    xs = [scale.x(point) for point in line.points]
    values = [100 * point.value for point in line.points]
    depth = 2.5 if line.group.is_control else 3
    axes.plot(xs, values, color=look.colour, linestyle=look.dashes, linewidth=1.5, zorder=depth, clip_on=False)
    dots: dict[str, Any] = {"markersize": 3.6, "markeredgecolor": "white", "markeredgewidth": 0.5, "linestyle": ""}
    axes.plot(xs, values, color=look.colour, marker=look.marker, zorder=depth + 0.1, clip_on=False, **dots)
    _draw_band(axes, line, look, scale, depth - 1)


def _draw_band(axes: Axes, line: Line, look: Look, scale: Scale, depth: float) -> None:
    xs = [scale.x(point) for point in line.points]
    bands = [(100 * point.interval.low, 100 * point.interval.high) for point in line.points if point.interval]
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
    axes.axhline(100 * panel.ceiling, color=frame.FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate(
        f"perfect solver: {percent(panel.ceiling)}",
        (0, 100 * panel.ceiling),
        xytext=(4, -2),
        textcoords="offset points",
        verticalalignment="top",
        **frame.NOTE,
    )


def _name(line: Line) -> Name:
    control = ["random-reward control"] if line.group.is_control else []
    return Name(
        head=f"{cut(method_name(line.group.method), HEAD_CHARACTERS)}  {percent(line.points[-1].value)}",
        details=(*control, *textwrap.wrap(cut(line.group.variant, VARIANT_CHARACTERS), LABEL_CHARACTERS)),
        end=line.points[-1],
    )


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
        axes.text(1.09, y, name.head, **frame.HEAD, **style)
        for text in name.details:
            y -= DETAIL_INCHES / plot_height
            axes.text(1.09, y, text, **frame.NOTE, **style)


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

"""Learning curves as pictures: the same points and the same matplotlib give the same bytes.

One colour per method in every figure; random-reward controls are grey and dashed. Lines carry their names at
their ends. Where many intervals would lie over each other, each line has them in a small panel of its own below.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from harness.report.analysis.curves import FLOPS, SAMPLES, UPDATES, Axis, Line, Panel, Point, axis_end, curve_points
from harness.report.figures import frame
from harness.report.figures.looks import Colours, Look, looks_of, names_of, variants_of
from harness.report.labels import (
    Unit,
    capitalized,
    cut,
    data_name,
    digits,
    flop_unit,
    method_name,
    metric_name,
    numbered,
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
MOST_BANDS = 3
"""More of them over each other cannot be told apart."""
SMALL_INCHES, SMALL_HEAD_INCHES, SMALL_FOOT_INCHES = 0.78, 0.34, 0.22
SMALL_COLUMNS = 6
SMALL_GAP = 0.12
SMALL_CHARACTERS = 15
OTHERS = "#BFBFBF"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The horizontal axis: which column of the points, in which unit, up to where (in that unit)."""

    axis: Axis
    unit: Unit
    end: float

    def x(self, point: Point) -> float:
        """Where `point` is drawn."""
        return float(getattr(point, self.axis.column)) / self.unit.size

    def leaves(self, line: Line) -> bool:
        """Whether the line goes on beyond the end of the axis."""
        return self.x(line.points[-1]) > self.end

    def shown_end(self, line: Line) -> tuple[float, float]:
        """Where the visible part of the line ends: on the axis, and in per cent."""
        xs, values = [self.x(point) for point in line.points], [100 * point.value for point in line.points]
        x = min(xs[-1], self.end)
        return x, float(np.interp(x, xs, values)) if self.leaves(line) else values[-1]

    def text(self, point: Point) -> str:
        """`855 GFLOP`, `1,536 samples`."""
        return f"{digits(self.x(point))} {self.unit.name or self.axis.short}"


@dataclass(frozen=True, kw_only=True)
class Name:
    """The text at the end of a line: method and last value, below it what sets the line apart. end: on the axis and in
    per cent."""

    head: str
    details: tuple[str, ...]
    end: tuple[float, float]

    @property
    def inches(self) -> float:
        """Height, with the space to the next."""
        return HEAD_INCHES + DETAIL_INCHES * len(self.details)


def curve_figure(panel: Panel, axis: Axis, colours: Colours, *, title: str = "") -> frame.Figure:
    """A panel against one axis. title: that of the picture, task and metric by default."""
    where = f"{panel.model} model, {data_name(panel.protocol.data)}, {panel.protocol.split} split"
    cut_text = " The axis is cut: the names of lines that go on say where they end." if _is_cut(panel, axis) else ""
    return frame.Figure(
        kind=frame.CURVES,
        stem=f"{panel.stem}-{axis.name}",
        title=f"{task_name(panel.task)}, {metric_name(panel.metric)} against {axis.title}",
        caption=f"{capitalized(where)}. Mean over seeds with the 95 % interval over seeds.{cut_text}",
        points=curve_points(panel, axis),
        draw=partial(draw, panel, axis, colours, title=title),
        family=panel.stem,
        tab=capitalized(axis.short),
    )


def _is_cut(panel: Panel, axis: Axis) -> bool:
    scale = _scale(panel, axis)
    return any(scale.leaves(line) for line in panel.lines)


def draw(panel: Panel, axis: Axis, colours: Colours, *, title: str = "") -> frame.Picture:
    """The curves of `panel` against `axis`."""
    scale = _scale(panel, axis)
    names = _names(panel.lines, scale)
    looks = looks_of([line.group for line in panel.lines], colours)
    small = _has_small_panels(panel)
    plot_height = max(LEAST_HEIGHT_INCHES - TOP_INCHES - BOTTOM_INCHES, sum(name.inches for name in names) * 1.1)
    height = plot_height + TOP_INCHES + BOTTOM_INCHES
    head = title or f"{task_name(panel.task)}: {metric_name(panel.metric)}"
    with frame.sheet(head, _note(panel), height=height + (_small_height(panel) if small else 0)) as sheet:
        width = frame.WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES
        axes = sheet.axes(frame.Box(left=LEFT_INCHES, top=TOP_INCHES, width=width, height=plot_height))
        _prepare_axes(axes, panel, scale, with_bands=not small)
        for line, look in zip(panel.lines, looks, strict=True):
            _draw_line(axes, line, look, scale)
            if not small:
                _draw_band(axes, line, look, scale)
        _draw_ceiling(axes, panel)
        _draw_names(axes, names, looks, scale, plot_height)
        if small:
            _draw_small_panels(sheet, panel, looks, scale, height)
        return sheet.picture()


def _has_small_panels(panel: Panel) -> bool:
    return sum(any(point.interval for point in line.points) for line in panel.lines) > MOST_BANDS


def _scale(panel: Panel, axis: Axis) -> Scale:
    end = axis_end([max(getattr(point, axis.column) for point in line.points) for line in panel.lines])
    unit = flop_unit(end) if axis is FLOPS else Unit(name="", size=1.0)
    return Scale(axis=axis, unit=unit, end=(end or 1.0) / unit.size)


def _note(panel: Panel) -> str:
    counts = sorted({len(line.group.seeds) for line in panel.lines})
    seeds = " or ".join(str(count) for count in counts)
    band = "small panels" if _has_small_panels(panel) else "band"
    spread = f"mean of {seeds} seeds, {band}: 95 % interval over seeds" if counts[-1] > 1 else "one seed, no band"
    where = f"{panel.model} model, {data_name(panel.protocol.data)}, {panel.n:,} {panel.protocol.split} items"
    fits = len(where) + len(spread) <= SUBTITLE_CHARACTERS
    return f"{where}; {spread}" if fits else f"{where}\n{spread}"


def _prepare_axes(axes: Axes, panel: Panel, scale: Scale, *, with_bands: bool) -> None:
    axes.set_xlabel(scale.axis.label.format(unit=scale.unit.name))
    axes.set_ylabel(f"{metric_name(panel.metric).capitalize()} (%)")
    axes.set_ylim(*_span(panel, with_bands=with_bands))
    axes.set_xlim(0, scale.end)
    frame.round_ticks(axes.xaxis, 6, integer=scale.axis in (SAMPLES, UPDATES))
    frame.round_ticks(axes.yaxis, 6)
    frame.separate_thousands(axes.xaxis)


def _span(panel: Panel, *, with_bands: bool) -> tuple[float, float]:
    """Per cent at the bottom and the top. The bottom is 0 unless all curves lie in the upper part."""
    points = [point for line in panel.lines for point in line.points]
    top = max(point.interval.high if point.interval and with_bands else point.value for point in points)
    bottom = min(point.interval.low if point.interval and with_bands else point.value for point in points)
    low = 0.0 if bottom < 0.5 * top else max(0.0, 10.0 * math.floor(10 * bottom - 0.2))
    return low, min(100.0, max(100 * top + 0.06 * (100 * top - low), low + 5))


def _draw_line(axes: Axes, line: Line, look: Look, scale: Scale) -> None:
    xs = [scale.x(point) for point in line.points]
    values = [100 * point.value for point in line.points]
    depth, clipped = 2.5 if line.group.is_control else 3, scale.leaves(line)
    axes.plot(xs, values, color=look.colour, linestyle=look.dashes, linewidth=1.5, zorder=depth, clip_on=clipped)
    dots: dict[str, Any] = {"markersize": 3.6, "markeredgecolor": "white", "markeredgewidth": 0.5, "linestyle": ""}
    axes.plot(xs, values, color=look.colour, marker=look.marker, zorder=depth + 0.1, clip_on=clipped, **dots)


def _draw_band(axes: Axes, line: Line, look: Look, scale: Scale) -> None:
    points = [point for point in line.points if point.interval]
    xs = [scale.x(point) for point in points]
    lows = [100 * point.interval.low for point in points if point.interval]
    highs = [100 * point.interval.high for point in points if point.interval]
    axes.fill_between(xs, lows, highs, color=look.colour, alpha=0.15, linewidth=0, zorder=2)
    # Where bands lie over each other their fills mix; the edges keep their colour.
    style: dict[str, Any] = {"alpha": 0.55, "linewidth": 0.5, "linestyle": look.dashes, "zorder": 2.2}
    for edge in (lows, highs):
        axes.plot(xs, edge, color=look.colour, **style)


def _small_lines(panel: Panel) -> int:
    return math.ceil(len(panel.lines) / SMALL_COLUMNS)


def _small_height(panel: Panel) -> float:
    return _small_lines(panel) * (SMALL_HEAD_INCHES + SMALL_INCHES) + SMALL_FOOT_INCHES


def _draw_small_panels(sheet: frame.Sheet, panel: Panel, looks: Sequence[Look], scale: Scale, top: float) -> None:
    """Every line with its band, the others behind it in grey, from `top` inches on."""
    columns = math.ceil(len(panel.lines) / _small_lines(panel))
    names = names_of([line.group for line in panel.lines], 2 * SMALL_CHARACTERS)
    width = frame.WIDTH_INCHES - LEFT_INCHES - 0.1
    for start in range(0, len(panel.lines), columns):
        box = frame.Box(left=LEFT_INCHES, top=top + SMALL_HEAD_INCHES, width=width, height=SMALL_INCHES)
        # One pair of axes for the row: a pair for every panel would take most of the report's time.
        axes = sheet.axes(box)
        axes.set_xlim(0, columns * (1 + SMALL_GAP) - SMALL_GAP)
        axes.set_ylim(*_span(panel, with_bands=True))
        axes.set_xticks([])
        axes.set_ylabel("%")
        axes.spines["bottom"].set_visible(False)
        frame.round_ticks(axes.yaxis, 3)
        for column, number in enumerate(range(start, min(start + columns, len(panel.lines)))):
            _draw_small_panel(axes, panel, number, looks[number], scale, column * (1 + SMALL_GAP))
            text = "\n".join(textwrap.wrap(names[number], SMALL_CHARACTERS + 1)[:2])
            style: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "fontsize": frame.SMALL_POINTS}
            axes.text(column * (1 + SMALL_GAP), 1.04, text, linespacing=1.05, **style)
        top += SMALL_HEAD_INCHES + SMALL_INCHES
    note = "each line with its 95 % interval over seeds, on the horizontal axis of the plot above; grey: the others"
    sheet.write(LEFT_INCHES, top + 0.14, note, **frame.NOTE)


def _draw_small_panel(axes: Axes, panel: Panel, number: int, look: Look, scale: Scale, left: float) -> None:
    """The panel of one line, from `left` to left + 1 on the axis of its row."""
    low, high = axes.get_ylim()
    axes.plot([left, left, left + 1], [high, low, low], color=frame.FAINT, linewidth=0.6, clip_on=False)
    for other in (*panel.lines[:number], *panel.lines[number + 1 :], panel.lines[number]):
        shown = [point for point in other.points if scale.x(point) <= scale.end]
        x, y = scale.shown_end(other)
        xs = [left + value / scale.end for value in (*map(scale.x, shown), x)]
        values = [*(100 * point.value for point in shown), y]
        if other is not panel.lines[number]:
            axes.plot(xs, values, color=OTHERS, linewidth=0.6, zorder=2)
            continue
        axes.plot(xs, values, color=look.colour, linestyle=look.dashes, linewidth=1.3, zorder=4)
        bounds = [(left + scale.x(point) / scale.end, point.interval) for point in shown if point.interval]
        places = [place for place, _ in bounds]
        lows, highs = [100 * own.low for _, own in bounds], [100 * own.high for _, own in bounds]
        axes.fill_between(places, lows, highs, color=look.colour, alpha=0.28, linewidth=0, zorder=3)


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


def _names(lines: Sequence[Line], scale: Scale) -> list[Name]:
    """The names of all lines: no two are the same."""
    groups = [line.group for line in lines]
    details = [_details(line, variant, scale) for line, variant in zip(lines, variants_of(groups), strict=True)]
    heads = [cut(method_name(group.method), HEAD_CHARACTERS) for group in groups]
    unique = numbered(["\n".join((head, *own)) for head, own in zip(heads, details, strict=True)], mark=" #")
    return [
        Name(
            head=f"{head}  {percent(line.points[-1].value)}",
            details=tuple(filter(None, whole.removeprefix(head).strip().split("\n"))),
            end=scale.shown_end(line),
        )
        for line, head, whole in zip(lines, heads, unique, strict=True)
    ]


def _details(line: Line, variant: str, scale: Scale) -> tuple[str, ...]:
    control = ["random-reward control"] if line.group.is_control else []
    beyond = [f"at {scale.text(line.points[-1])}"] if scale.leaves(line) else []
    return (*control, *textwrap.wrap(cut(variant, VARIANT_CHARACTERS), LABEL_CHARACTERS), *beyond)


def _draw_names(axes: Axes, names: Sequence[Name], looks: Sequence[Look], scale: Scale, plot_height: float) -> None:
    """Name and last value of every line, right of the axes, pushed apart where lines end close together."""
    bottom, top = axes.get_ylim()
    ends = [min((name.end[1] - bottom) / (top - bottom), 1.0) for name in names]
    middles = spread_out(ends, [name.inches / plot_height for name in names])
    # Dotted and thin: a leader must not look like the curve going on.
    leader: dict[str, Any] = {"linewidth": 0.7, "linestyle": (0, (1, 1.5)), "clip_on": False}
    style: dict[str, Any] = {"transform": axes.transAxes, "verticalalignment": "center"}
    for name, look, end, middle in zip(names, looks, ends, middles, strict=True):
        start = name.end[0] / scale.end + 0.012
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

"""Learning curves as pictures: the same points and the same matplotlib give the same bytes.

One colour per method in every figure; random-reward controls are grey and dashed. Lines carry their names at
their ends. Where many intervals would lie over each other, each line has them in a small panel of its own below.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from matplotlib.axes import Axes

from harness.report.analysis.curves import (
    FLOPS,
    FORWARD_FLOPS,
    SAMPLES,
    UPDATES,
    Axis,
    Line,
    Panel,
    along,
    curve_points,
)
from harness.report.figures import frame
from harness.report.figures.ends import draw_names, end_names
from harness.report.figures.looks import Colours, Look, looks_of
from harness.report.figures.scales import Scale, make_scale, span
from harness.report.figures.small import draw_small_panels, has_small_panels, small_height
from harness.report.labels import capitalized, data_name, listed, metric_name, percent, task_name

LEAST_HEIGHT_INCHES = 3.3
LEFT_INCHES = 0.53
RIGHT_INCHES = 1.71
BOTTOM_INCHES = 0.46
TOP_INCHES = 0.56


def curve_figure(panel: Panel, axis: Axis, colours: Colours, *, title: str = "") -> frame.Figure:
    """The lines of a panel that have a place on one axis. title: that of the picture, task and metric by default."""
    shown = along(panel, axis)
    where = f"{panel.model} model, {data_name(panel.protocol.data)}, {panel.protocol.split} split"
    return frame.Figure(
        kind=frame.CURVES,
        stem=f"{panel.stem}-{axis.name}",
        title=f"{task_name(panel.task)}, {metric_name(panel.metric)} against {axis.title}",
        caption=f"{capitalized(where)}. {_caption(panel, shown, axis)}",
        points=curve_points(shown, axis),
        draw=partial(draw, shown, axis, colours, title=title),
        family=panel.stem,
        tab=capitalized(axis.short),
    )


def _caption(panel: Panel, shown: Panel, axis: Axis) -> str:
    scale = make_scale(shown, axis)
    is_cut = any(scale.leaves(line) for line in shown.lines)
    cut_text = " The axis is cut: the names of lines that go on say where they end." if is_cut else ""
    return f"Mean over seeds with the 95 % interval over seeds.{cut_text}{_not_counted(panel, axis)}"


def _not_counted(panel: Panel, axis: Axis) -> str:
    """Which lines cannot be drawn against forward passes alone; the figure of all FLOPs says so too."""
    counted = along(panel, FORWARD_FLOPS).lines
    names = [line.group.label for line in panel.lines if line not in counted]
    if axis not in (FLOPS, FORWARD_FLOPS) or not names:
        return ""
    return f" Recorded before forward passes were counted apart, so not drawn against them alone: {listed(names)}."


def draw(panel: Panel, axis: Axis, colours: Colours, *, title: str = "") -> frame.Picture:
    """The curves of `panel` against `axis`."""
    scale = make_scale(panel, axis)
    names = end_names(panel.lines, scale)
    looks = looks_of([line.group for line in panel.lines], colours)
    small = has_small_panels(panel)
    plot_height = max(LEAST_HEIGHT_INCHES - TOP_INCHES - BOTTOM_INCHES, sum(name.inches for name in names) * 1.1)
    height = plot_height + TOP_INCHES + BOTTOM_INCHES
    head = title or f"{task_name(panel.task)}: {metric_name(panel.metric)}"
    with frame.sheet(head, _note(panel), height=height + (small_height(panel) if small else 0)) as sheet:
        width = frame.WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES
        axes = sheet.axes(frame.Box(left=LEFT_INCHES, top=TOP_INCHES, width=width, height=plot_height))
        _prepare_axes(axes, panel, scale, with_bands=not small)
        for line, look in zip(panel.lines, looks, strict=True):
            _draw_line(axes, line, look, scale)
            if not small:
                _draw_band(axes, line, look, scale)
        _draw_ceiling(axes, panel)
        draw_names(axes, names, looks, scale, plot_height)
        if small:
            draw_small_panels(sheet, panel, looks, scale, left=LEFT_INCHES, top=height)
        return sheet.picture()


def _note(panel: Panel) -> str:
    counts = sorted({len(line.group.seeds) for line in panel.lines})
    seeds = " or ".join(str(count) for count in counts)
    band = "small panels" if has_small_panels(panel) else "band"
    spread = f"mean of {seeds} seeds, {band}: 95 % interval over seeds" if counts[-1] > 1 else "one seed, no band"
    where = f"{panel.model} model, {data_name(panel.protocol.data)}, {panel.n:,} {panel.protocol.split} items"
    return f"{where}; {spread}"


def _prepare_axes(axes: Axes, panel: Panel, scale: Scale, *, with_bands: bool) -> None:
    axes.set_xlabel(scale.axis.label.format(unit=scale.unit.name))
    axes.set_ylabel(f"{metric_name(panel.metric).capitalize()} (%)")
    axes.set_ylim(*span(panel, with_bands=with_bands))
    axes.set_xlim(0, scale.end)
    frame.round_ticks(axes.xaxis, 6, integer=scale.axis in (SAMPLES, UPDATES))
    frame.round_ticks(axes.yaxis, 6)
    frame.separate_thousands(axes.xaxis)


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

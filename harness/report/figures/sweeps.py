"""The last checkpoint against one setting of the method, or against forward passes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from harness.report.analysis.curves import UPDATES, make_panels
from harness.report.analysis.groups import Group
from harness.report.analysis.rows import Row
from harness.report.analysis.sweeps import NUM_STEPS, Sweep, SweepLine, sweep_points
from harness.report.figures import frame
from harness.report.figures.curves import curve_figure
from harness.report.figures.legend import NAME_CHARACTERS, draw_legend, legend_height
from harness.report.figures.looks import Colours, Look, looks_of, names_of, short_name
from harness.report.labels import metric_name, slug, task_name

PLOT_INCHES = 1.66
LEFT_INCHES, RIGHT_INCHES, TOP_INCHES, BETWEEN_INCHES, BOTTOM_INCHES = 0.53, 0.2, 0.46, 0.12, 0.46
STEPS_LABEL = "Forward passes per completion in the evaluation (NFE)"
SHIFT, SPREAD = 0.012, 0.12
"""Neighbouring lines are shifted by this part of the axis, so that their whiskers do not overlap, and all together by
no more than the second."""


def sweep_figure(sweep: Sweep, metric: str | None, colours: Colours) -> frame.Figure:
    """The sweep; values that are names as learning curves, where the runs were evaluated on the way."""
    title = f"{task_name(sweep.task)}: {sweep.title}"
    stem = f"{slug(sweep.task)}-{slug(sweep.model)}-{sweep.key.rpartition('.')[2]}"
    panels = make_panels([point.group for point in sweep.points], headline=metric) if sweep.is_choice else []
    if panels:
        figure = curve_figure(panels[0], UPDATES, colours, title=title)
        return replace(figure, kind=frame.ABLATIONS, stem=stem, title=title, family="", tab="")
    return frame.Figure(
        kind=frame.ABLATIONS,
        stem=stem,
        title=title,
        caption=f"Last checkpoints of the {sweep.model} model; all settings but this one are the same along a line.",
        points=sweep_points(sweep),
        draw=partial(draw, sweep, title, colours),
    )


def draw(sweep: Sweep, title: str, colours: Colours) -> frame.Picture:
    """One line per method, whiskers are 95 % intervals."""
    groups = _named(sweep)
    looks, names = looks_of(groups, colours), names_of(groups, NAME_CHARACTERS)
    note = f"{sweep.model} model, last checkpoint, 95 % intervals; all other settings as in the method's own line"
    top, width = TOP_INCHES + legend_height(names) + BETWEEN_INCHES, frame.WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES
    with frame.sheet(title, note, height=top + PLOT_INCHES + BOTTOM_INCHES) as sheet:
        axes = sheet.axes(frame.Box(left=LEFT_INCHES, top=top, width=width, height=PLOT_INCHES))
        xs = [point.x for point in sweep.points]
        extent = (max(xs) - min(xs)) or 1.0
        for line, look, shift in zip(sweep.lines, looks, shifts(len(sweep.lines)), strict=True):
            _draw_line(axes, line, look, shift=shift * extent)
        prepare_axes(axes, sweep, min(xs) - 0.08 * extent, max(xs) + 0.08 * extent)
        draw_legend(sheet, names, looks, top=TOP_INCHES, with_markers=True)
        return sheet.picture()


def shifts(lines: int) -> list[float]:
    """How far each of so many lines is moved, as a part of the axis; 0 on average."""
    step = min(SHIFT, SPREAD / max(1, lines - 1))
    return [step * (index - (lines - 1) / 2) for index in range(lines)]


def prepare_axes(axes: Axes, sweep: Sweep, low: float, high: float) -> None:
    """Names and ticks of the axes, between `low` and `high`."""
    axes.set_xlim(low, high)
    axes.set_xlabel(STEPS_LABEL if sweep.key == NUM_STEPS else sweep.key)
    axes.set_ylabel(f"{metric_name(sweep.metric).capitalize()} (%)")
    ends = [value for point in sweep.points for value in _span(point.row)]
    margin = 0.08 * (max(ends) - min(ends)) or 1.0
    axes.set_ylim(max(0.0, min(ends) - margin), min(100.0, max(ends) + margin))
    frame.round_ticks(axes.yaxis, 6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if sweep.key == NUM_STEPS:  # every line has its own means, of which neighbours would lie over each other
        frame.round_ticks(axes.xaxis, 8)
        return
    settings = {point.x: point.setting for point in sweep.points}
    axes.set_xticks(sorted(settings), [str(settings[x]) for x in sorted(settings)])


def _span(row: Row) -> tuple[float, float]:
    """Per cent at the ends of the interval; the value itself where it has none."""
    if row.interval is None:
        return 100 * row.value, 100 * row.value
    return 100 * row.interval.low, 100 * row.interval.high


def _named(sweep: Sweep) -> list[Group]:
    """What stands for every line: its reference, without the variant where the method has no other line."""
    references = [line.reference for line in sweep.lines]
    lines = Counter(short_name(group) for group in references)
    return [group if lines[short_name(group)] > 1 else replace(group, variant="") for group in references]


def _draw_line(axes: Axes, line: SweepLine, look: Look, *, shift: float) -> None:
    xs = [point.x + shift for point in line.points]
    values = [100 * point.row.value for point in line.points]
    style: dict[str, Any] = {"linestyle": look.dashes, "linewidth": 1.3, "marker": look.marker, "markersize": 5}
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    axes.plot(xs, values, color=look.colour, zorder=3, **style, **edge)
    for x, point in zip(xs, line.points, strict=True):
        axes.plot([x, x], _span(point.row), color=look.colour, linewidth=1.0, zorder=2, solid_capstyle="butt")

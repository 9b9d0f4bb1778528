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
from harness.report.figures.looks import Colours, Look, looks_of, names_of, short_name
from harness.report.labels import metric_name, slug, task_name

HEIGHT_INCHES = 2.8
LEFT_INCHES, RIGHT_INCHES, TOP_INCHES, BOTTOM_INCHES = 0.53, 0.2, 0.68, 0.46
STEPS_LABEL = "Forward passes per completion in the evaluation (NFE)"
NAME_CHARACTERS = 40
SHIFT = 0.012
"""Neighbouring lines are shifted by this part of the axis, so that their whiskers do not overlap."""


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
    box = frame.Box(
        left=LEFT_INCHES,
        top=TOP_INCHES,
        width=frame.WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES,
        height=HEIGHT_INCHES - TOP_INCHES - BOTTOM_INCHES,
    )
    with frame.sheet(title, note, height=HEIGHT_INCHES) as sheet:
        axes = sheet.axes(box)
        xs = [point.x for point in sweep.points]
        width = (max(xs) - min(xs)) or 1.0
        for index, (line, look, name) in enumerate(zip(sweep.lines, looks, names, strict=True)):
            shift = SHIFT * width * (index - (len(sweep.lines) - 1) / 2)
            _draw_line(axes, line, look, name, shift=shift)
        _prepare_axes(axes, sweep, min(xs) - 0.08 * width, max(xs) + 0.08 * width)
        style: dict[str, Any] = {"frameon": False, "handlelength": 2.4, "borderaxespad": 0.1}
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, fontsize=frame.TEXT_POINTS, **style)
        return sheet.picture()


def _prepare_axes(axes: Axes, sweep: Sweep, low: float, high: float) -> None:
    axes.set_xlim(low, high)
    axes.set_xlabel(STEPS_LABEL if sweep.key == NUM_STEPS else sweep.key)
    axes.set_ylabel(f"{metric_name(sweep.metric).capitalize()} (%)")
    ends = [value for point in sweep.points for value in _span(point.row)]
    margin = 0.08 * (max(ends) - min(ends)) or 1.0
    axes.set_ylim(max(0.0, min(ends) - margin), min(100.0, max(ends) + margin))
    frame.round_ticks(axes.yaxis, 6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    settings = {point.x: point.setting for point in sweep.points}
    shown = settings if sweep.key != NUM_STEPS else {x: f"{x:g}" for x in settings}
    axes.set_xticks(sorted(shown), [str(shown[x]) for x in sorted(shown)])


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


def _draw_line(axes: Axes, line: SweepLine, look: Look, label: str, *, shift: float) -> None:
    xs = [point.x + shift for point in line.points]
    values = [100 * point.row.value for point in line.points]
    style: dict[str, Any] = {"linestyle": look.dashes, "linewidth": 1.3, "marker": look.marker, "markersize": 5}
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    axes.plot(xs, values, color=look.colour, label=label, zorder=3, **style, **edge)
    for x, point in zip(xs, line.points, strict=True):
        axes.plot([x, x], _span(point.row), color=look.colour, linewidth=1.0, zorder=2, solid_capstyle="butt")

"""The last checkpoint against one setting: the number of chosen steps, lambda, forward passes, how steps are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.report.figures.curves import Look, looks_of
from harness.report.figures.drawing import TEXT_POINTS, Box, Picture, canvas, heading, picture, place
from harness.report.labels import method_name, metric_name, task_name
from harness.report.rows import Row
from harness.report.sweeps import NUM_STEPS, SELECTION, Sweep, SweepLine

WIDTH_INCHES, HEIGHT_INCHES = 5.6, 2.8
LEFT_INCHES, RIGHT_INCHES, TOP_INCHES, BOTTOM_INCHES = 0.53, 0.2, 0.68, 0.46
LABELS = {
    SELECTION: "Choice of steps (method.selection)",
    "method.num_selected": "Steps chosen per completion, K (method.num_selected)",
    "method.stepwise_lambda": "Weight of the greedy completion's reward, λ (method.stepwise_lambda)",
    NUM_STEPS: "Forward passes per completion in the evaluation (NFE)",
}
SHIFT = 0.012
"""Lines next to each other by this part of the axis, so that their whiskers can be told apart."""


def draw(sweep: Sweep, note: str, colours: Mapping[str, str]) -> Picture:
    """One line per method, whiskers are 95 % intervals. colours: one per method."""
    looks = looks_of([line.reference for line in sweep.lines], colours)
    with canvas(WIDTH_INCHES, HEIGHT_INCHES) as figure:
        heading(figure, f"{task_name(sweep.task)}: {sweep.title}", note)
        box = Box(
            left=LEFT_INCHES,
            top=TOP_INCHES,
            width=WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES,
            height=HEIGHT_INCHES - TOP_INCHES - BOTTOM_INCHES,
        )
        axes = place(figure, box)
        xs = [point.x for line in sweep.lines for point in line.points]
        width = (max(xs) - min(xs)) or 1.0
        for index, (line, look) in enumerate(zip(sweep.lines, looks, strict=True)):
            _draw_line(
                axes, line, look, _label(line, sweep), shift=SHIFT * width * (index - (len(sweep.lines) - 1) / 2)
            )
        _prepare_axes(axes, sweep, min(xs) - 0.08 * width, max(xs) + 0.08 * width)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=3,
            frameon=False,
            fontsize=TEXT_POINTS,
            handlelength=2.4,
            borderaxespad=0.1,
        )
        return picture(figure)


def _prepare_axes(axes: Axes, sweep: Sweep, low: float, high: float) -> None:
    axes.set_xlim(low, high)
    axes.set_xlabel(LABELS[sweep.key])
    axes.set_ylabel(f"{metric_name(sweep.metric).capitalize()} (%)")
    ends = [value for line in sweep.lines for point in line.points for value in _span(point.row)]
    margin = 0.08 * (max(ends) - min(ends)) or 1.0
    axes.set_ylim(max(0.0, min(ends) - margin), min(100.0, max(ends) + margin))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    settings = {point.x: point.setting for line in sweep.lines for point in line.points}
    shown = settings if sweep.key != NUM_STEPS else {x: f"{x:g}" for x in settings}
    axes.set_xticks(sorted(shown), [str(shown[x]) for x in sorted(shown)])


def _span(row: Row) -> tuple[float, float]:
    """Per cent at the ends of the interval; the value itself where it has none."""
    if row.interval is None:
        return 100 * row.value, 100 * row.value
    return 100 * row.interval.low, 100 * row.interval.high


def _label(line: SweepLine, sweep: Sweep) -> str:
    """The method; where it has several lines, also the settings of its own."""
    own = method_name(line.reference.method)
    several = [other for other in sweep.lines if other.reference.method == line.reference.method]
    control = ", random reward" if line.reference.is_control else ""
    return f"{own}{control}, {line.reference.variant}" if len(several) > 1 else f"{own}{control}"


def _draw_line(axes: Axes, line: SweepLine, look: Look, label: str, *, shift: float) -> None:
    xs = [point.x + shift for point in line.points]
    values = [100 * point.row.value for point in line.points]
    style: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.6, "markersize": 5}
    axes.plot(
        xs,
        values,
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.3,
        marker=look.marker,
        label=label,
        zorder=3,
        **style,
    )
    for x, point in zip(xs, line.points, strict=True):
        axes.plot([x, x], _span(point.row), color=look.colour, linewidth=1.0, zorder=2, solid_capstyle="butt")

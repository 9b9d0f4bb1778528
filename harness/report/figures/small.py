"""A small panel per curve, where their intervals would lie over each other in one."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from harness.report.analysis.curves import Panel
from harness.report.figures import frame
from harness.report.figures.looks import Look, names_of
from harness.report.figures.scales import Scale, span

MOST_BANDS = 3
"""More of them over each other cannot be told apart."""
SMALL_INCHES, SMALL_HEAD_INCHES, SMALL_FOOT_INCHES = 0.78, 0.34, 0.22
SMALL_COLUMNS = 6
SMALL_GAP = 0.12
ROW_CHARACTERS = 90
OTHERS = "#BFBFBF"


def has_small_panels(panel: Panel) -> bool:
    """Whether too many lines have intervals for one plot, or two whose bands have one colour."""
    groups = [line.group for line in panel.lines if any(point.interval for point in line.points)]
    colours = {"control" if group.is_control else group.method for group in groups}
    return len(groups) > MOST_BANDS or len(colours) < len(groups)


def _small_lines(panel: Panel) -> int:
    return math.ceil(len(panel.lines) / SMALL_COLUMNS)


def small_height(panel: Panel) -> float:
    """Inches below the plot."""
    return _small_lines(panel) * (SMALL_HEAD_INCHES + SMALL_INCHES) + SMALL_FOOT_INCHES


def draw_small_panels(
    sheet: frame.Sheet, panel: Panel, looks: Sequence[Look], scale: Scale, *, left: float, top: float
) -> None:
    """Every line with its band, the others behind it in grey, from `left` and `top` inches on."""
    columns = math.ceil(len(panel.lines) / _small_lines(panel))
    characters = ROW_CHARACTERS // columns
    names = names_of([line.group for line in panel.lines], 2 * characters)
    width = frame.WIDTH_INCHES - left - 0.1
    for start in range(0, len(panel.lines), columns):
        box = frame.Box(left=left, top=top + SMALL_HEAD_INCHES, width=width, height=SMALL_INCHES)
        # One pair of axes for the row: a pair for every panel would take most of the report's time.
        axes = sheet.axes(box)
        axes.set_xlim(0, columns * (1 + SMALL_GAP) - SMALL_GAP)
        axes.set_ylim(*span(panel, with_bands=True))
        axes.set_xticks([])
        axes.set_ylabel("%")
        axes.spines["bottom"].set_visible(False)
        frame.round_ticks(axes.yaxis, 3)
        for column, number in enumerate(range(start, min(start + columns, len(panel.lines)))):
            _draw_small_panel(axes, panel, number, looks[number], scale, column * (1 + SMALL_GAP))
            text = "\n".join(textwrap.wrap(names[number], characters)[:2])
            style: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "fontsize": frame.SMALL_POINTS}
            axes.text(column * (1 + SMALL_GAP), 1.04, text, linespacing=1.05, **style)
        top += SMALL_HEAD_INCHES + SMALL_INCHES
    note = "each line with its 95 % interval over seeds, on the horizontal axis of the plot above; grey: the others"
    sheet.write(left, top + 0.14, note, **frame.NOTE)


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

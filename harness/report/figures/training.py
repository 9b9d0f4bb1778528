"""Training curves: one small panel per channel, one line per group, the seeds' range as a band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.report.figures.curves import Look, looks_of
from harness.report.figures.drawing import SMALL_POINTS, TEXT_POINTS, Box, Picture, canvas, heading, picture, place
from harness.report.groups import Group
from harness.report.labels import method_name
from harness.report.training import Channel, TrainingCurve

WIDTH_INCHES = 5.6
COLUMNS = 2
PANEL_INCHES = 1.3
LEFT_INCHES = 0.5
RIGHT_INCHES = 0.12
BETWEEN_INCHES = 0.5
HEAD_INCHES = 0.46
TOP_INCHES = 0.46
LEGEND_INCHES = 0.16
LEGEND_COLUMNS = 3
NAME_CHARACTERS = 34
BOTTOM_INCHES = 0.42


def draw(curves: Sequence[TrainingCurve], title: str, note: str, colours: Mapping[str, str]) -> Picture:
    """The curves over optimiser updates. colours: one per method."""
    channels = list({curve.channel.name: curve.channel for curve in curves}.values())
    groups = list({curve.group.label: curve.group for curve in curves}.values())
    looks = dict(zip((group.label for group in groups), looks_of(groups, colours), strict=True))
    rows, legend = math.ceil(len(channels) / COLUMNS), math.ceil(len(groups) / LEGEND_COLUMNS) * LEGEND_INCHES
    above = TOP_INCHES + legend - 0.12
    with canvas(WIDTH_INCHES, above + rows * (HEAD_INCHES + PANEL_INCHES) + BOTTOM_INCHES) as figure:
        heading(figure, title, note)
        width = (WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES - BETWEEN_INCHES) / COLUMNS
        for index, channel in enumerate(channels):
            row, column = divmod(index, COLUMNS)
            box = Box(
                left=LEFT_INCHES + column * (width + BETWEEN_INCHES),
                top=above + row * (HEAD_INCHES + PANEL_INCHES) + HEAD_INCHES,
                width=width,
                height=PANEL_INCHES,
            )
            own = [curve for curve in curves if curve.channel.name == channel.name]
            is_lowest = index + COLUMNS >= len(channels)
            _draw_panel(place(figure, box), channel, own, looks, is_lowest=is_lowest)
        _draw_legend(figure, groups, looks)
        return picture(figure)


def _draw_panel(
    axes: Axes, channel: Channel, curves: Sequence[TrainingCurve], looks: Mapping[str, Look], *, is_lowest: bool
) -> None:
    axes.set_title(channel.label, fontsize=TEXT_POINTS, fontweight="bold", loc="left", pad=4)
    for curve in curves:
        look = looks[curve.group.label]
        xs = [point.update for point in curve.points]
        depth = 2.5 if curve.group.is_control else 3
        values = [point.value for point in curve.points]
        axes.plot(xs, values, color=look.colour, linestyle=look.dashes, linewidth=1.1, zorder=depth)
        if any(point.low != point.high for point in curve.points):
            lows, highs = [point.low for point in curve.points], [point.high for point in curve.points]
            axes.fill_between(xs, lows, highs, color=look.colour, alpha=0.12, linewidth=0, zorder=depth - 1)
    values = [value for curve in curves for point in curve.points for value in (point.low, point.high)]
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    axes.set_ylim(0 if 0 <= low < 0.4 * high else low - margin, high + margin)
    axes.set_xlim(left=min(0, *(curve.points[0].update for curve in curves)))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    if is_lowest:
        axes.set_xlabel("Optimiser updates")


def _draw_legend(figure: Figure, groups: Sequence[Group], looks: Mapping[str, Look]) -> None:
    height = float(figure.get_size_inches()[1])
    for index, group in enumerate(groups):
        row, column = divmod(index, LEGEND_COLUMNS)
        x, y = 0.02 + column * 0.98 / LEGEND_COLUMNS, 1 - (TOP_INCHES + (row + 0.5) * LEGEND_INCHES) / height
        look = looks[group.label]
        figure.add_artist(Line2D([x, x + 0.045], [y, y], color=look.colour, linestyle=look.dashes, linewidth=1.6))
        figure.text(x + 0.055, y, _name(group), fontsize=SMALL_POINTS, verticalalignment="center")


def _name(group: Group) -> str:
    name = f"{method_name(group.method)}{', random reward' if group.is_control else ''}"
    shown = f"{name}, {group.variant}" if group.variant else name
    return shown if len(shown) <= NAME_CHARACTERS else f"{shown[: NAME_CHARACTERS - 1]}…"

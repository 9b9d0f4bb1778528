"""Bias against variance at equal compute, a panel per order: the same numbers and the same matplotlib give the same
bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from harness.diagnose.estimators import STEPS
from harness.diagnose.mdp import CONFIDENCE, LEFT_TO_RIGHT, ORDERS, RANDOM
from harness.diagnose.measure import BACKWARD_PASS, COMPUTE, FITTED, Measurement
from harness.report.figures import frame

WIDTH, PANEL_HEIGHT, HEAD, FOOT, LEGEND_ROW = 7.4, 2.5, 0.78, 0.5, 0.155
LEFT, RIGHT, GAP = 0.52, 0.12, 0.16
"""Inches."""
LEGEND_COLUMNS = 4
TITLES = {RANDOM: "Random order", LEFT_TO_RIGHT: "From left to right", CONFIDENCE: "The surest first"}
STYLES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
"""Dashes and markers of the first, the second and further lines of a method."""
SMALLEST_POINTS, POINTS_PER_SIZE, LONE_POINTS = 3.2, 1.0, 4.8
"""Diameters of markers: of the first point of a line, what each further one has more, and of a point without line."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line of the figure: one method with one choice of options, its measurements by rising K or M.

    place: among the lines of the method. label: for the legend.
    """

    name: str
    place: int
    label: str
    points: tuple[Measurement, ...]


def draw(measured: Sequence[Measurement], *, names: Mapping[str, str], colours: Mapping[str, str]) -> frame.Picture:
    """A panel per order, with the lines of all methods. names, colours: per method."""
    note = (
        "Estimates from two completions of a prompt. Variance: of the mean of as many as cost "
        f"{COMPUTE} passes per completion, the backward pass counting as {BACKWARD_PASS}, the rollout as {STEPS}. "
        "Lines join K or M = 1, 2, .., larger points for more."
    )
    panels = {order: all_series([item for item in measured if item.order == order], names) for order in ORDERS}
    most = max(len(series) for series in panels.values())
    legend_height = LEGEND_ROW * -(-most // LEGEND_COLUMNS) + 0.1
    height = HEAD + PANEL_HEIGHT + FOOT + legend_height
    with frame.sheet("Gradient estimators against the exact gradient", note, width=WIDTH, height=height) as sheet:
        width = (WIDTH - LEFT - RIGHT - GAP * (len(ORDERS) - 1)) / len(ORDERS)
        top_bias = 100 * max(item.bias for series in panels.values() for line in series for item in line.points)
        for place, (order, series) in enumerate(panels.items()):
            box = frame.Box(left=LEFT + place * (width + GAP), top=HEAD, width=width, height=PANEL_HEIGHT)
            axes = sheet.axes(box)
            _panel(axes, series, TITLES[order], colours)
            axes.set_ylim(-0.03 * top_bias, 1.06 * top_bias)
            if place:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel("Bias (% of the gradient's length)")
        sheet.figure.legend(
            handles=[_line(line, colours) for line in max(panels.values(), key=len)],
            loc="lower center",
            bbox_to_anchor=(0.5, 0.03 / height),
            ncols=LEGEND_COLUMNS,
            frameon=False,
            fontsize=frame.SMALL_POINTS,
            handlelength=2.6,
            columnspacing=1.4,
            labelspacing=0.35,
        )
        return sheet.picture()


def all_series(measured: Sequence[Measurement], names: Mapping[str, str]) -> list[Series]:
    """The lines of all methods, in the order in which they were measured. names: titles by method."""
    drawn = [item for item in measured if item.is_drawn]
    found = []
    for name in dict.fromkeys(item.name for item in drawn):
        own = [item for item in drawn if item.name == name]
        options = list(dict.fromkeys(item.options for item in own))
        for place, (option, label) in enumerate(zip(options, _labels(names[name], options), strict=True)):
            points = sorted((item for item in own if item.options == option), key=lambda item: item.size)
            found.append(Series(name=name, place=place, label=label, points=tuple(points)))
    return found


def _labels(title: str, options: Sequence[str]) -> list[str]:
    """The method, and as much of its options as tells its lines apart."""
    if len(options) == 1:
        return [title]
    options = [option.removesuffix(FITTED).strip() for option in options]
    first = [option.partition(",")[0] for option in options]
    return [f"{title}, {text}" for text in (first if len(set(first)) == len(first) else options)]


def _line(line: Series, colours: Mapping[str, str], **changes: Any) -> Line2D:
    dashes, marker = STYLES[line.place % len(STYLES)]
    style: dict[str, Any] = {
        "color": colours[line.name],
        "linestyle": dashes,
        "marker": marker,
        "markersize": SMALLEST_POINTS,
        "linewidth": 0.9,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
        "label": line.label,
    }
    return Line2D(*_places(line.points), **{**style, **changes})


def _places(points: Sequence[Measurement]) -> tuple[list[float], list[float]]:
    return [item.variance_at_equal_compute for item in points], [100 * item.bias for item in points]


def _panel(axes: Axes, series: Sequence[Series], title: str, colours: Mapping[str, str]) -> None:
    axes.set_xscale("log")
    # Points without a line come last: they would be lost below others at the same place.
    for line in sorted(series, key=lambda line: len(line.points) == 1):
        axes.add_line(_line(line, colours, marker="none", clip_on=False))
        for place, item in enumerate(line.points):
            size = SMALLEST_POINTS + POINTS_PER_SIZE * place if len(line.points) > 1 else LONE_POINTS
            point = dataclasses.replace(line, points=(item,))
            axes.add_line(_line(point, colours, linestyle="none", markersize=size, clip_on=False, label=None))
    axes.autoscale_view()
    axes.grid(axis="both")
    axes.set_title(title, **frame.HEAD)
    axes.set_xlabel("Variance at equal compute")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())

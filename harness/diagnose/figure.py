"""Bias and variance against forward passes: the same numbers and the same matplotlib give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.diagnose.measure import Measurement
from harness.report.figures import frame

INCHES = (7.4, 3.5)


STYLES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
"""Dashes and markers of the first, the second and further lines of a method."""


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
    """Left the bias, right the variance, both with the group's mean as baseline. names, colours: per method."""
    width, height = INCHES
    note = "three tokens, three positions; estimates from two completions of a prompt, less the mean of the group"
    with frame.sheet("Gradient estimators against the exact gradient", note, width=width, height=height) as sheet:
        bias, variance = sheet.figure.subplots(1, 2)
        sheet.figure.subplots_adjust(left=0.07, right=0.74, bottom=0.13, top=0.83, wspace=0.3)
        series = all_series(measured, names)
        _panel(bias, series, lambda item: 100 * item.bias, "Bias (% of the gradient's length)", colours)
        _panel(variance, series, lambda item: item.variance, "Variance (squared lengths)", colours)
        variance.set_yscale("log")
        variance.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        variance.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        variance.yaxis.set_minor_locator(NullLocator())
        variance.legend(
            loc="center left", bbox_to_anchor=(1.04, 0.5), frameon=False, fontsize=frame.SMALL_POINTS, handlelength=2.6
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
    first = [option.partition(",")[0] for option in options]
    return [f"{title}, {text}" for text in (first if len(set(first)) == len(first) else options)]


def _panel(
    axes: Axes,
    series: Sequence[Series],
    value: Callable[[Measurement], float],
    title: str,
    colours: Mapping[str, str],
) -> None:
    for line in series:
        dashes, marker = STYLES[line.place % len(STYLES)]
        axes.plot(
            [item.forwards for item in line.points],
            [value(item) for item in line.points],
            color=colours[line.name],
            linestyle=dashes,
            marker=marker,
            markersize=4,
            linewidth=1.3,
            markeredgecolor="white",
            markeredgewidth=0.5,
            clip_on=False,
            label=line.label,
        )
    axes.grid(axis="both")
    axes.set_xlim(left=0)
    axes.set_xlabel("Forward passes per completion")
    axes.set_ylabel(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))

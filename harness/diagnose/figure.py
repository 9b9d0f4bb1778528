"""Bias and variance against forward passes: the same numbers and the same matplotlib give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.diagnose.measure import Measurement
from harness.report.figures import frame

INCHES = (7.4, 3.5)


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line of the figure: one method with one choice of options, over K or M."""

    name: str
    options: str
    dashes: str
    marker: str

    def label(self, names: Mapping[str, str]) -> str:
        """The method and the first of its options; a method that has one line alone needs none."""
        return names[self.name] if self.name == "d1" else f"{names[self.name]}, {self.options.partition(',')[0]}"


SERIES = (
    Series(name="egspo", options="entropy", dashes="-", marker="o"),
    Series(name="egspo", options="uniform", dashes="--", marker="s"),
    Series(name="egspo", options="random", dashes=":", marker="^"),
    Series(name="egspo-sa", options="entropy", dashes="-", marker="o"),
    Series(name="agrpo", options="uniform, low-discrepancy", dashes="--", marker="s"),
    Series(name="agrpo", options="entropy, low-discrepancy", dashes="-", marker="o"),
    Series(name="d1", options="one step", dashes="", marker="D"),
    Series(name="espo", options="single", dashes="--", marker="s"),
    Series(name="espo", options="coupled", dashes="-", marker="o"),
)


def draw(measured: Sequence[Measurement], *, names: Mapping[str, str], colours: Mapping[str, str]) -> frame.Picture:
    """Left the bias, right the variance, both with the group's mean as baseline. names, colours: per method."""
    width, height = INCHES
    note = "three tokens, three positions; estimates from two completions of a prompt, less the mean of the group"
    with frame.sheet("Gradient estimators against the exact gradient", note, width=width, height=height) as sheet:
        bias, variance = sheet.figure.subplots(1, 2)
        sheet.figure.subplots_adjust(left=0.07, right=0.74, bottom=0.13, top=0.83, wspace=0.3)
        _panel(bias, measured, lambda item: 100 * item.bias, "Bias (% of the gradient's length)", names, colours)
        _panel(variance, measured, lambda item: item.variance, "Variance (squared lengths)", names, colours)
        variance.set_yscale("log")
        variance.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        variance.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        variance.yaxis.set_minor_locator(NullLocator())
        variance.legend(
            loc="center left", bbox_to_anchor=(1.04, 0.5), frameon=False, fontsize=frame.SMALL_POINTS, handlelength=2.6
        )
        return sheet.picture()


def points(measured: Sequence[Measurement], series: Series) -> list[Measurement]:
    """The measurements on a line, by rising K or M."""
    chosen = [
        item
        for item in measured
        if (item.name, item.options) == (series.name, series.options)
        and item.baseline not in ("none", "step")
        and not item.ends_early
    ]
    return sorted(chosen, key=lambda item: item.size)


def _panel(
    axes: Axes,
    measured: Sequence[Measurement],
    value: Callable[[Measurement], float],
    title: str,
    names: Mapping[str, str],
    colours: Mapping[str, str],
) -> None:
    for series in SERIES:
        line = points(measured, series)
        axes.plot(
            [item.forwards for item in line],
            [value(item) for item in line],
            color=colours[series.name],
            linestyle=series.dashes,
            marker=series.marker,
            markersize=4,
            linewidth=1.3,
            markeredgecolor="white",
            markeredgewidth=0.5,
            clip_on=False,
            label=series.label(names),
        )
    axes.grid(axis="both")
    axes.set_xlim(left=0)
    axes.set_xlabel("Forward passes per completion")
    axes.set_ylabel(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))

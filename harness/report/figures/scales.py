"""The axes of curves: where a point is drawn, and up to where."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.report.analysis.curves import FLOPS, FORWARD_FLOPS, Axis, Line, Panel, Point, axis_end
from harness.report.labels import Unit, digits, flop_unit


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


def make_scale(panel: Panel, axis: Axis) -> Scale:
    """The horizontal axis of all lines of `panel`."""
    end = axis_end([max(getattr(point, axis.column) for point in line.points) for line in panel.lines])
    unit = flop_unit(end) if axis in (FLOPS, FORWARD_FLOPS) else Unit(name="", size=1.0)
    return Scale(axis=axis, unit=unit, end=(end or 1.0) / unit.size)


def span(panel: Panel, *, with_bands: bool) -> tuple[float, float]:
    """Per cent at the bottom and the top. The bottom is 0 unless all curves lie in the upper part."""
    points = [point for line in panel.lines for point in line.points]
    top = max(point.interval.high if point.interval and with_bands else point.value for point in points)
    bottom = min(point.interval.low if point.interval and with_bands else point.value for point in points)
    low = 0.0 if bottom < 0.5 * top else max(0.0, 10.0 * math.floor(10 * bottom - 0.2))
    return low, min(100.0, max(100 * top + 0.06 * (100 * top - low), low + 5))

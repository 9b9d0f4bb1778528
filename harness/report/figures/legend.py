"""A legend above the plots of a figure: as many columns as its names leave room for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.lines import Line2D

from harness.report.figures import frame
from harness.report.figures.looks import Look

ROW_INCHES = 0.16
WIDEST = 0.96
"""The part of the figure's width that all columns share."""
NAME_CHARACTERS = 40
"""What fits into one of two columns."""
THIRD_CHARACTERS = 25
"""What fits into one of three."""


def legend_height(names: Sequence[str]) -> float:
    """Inches."""
    return math.ceil(len(names) / _columns(names)) * ROW_INCHES


def _columns(names: Sequence[str]) -> int:
    return 3 if max(map(len, names)) <= THIRD_CHARACTERS else 2


def draw_legend(
    sheet: frame.Sheet, names: Sequence[str], looks: Sequence[Look], *, top: float, with_markers: bool = False
) -> None:
    """A sample of each line and its name, row by row from `top` inches on."""
    columns = _columns(names)
    for index, (name, look) in enumerate(zip(names, looks, strict=True)):
        row, column = divmod(index, columns)
        x, y = 0.02 + column * WIDEST / columns, 1 - (top + (row + 0.5) * ROW_INCHES) / sheet.height
        line = Line2D([x, x + 0.022, x + 0.045], [y, y, y], color=look.colour, linestyle=look.dashes, linewidth=1.6)
        if with_markers:
            line.set(marker=look.marker, markevery=[1], markersize=4, markeredgecolor="white", markeredgewidth=0.5)
        sheet.figure.add_artist(line)
        sheet.figure.text(x + 0.055, y, name, fontsize=frame.SMALL_POINTS, verticalalignment="center")

"""The names at the ends of curves: pushed apart where lines end close together, and no two the same."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from harness.report.analysis.curves import Line
from harness.report.figures import frame
from harness.report.figures.looks import Look, variants_of
from harness.report.figures.scales import Scale
from harness.report.labels import cut, method_name, numbered, percent

HEAD_CHARACTERS = 15
LABEL_CHARACTERS = 26
VARIANT_CHARACTERS = 156
HEAD_INCHES = 0.155
DETAIL_INCHES = 0.12


@dataclass(frozen=True, kw_only=True)
class Name:
    """The text at the end of a line: method and last value, below it what sets the line apart. end: on the axis and in
    per cent."""

    head: str
    details: tuple[str, ...]
    end: tuple[float, float]

    @property
    def inches(self) -> float:
        """Height, with the space to the next."""
        return HEAD_INCHES + DETAIL_INCHES * len(self.details)


def end_names(lines: Sequence[Line], scale: Scale) -> list[Name]:
    """The names of all lines: no two are the same."""
    groups = [line.group for line in lines]
    details = [_details(line, variant, scale) for line, variant in zip(lines, variants_of(groups), strict=True)]
    heads = [cut(method_name(group.method), HEAD_CHARACTERS) for group in groups]
    unique = numbered(["\n".join((head, *own)) for head, own in zip(heads, details, strict=True)], mark=" #")
    return [
        Name(
            head=f"{head}  {percent(line.points[-1].value)}",
            details=tuple(filter(None, whole.removeprefix(head).strip().split("\n"))),
            end=scale.shown_end(line),
        )
        for line, head, whole in zip(lines, heads, unique, strict=True)
    ]


def _details(line: Line, variant: str, scale: Scale) -> tuple[str, ...]:
    control = ["random-reward control"] if line.group.is_control else []
    beyond = [f"at {scale.text(line.points[-1])}"] if scale.leaves(line) else []
    return (*control, *textwrap.wrap(cut(variant, VARIANT_CHARACTERS), LABEL_CHARACTERS), *beyond)


def draw_names(axes: Axes, names: Sequence[Name], looks: Sequence[Look], scale: Scale, plot_height: float) -> None:
    """Name and last value of every line, right of the axes, pushed apart where lines end close together."""
    bottom, top = axes.get_ylim()
    ends = [min((name.end[1] - bottom) / (top - bottom), 1.0) for name in names]
    middles = spread_out(ends, [name.inches / plot_height for name in names])
    # Dotted and thin: a leader must not look like the curve going on.
    leader: dict[str, Any] = {"linewidth": 0.7, "linestyle": (0, (1, 1.5)), "clip_on": False}
    style: dict[str, Any] = {"transform": axes.transAxes, "verticalalignment": "center"}
    for name, look, end, middle in zip(names, looks, ends, middles, strict=True):
        start = name.end[0] / scale.end + 0.012
        axes.plot([start, 1.05, 1.075], [end, middle, middle], color=look.colour, transform=axes.transAxes, **leader)
        y = middle + DETAIL_INCHES * len(name.details) / 2 / plot_height
        axes.text(1.09, y, name.head, **frame.HEAD, **style)
        for text in name.details:
            y -= DETAIL_INCHES / plot_height
            axes.text(1.09, y, text, **frame.NOTE, **style)


def spread_out(wanted: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Middles of labels of `sizes`, close to `wanted` and without overlap; all in one unit.

    Labels that touch become a block at the mean of their wishes, inside 0..1 as far as there is room.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _bottom(blocks[-1], wanted, sizes) < _top(blocks[-2], wanted, sizes):
            last = blocks.pop()
            blocks[-1] += last
    middles = [0.0] * len(wanted)
    for block in blocks:
        edge = _bottom(block, wanted, sizes)
        for index in block:
            middles[index] = edge + sizes[index] / 2
            edge += sizes[index]
    return middles


def _bottom(block: Sequence[int], wanted: Sequence[float], sizes: Sequence[float]) -> float:
    size = sum(sizes[index] for index in block)
    middle = sum(wanted[index] for index in block) / len(block)
    return max(min(middle - size / 2, 1.0 - size), 0.0)


def _top(block: Sequence[int], wanted: Sequence[float], sizes: Sequence[float]) -> float:
    return _bottom(block, wanted, sizes) + sum(sizes[index] for index in block)

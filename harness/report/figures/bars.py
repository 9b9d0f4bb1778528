"""Bars per task with their intervals; a dashed line where training began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.bars import Block
from harness.report.figures.drawing import (
    FAINT,
    INK,
    SMALL_POINTS,
    TEXT_POINTS,
    Box,
    Picture,
    canvas,
    heading,
    picture,
    place,
)
from harness.report.labels import CONTROL_COLOUR, method_name, percent
from harness.report.rows import Row

WIDTH_INCHES = 5.6
LEFT_INCHES = 1.6
RIGHT_INCHES = 0.45
TOP_INCHES = 0.42
HEAD_INCHES = 0.28
BAR_INCHES = 0.235
GAP_INCHES = 0.12
BOTTOM_INCHES = 0.46
NAME_CHARACTERS = 24


def draw(blocks: Sequence[Block], model: str, colours: Mapping[str, str]) -> Picture:
    """One block of bars per task, under each other on the same axis of 0 to 100 %. colours: one per method."""
    heights = [HEAD_INCHES + BAR_INCHES * len(block.rows) for block in blocks]
    height = TOP_INCHES + sum(heights) + GAP_INCHES * (len(blocks) - 1) + BOTTOM_INCHES
    with canvas(WIDTH_INCHES, height) as figure:
        heading(figure, f"Last checkpoints, {model} model", _note(blocks))
        top = TOP_INCHES
        for block, own in zip(blocks, heights, strict=True):
            _draw_block(figure, block, top, colours, last=block is blocks[-1])
            top += own + GAP_INCHES
        return picture(figure)


def _note(blocks: Sequence[Block]) -> str:
    kinds = sorted({row.over for block in blocks for row in block.rows})
    return f"bar: mean over seeds; whisker: 95 % interval over {' or '.join(kinds)}; dashed: before training"


def _draw_block(figure: Figure, block: Block, top: float, colours: Mapping[str, str], *, last: bool) -> None:
    width = WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES
    box = Box(left=LEFT_INCHES, top=top + HEAD_INCHES, width=width, height=BAR_INCHES * len(block.rows))
    axes = place(figure, box)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")
    axes.set_xlim(0, 100)
    axes.set_ylim(len(block.rows) - 0.5, -0.5)
    axes.set_yticks(range(len(block.rows)), [_name(row) for row in block.rows])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=last)
    if last:
        axes.set_xlabel("Right answers, or what the metric counts (%)")
    title = axes.text(0, -0.62, block.title, fontsize=TEXT_POINTS, fontweight="bold", verticalalignment="bottom")
    axes.annotate(
        f"   {block.note}", (1, 0), xycoords=title, fontsize=SMALL_POINTS, color=FAINT, verticalalignment="bottom"
    )
    for place_, row in enumerate(block.rows):
        _draw_bar(axes, place_, row, CONTROL_COLOUR if row.group.is_control else colours[row.group.method])
    _draw_lines(axes, block)


def _name(row: Row) -> str:
    name = method_name(row.group.method)
    shown = f"{name}, random reward" if row.group.is_control else name
    if row.group.variant and len(shown) + len(row.group.variant) + 2 <= NAME_CHARACTERS:
        shown = f"{shown}, {row.group.variant}"
    return shown if len(shown) <= NAME_CHARACTERS else f"{shown[: NAME_CHARACTERS - 1]}…"


def _draw_bar(axes: Axes, y: int, row: Row, colour: str) -> None:
    value = 100 * row.value
    axes.barh(y, value, height=0.68, color=colour, zorder=2)
    end = value
    if row.interval is not None:
        low, high = 100 * row.interval.low, 100 * row.interval.high
        axes.plot([low, high], [y, y], color=INK, linewidth=0.9, zorder=3, solid_capstyle="butt", clip_on=False)
        for x in (low, high):
            axes.plot([x, x], [y - 0.15, y + 0.15], color=INK, linewidth=0.9, zorder=3, clip_on=False)
        end = max(end, high)
    axes.annotate(
        percent(row.value),
        (end, y),
        xytext=(4, 0),
        textcoords="offset points",
        verticalalignment="center",
        fontweight="bold",
        annotation_clip=False,
    )


def _draw_lines(axes: Axes, block: Block) -> None:
    """Where every row began, if all began at one place, and what a perfect solver reaches."""
    bases = [row.base for row in block.rows]
    same = all(base is not None for base in bases) and all(a == b for a, b in pairwise(bases))
    if same and bases[0] is not None:
        axes.axvline(100 * bases[0], color=INK, linewidth=0.8, linestyle=(0, (3, 2)), zorder=4)
    for ceiling in sorted({row.ceiling for row in block.rows if row.ceiling is not None}):
        axes.axvline(100 * ceiling, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)

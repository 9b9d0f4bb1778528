"""The last checkpoints side by side, a panel per task: what Figure 1 of arXiv 2603.12554 shows, for one's own runs.

Bars with their intervals; a dashed line where training began. A method has the same place in every panel.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from harness.records.schema import NO_METHOD
from harness.report.analysis.groups import Group, group_by
from harness.report.analysis.points import Points, make_points
from harness.report.analysis.rows import Row
from harness.report.figures import frame
from harness.report.figures.looks import Colours, colour_of, names_of
from harness.report.labels import data_name, metric_name, percent, slug, task_name

MOST_COLUMNS = 3
LEFT_INCHES = 1.5
BETWEEN_INCHES = 0.34
TOP_INCHES = 0.42
HEAD_INCHES = 0.36
BAR_INCHES = 0.19
GAP_INCHES = 0.24
BOTTOM_INCHES = 0.04
NAME_CHARACTERS = 23
CAPTION = "Bars: mean over seeds; whiskers: 95 % intervals; dashed: before training; dotted: a perfect solver."


Block = Sequence[Row]
"""The bars of one panel: rows of one task that were evaluated in the same way."""


def bar_figures(rows: Sequence[Row], colours: Colours) -> list[frame.Figure]:
    """The last checkpoints of all tasks, one figure per model."""
    return [
        frame.Figure(
            kind=frame.BARS,
            stem=f"bars-{slug(model)}",
            title=f"Last checkpoints, {model} model",
            caption=f"{CAPTION} {_evaluated(blocks)}",
            points=bar_points(blocks),
            draw=partial(draw, blocks, model, colours),
        )
        for model, blocks in make_blocks(rows).items()
    ]


def make_blocks(rows: Sequence[Row]) -> dict[str, list[Block]]:
    """The blocks of every model, by task. A task's panels of models before training alone are left out where another
    panel shows what came of training: a dashed line stands for them there."""
    models = sorted(group_by(rows, lambda row: row.group.model).items())
    together = {model: sorted(group_by(own, lambda row: row.group.conditions).items()) for model, own in models}
    return {model: _telling([block for _, block in blocks]) for model, blocks in together.items()}


def _telling(blocks: Sequence[Block]) -> list[Block]:
    trained = [any(row.group.method != NO_METHOD for row in block) for block in blocks]
    tasks = {block[0].group.task for block, is_trained in zip(blocks, trained, strict=True) if is_trained}
    return [
        block
        for block, is_trained in zip(blocks, trained, strict=True)
        if is_trained or block[0].group.task not in tasks
    ]


def bar_points(blocks: Sequence[Block]) -> Points:
    """What is plotted, as fractions of 1."""
    columns = "task metric data label method reward model seeds base mean low high"
    return make_points(columns, (row.record for block in blocks for row in block))


def _evaluated(blocks: Sequence[Block]) -> str:
    texts = [f"{task_name(block[0].group.task)}: {_where(block)}" for block in blocks]
    return f"{'; '.join(texts)}."


def _where(block: Block) -> str:
    protocol = block[0].group.protocol
    return f"{block[0].n:,} {protocol.split} items of {data_name(protocol.data)}"


def draw(blocks: Sequence[Block], model: str, colours: Colours) -> frame.Picture:
    """A grid of panels with one axis of 0 to 100 %; each row of panels has the names of the methods at its left."""
    groups, places = bar_lines(blocks)
    names = names_of(groups, NAME_CHARACTERS)
    columns = 2 if len(blocks) == 4 else min(MOST_COLUMNS, len(blocks))
    width = (frame.WIDTH_INCHES - LEFT_INCHES) / columns - BETWEEN_INCHES
    tall = BAR_INCHES * len(groups)
    lines = math.ceil(len(blocks) / columns)
    height = TOP_INCHES + lines * (HEAD_INCHES + tall + GAP_INCHES) + BOTTOM_INCHES
    with frame.sheet(f"Last checkpoints, {model} model", _note(blocks), height=height) as sheet:
        for number, block in enumerate(blocks):
            line, column = divmod(number, columns)
            left = LEFT_INCHES + column * (width + BETWEEN_INCHES)
            top = TOP_INCHES + line * (HEAD_INCHES + tall + GAP_INCHES) + HEAD_INCHES
            axes = sheet.axes(frame.Box(left=left, top=top, width=width, height=tall))
            _prepare_axes(axes, block, names if column == 0 else [""] * len(names))
            _draw_block(axes, block, places, colours)
        return sheet.picture()


def bar_lines(blocks: Sequence[Block]) -> tuple[list[Group], dict[Hashable, int]]:
    """A group for every line, controls last, and the line of every group by its key.

    A configuration has one line on all tasks: its settings differ between them, and so does the reward that a task has
    by default; a reward tells two lines apart only where one panel has both.
    """
    configured = [Counter(_configuration(row.group) for row in block) for block in blocks]
    rewarded = {name for counts in configured for name, count in counts.items() if count > 1}

    def line(group: Group) -> Hashable:
        name = _configuration(group)
        return (name, group.reward) if name in rewarded else name

    groups = [row.group for block in blocks for row in block]
    firsts = sorted({line(group): group for group in groups}.values(), key=lambda group: group.is_control)
    numbers = {line(group): number for number, group in enumerate(firsts)}
    return firsts, {group.key: numbers[line(group)] for group in groups}


def _configuration(group: Group) -> Hashable:
    return (group.method, group.model, group.recipe, group.variant, group.is_control)


def _note(blocks: Sequence[Block]) -> str:
    kinds = sorted({row.over for block in blocks for row in block})
    return f"per cent; bar: mean over seeds; whisker: 95 % interval over {' or '.join(kinds)}; dashed: before training"


def _prepare_axes(axes: Axes, block: Block, names: Sequence[str]) -> None:
    frame.prepare_horizontal_bars(axes)
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 50, 100])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelsize=frame.SMALL_POINTS)
    head = axes.annotate(
        metric_name(block[0].metric).capitalize(),
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        **frame.NOTE,
    )
    axes.annotate(task_name(block[0].group.task), (0, 1.4), xycoords=head, **frame.HEAD)


def _draw_block(axes: Axes, block: Block, places: Mapping[Hashable, int], colours: Colours) -> None:
    for row in block:
        _draw_bar(axes, places[row.group.key], row, colour_of(row.group, colours))
    _draw_lines(axes, block)


def _draw_bar(axes: Axes, y: int, row: Row, colour: str) -> None:
    end = _inside(row.value)
    axes.barh(y, end, height=0.72, color=colour, zorder=2)
    if row.interval is not None:
        low, high = _inside(row.interval.low), _inside(row.interval.high)
        axes.plot([low, high], [y, y], color=frame.INK, linewidth=0.9, zorder=3, solid_capstyle="butt", clip_on=False)
        for x in (low, high):
            axes.plot([x, x], [y - 0.15, y + 0.15], color=frame.INK, linewidth=0.9, zorder=3, clip_on=False)
        end = max(end, high)
    # A dashed line that a number lies on ends at its letters.
    style: dict[str, Any] = {"zorder": 5, "path_effects": [withStroke(linewidth=2, foreground=frame.PAPER)]}
    frame.write_beside(axes, percent(row.value), (end, y), 3, fontsize=frame.SMALL_POINTS, fontweight="bold", **style)


def _inside(value: float) -> float:
    """Per cent, at most as far as the axis goes: a metric of a user's own may go further."""
    return min(max(100 * value, 0.0), 100.0)


def _draw_lines(axes: Axes, block: Block) -> None:
    """Where every row began, if all began at one place, and what a perfect solver reaches."""
    bases = [row.base for row in block]
    same = all(base is not None for base in bases) and all(a == b for a, b in pairwise(bases))
    if same and bases[0] is not None:
        axes.axvline(100 * bases[0], color=frame.INK, linewidth=0.8, linestyle=(0, (3, 2)), zorder=4)
    for ceiling in sorted({row.ceiling for row in block if row.ceiling is not None}):
        axes.axvline(100 * ceiling, color=frame.FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)

"""The last checkpoints side by side, per task: what Figure 1 of arXiv 2603.12554 shows, for one's own runs.

Bars with their intervals; a dashed line where training began.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from matplotlib.axes import Axes

from harness.report.analysis.groups import group_by
from harness.report.analysis.points import Points, make_points
from harness.report.analysis.rows import Row
from harness.report.figures import frame
from harness.report.figures.looks import Colours, colour_of, short_name
from harness.report.labels import cut, data_name, metric_name, percent, slug, task_name

LEFT_INCHES = 1.6
RIGHT_INCHES = 0.45
TOP_INCHES = 0.42
HEAD_INCHES = 0.28
BAR_INCHES = 0.235
GAP_INCHES = 0.12
BOTTOM_INCHES = 0.46
NAME_CHARACTERS = 24


Block = Sequence[Row]
"""The bars of one task: rows that were evaluated in the same way."""


def bar_figures(rows: Sequence[Row], colours: Colours) -> list[frame.Figure]:
    """The last checkpoints of all tasks, one figure per model."""
    caption = "Bars: mean over seeds; whiskers: 95 % intervals; dashed: before training; dotted: a perfect solver."
    return [
        frame.Figure(
            stem=f"bars-{slug(model)}",
            title=f"Last checkpoints, {model} model",
            caption=caption,
            points=bar_points(blocks),
            draw=partial(draw, blocks, model, colours),
        )
        for model, blocks in make_blocks(rows).items()
    ]


def make_blocks(rows: Sequence[Row]) -> dict[str, list[Block]]:
    """The blocks of every model, by task."""
    models = sorted(group_by(rows, lambda row: row.group.model).items())
    together = {model: sorted(group_by(own, lambda row: row.group.conditions).items()) for model, own in models}
    return {model: [block for _, block in blocks] for model, blocks in together.items()}


def bar_points(blocks: Sequence[Block]) -> Points:
    """What is plotted, as fractions of 1."""
    columns = "task metric data label method reward model seeds base mean low high"
    return make_points(columns, (row.record for block in blocks for row in block))


def draw(blocks: Sequence[Block], model: str, colours: Colours) -> frame.Picture:
    """One block of bars per task, under each other on the same axis of 0 to 100 %."""
    heights = [HEAD_INCHES + BAR_INCHES * len(block) for block in blocks]
    height = TOP_INCHES + sum(heights) + GAP_INCHES * (len(blocks) - 1) + BOTTOM_INCHES
    with frame.sheet(f"Last checkpoints, {model} model", _note(blocks), height=height) as sheet:
        top = TOP_INCHES
        for block, own in zip(blocks, heights, strict=True):
            _draw_block(sheet, block, top, colours, last=block is blocks[-1])
            top += own + GAP_INCHES
        return sheet.picture()


def _note(blocks: Sequence[Block]) -> str:
    kinds = sorted({row.over for block in blocks for row in block})
    return f"bar: mean over seeds; whisker: 95 % interval over {' or '.join(kinds)}; dashed: before training"


def _draw_block(sheet: frame.Sheet, block: Block, top: float, colours: Colours, *, last: bool) -> None:
    width = frame.WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES
    axes = sheet.axes(frame.Box(left=LEFT_INCHES, top=top + HEAD_INCHES, width=width, height=BAR_INCHES * len(block)))
    frame.prepare_horizontal_bars(axes)
    axes.set_xlim(0, 100)
    axes.set_ylim(len(block) - 0.5, -0.5)
    axes.set_yticks(range(len(block)), [_name(row) for row in block])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=last)
    if last:
        axes.set_xlabel("Right answers, or what the metric counts (%)")
    task, protocol = task_name(block[0].group.task), block[0].group.protocol
    title = f"{task}, {metric_name(block[0].metric)}"
    note = f"   {data_name(protocol.data)}, {block[0].n:,} {protocol.split} items"
    head = axes.text(0, -0.62, title, verticalalignment="bottom", **frame.HEAD)
    axes.annotate(note, (1, 0), xycoords=head, verticalalignment="bottom", **frame.NOTE)
    for place, row in enumerate(block):
        _draw_bar(axes, place, row, colour_of(row.group, colours))
    _draw_lines(axes, block)


def _name(row: Row) -> str:
    shown, variant = short_name(row.group), row.group.variant
    fits = variant and len(shown) + len(variant) + 2 <= NAME_CHARACTERS
    return cut(f"{shown}, {variant}" if fits else shown, NAME_CHARACTERS)


def _draw_bar(axes: Axes, y: int, row: Row, colour: str) -> None:
    end = _inside(row.value)
    axes.barh(y, end, height=0.68, color=colour, zorder=2)
    if row.interval is not None:
        low, high = _inside(row.interval.low), _inside(row.interval.high)
        axes.plot([low, high], [y, y], color=frame.INK, linewidth=0.9, zorder=3, solid_capstyle="butt", clip_on=False)
        for x in (low, high):
            axes.plot([x, x], [y - 0.15, y + 0.15], color=frame.INK, linewidth=0.9, zorder=3, clip_on=False)
        end = max(end, high)
    frame.write_beside(axes, percent(row.value), (end, y), 4, fontweight="bold")


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

"""Training curves: one small panel per channel, one line per group: smoothed, with the mean of every update behind."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from harness.report.analysis.groups import Group
from harness.report.analysis.training import Channel, TrainingCurve, read_history, training_curves, training_points
from harness.report.figures import frame
from harness.report.figures.legend import NAME_CHARACTERS, draw_legend, legend_height
from harness.report.figures.looks import Colours, Look, looks_of, names_of
from harness.report.figures.steps import step_figures
from harness.report.labels import slug, task_name

COLUMNS = 2
PANEL_INCHES = 1.3
LEFT_INCHES = 0.5
RIGHT_INCHES = 0.12
BETWEEN_INCHES = 0.5
HEAD_INCHES = 0.46
TOP_INCHES = 0.46
BOTTOM_INCHES = 0.42
CAPTION = (
    "Mean over seeds; strong lines are running means over a sixth of training, thin lines single updates. Quantities "
    "that never change are left out. The range of the seeds is in the points."
)
CONTROL_NOTE = "The control is left out of the reward, for its rewards are random numbers."


def training_figures(groups: Sequence[Group], colours: Colours) -> list[frame.Figure]:
    """Training curves and chosen steps of groups that share task and model."""
    where = f"{task_name(groups[0].task)}, {groups[0].model} model"
    stem = f"{slug(groups[0].task)}-{slug(groups[0].model)}"
    histories = [read_history(group) for group in groups]
    curves = training_curves(histories)
    figure = frame.Figure(
        kind=frame.TRAINING,
        stem=f"{stem}-training",
        title=f"{where}, training curves",
        caption=f"{CAPTION} {CONTROL_NOTE if any(group.is_control for group in groups) else ''}".strip(),
        points=training_points(curves),
        draw=partial(draw, curves, f"{where}: training", colours),
    )
    return [*([figure] if curves else []), *step_figures(histories, where, stem, colours)]


def draw(curves: Sequence[TrainingCurve], title: str, colours: Colours) -> frame.Picture:
    """The curves over optimiser updates."""
    channels = list({curve.channel.name: curve.channel for curve in curves}.values())
    groups = list({_runs(curve.group): curve.group for curve in curves}.values())
    names, own_looks = names_of(groups, NAME_CHARACTERS), looks_of(groups, colours)
    looks = dict(zip(map(_runs, groups), own_looks, strict=True))
    rows, above = math.ceil(len(channels) / COLUMNS), TOP_INCHES + legend_height(names) - 0.12
    width = (frame.WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES - BETWEEN_INCHES) / COLUMNS
    note = "mean over seeds; strong: running mean, thin: single updates"
    with frame.sheet(title, note, height=above + rows * (HEAD_INCHES + PANEL_INCHES) + BOTTOM_INCHES) as sheet:
        for index, channel in enumerate(channels):
            row, column = divmod(index, COLUMNS)
            left = LEFT_INCHES + column * (width + BETWEEN_INCHES)
            top = above + row * (HEAD_INCHES + PANEL_INCHES) + HEAD_INCHES
            axes = sheet.axes(frame.Box(left=left, top=top, width=width, height=PANEL_INCHES))
            own = [curve for curve in curves if curve.channel.name == channel.name]
            _draw_panel(axes, channel, own, looks, is_lowest=index + COLUMNS >= len(channels))
        draw_legend(sheet, names, own_looks, top=TOP_INCHES)
        return sheet.picture()


def _runs(group: Group) -> Hashable:
    """The same for groups of the same runs, which were evaluated in several ways."""
    return (group.name, group.config_hash)


def _draw_panel(
    axes: Axes, channel: Channel, curves: Sequence[TrainingCurve], looks: Mapping[Hashable, Look], *, is_lowest: bool
) -> None:
    axes.set_title(channel.label, **frame.HEAD, loc="left", pad=4)
    for curve in curves:
        look = looks[_runs(curve.group)]
        xs = [point.update for point in curve.points]
        depth = 2.5 if curve.group.is_control else 3
        axes.plot(xs, [point.value for point in curve.points], color=look.colour, alpha=0.3, linewidth=0.5, zorder=2)
        smooth = [point.smooth for point in curve.points]
        axes.plot(xs, smooth, color=look.colour, linestyle=look.dashes, linewidth=1.3, zorder=depth)
    values = [point.value for curve in curves for point in curve.points]
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    axes.set_ylim(0 if 0 <= low < 0.4 * high else low - margin, high + margin)
    axes.set_xlim(left=min(0, *(curve.points[0].update for curve in curves)))
    frame.round_ticks(axes.xaxis, 5, integer=True)
    frame.round_ticks(axes.yaxis, 4)
    for axis in (axes.xaxis, axes.yaxis):
        frame.separate_thousands(axis)
    if is_lowest:
        axes.set_xlabel("Optimiser updates")

"""The figures that a set of groups allows, each with its points: which there are, and what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.report.bars import Block, bars_csv, make_blocks
from harness.report.curves import AXES, Panel, make_panels, points_csv
from harness.report.groups import Group
from harness.report.labels import METHOD_COLOURS, data_name, method_name, metric_name, task_name
from harness.report.sections import Figure
from harness.report.sweeps import SELECTION, Sweep, sweep_csv
from harness.report.tables import Row
from harness.report.traces import GroupTraces, traces_csv
from harness.report.training import step_counts, steps_csv, training_csv, training_curves

if TYPE_CHECKING:
    from harness.drawing import Picture

AXIS_NAMES = {
    "flops": "training FLOPs",
    "samples": "training samples",
    "updates": "optimiser updates",
    "seconds": "training time",
}
TABS = {"flops": "FLOPs", "samples": "Samples", "updates": "Updates", "seconds": "Seconds"}
Colours = Mapping[str, str]


def bar_figures(rows: Sequence[Row], colours: Colours) -> list[Figure]:
    """The last checkpoints of all tasks, one figure per model."""
    return [_bar_figure(model, blocks, colours) for model, blocks in make_blocks(rows).items()]


def _bar_figure(model: str, blocks: Sequence[Block], colours: Colours) -> Figure:
    def draw() -> Picture:
        from harness.report.figures import bars

        return bars.draw(blocks, model, colours)

    return Figure(
        stem=f"bars-{slug(model)}",
        title=f"Last checkpoints, {model} model",
        caption="Bars: mean over seeds; whiskers: 95 % intervals; dashed: before training; dotted: a perfect solver.",
        csv=bars_csv(blocks),
        draw=draw,
    )


def curve_figures(panels: Sequence[Panel], colours: Colours) -> list[Figure]:
    """Every panel against every axis, as one family each."""
    return [_curve_figure(panel, axis, colours) for panel in panels for axis in AXES]


def _curve_figure(panel: Panel, axis: str, colours: Colours, title: str = "") -> Figure:
    def draw() -> Picture:
        from harness.report.figures import curves

        return curves.draw(panel, axis, colours, title=title)

    where = f"{panel.model} model, {data_name(panel.protocol.data)}, {panel.protocol.split} split"
    return Figure(
        stem=f"{panel.stem}-{axis}",
        title=f"{task_name(panel.task)}, {metric_name(panel.metric)} against {AXIS_NAMES[axis]}",
        caption=f"{where[:1].upper()}{where[1:]}. Mean over seeds with the 95 % interval over seeds.",
        csv=points_csv(panel, axis),
        draw=draw,
        family=panel.stem,
        tab=TABS[axis],
    )


def training_figures(groups: Sequence[Group], colours: Colours) -> list[Figure]:
    """Training curves and chosen steps of groups that share task and model."""
    where = f"{task_name(groups[0].task)}, {groups[0].model} model"
    stem = f"{slug(groups[0].task)}-{slug(groups[0].model)}"
    figures = [_training_figure(groups, where, stem, colours)] if any(training_curves(groups)) else []
    return [*figures, *_step_figures(groups, where, stem, colours)]


def _training_figure(groups: Sequence[Group], where: str, stem: str, colours: Colours) -> Figure:
    curves = training_curves(groups)
    note = "mean over seeds, band: smallest and largest seed"

    def draw() -> Picture:
        from harness.report.figures import training

        return training.draw(curves, f"{where}: training", note, colours)

    return Figure(
        stem=f"{stem}-training",
        title=f"{where}, training curves",
        caption="Mean over seeds, with the range of the seeds. Channels that are zero throughout are left out.",
        csv=training_csv(curves),
        draw=draw,
    )


def _step_figures(groups: Sequence[Group], where: str, stem: str, colours: Colours) -> list[Figure]:
    counted = [counts for group in groups if (counts := step_counts(group)) is not None]
    if not counted:
        return []

    def draw() -> Picture:
        from harness.report.figures import steps

        return steps.draw(counted, f"{where}: chosen steps", "all seeds together", colours)

    caption = "Which denoising steps were chosen for the update: over training, and in all. Step 1 is the first reveal."
    return [
        Figure(
            stem=f"{stem}-steps",
            title=f"{where}, chosen steps",
            caption=f"{caption} Steps count from 0 in the data.",
            csv=steps_csv(counted),
            draw=draw,
        )
    ]


def sweep_figure(sweep: Sweep, metric: str | None, colours: Colours) -> Figure:
    """The sweep; ways to choose steps as learning curves, where the runs were evaluated on the way."""
    panels = make_panels(_groups_of(sweep), headline=metric) if sweep.key == SELECTION else []
    stem = f"{slug(sweep.task)}-{slug(sweep.model)}-{sweep.key.rpartition('.')[2]}"
    return _selection_figure(panels[0], sweep, stem, colours) if panels else _sweep_figure(sweep, stem, colours)


def _groups_of(sweep: Sweep) -> list[Group]:
    return [point.group for line in sweep.lines for point in line.points]


def _selection_figure(panel: Panel, sweep: Sweep, stem: str, colours: Colours) -> Figure:
    figure = _curve_figure(panel, "updates", colours, f"{task_name(sweep.task)}: {sweep.title}")
    return replace(figure, stem=stem, title=f"{task_name(sweep.task)}: {sweep.title}", family="", tab="")


def _sweep_figure(sweep: Sweep, stem: str, colours: Colours) -> Figure:
    note = f"{sweep.model} model, last checkpoint, 95 % intervals; all other settings as in the method's own line"

    def draw() -> Picture:
        from harness.report.figures import sweeps

        return sweeps.draw(sweep, note, colours)

    return Figure(
        stem=stem,
        title=f"{task_name(sweep.task)}: {sweep.title}",
        caption=f"Last checkpoints of the {sweep.model} model; all settings but this one are the same along a line.",
        csv=sweep_csv(sweep),
        draw=draw,
    )


def trace_figures(found: Sequence[GroupTraces], colours: Colours) -> list[Figure]:
    """One completion of the first and of the last rollout of every group that recorded them."""
    return [_trace_figure(item, colours[item.group.method]) for item in found if item.traces]


def _trace_figure(item: GroupTraces, colour: str) -> Figure:
    group = item.group
    where = f"{task_name(group.task)}, {group.label}"
    has_greedy = any(trace.greedy for trace in item.traces)
    greedy = (
        "outlined: filled in greedily, tinted where it differs; right: reward, and sampled minus greedy"
        if has_greedy
        else ""
    )
    note = "; ".join(part for part in (f"{group.model} model, seed {group.seeds[0]}", greedy) if part)

    def draw() -> Picture:
        from harness.report.figures import traces

        return traces.draw(item.traces, f"{where}: one completion", note, colour)

    problems = "; ".join(
        f"rollout {trace.iteration:,}: {' '.join(trace.prompt.split())[:160]}" for trace in item.traces
    )
    return Figure(
        stem=f"{slug(group.task)}-{slug(group.model)}-{slug(group.method)}-completion",
        title=f"{where}: how one completion came about",
        caption=f"First completion of the first and of the last rollout, seed {group.seeds[0]}. Prompts: {problems}",
        csv=traces_csv(item.traces),
        draw=draw,
        family=f"completion-{slug(group.task)}-{slug(group.model)}",
        tab=group.label if group.method in METHOD_COLOURS or group.variant else method_name(group.method),
    )


def slug(text: str) -> str:
    """Letters, digits and dashes: for a file name or an anchor."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-").lower() or "x"

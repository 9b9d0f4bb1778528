"""The figures that a set of groups allows, each with its points: which there are, and what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.report.bars import Block, bars_csv, make_blocks
from harness.report.curves import AXES, Panel, make_panels, points_csv
from harness.report.groups import Group
from harness.report.labels import data_name, metric_name, task_name
from harness.report.rows import Row
from harness.report.sections import Figure
from harness.report.sweeps import SELECTION, Sweep, sweep_csv
from harness.report.traces import SHORT, GroupTraces, traces_csv
from harness.report.training import (
    History,
    TrainingCurve,
    read_history,
    step_counts,
    steps_csv,
    training_csv,
    training_curves,
)

if TYPE_CHECKING:
    from harness.report.figures.drawing import Picture

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
    histories = [read_history(group) for group in groups]
    curves = training_curves(histories)
    figures = [_training_figure(curves, where, stem, colours)] if curves else []
    return [*figures, *_step_figures(histories, where, stem, colours)]


def _training_figure(curves: Sequence[TrainingCurve], where: str, stem: str, colours: Colours) -> Figure:
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


def _step_figures(histories: Sequence[History], where: str, stem: str, colours: Colours) -> list[Figure]:
    counted = [counts for history in histories if (counts := step_counts(history)) is not None]
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
    """One completion of the first and of the last rollout of every group that recorded them; those with greedy
    completions first."""
    recorded = sorted((item for item in found if item.traces), key=lambda item: not _has_greedy(item))
    return [_trace_figure(part, colours[part.group.method]) for item in recorded for part in _on_one_page(item)]


def _has_greedy(item: GroupTraces) -> bool:
    return any(trace.greedy for trace in item.traces)


def _on_one_page(item: GroupTraces) -> list[GroupTraces]:
    """Short completions together, long ones each by itself."""
    if all(len(trace.tokens) <= SHORT for trace in item.traces):
        return [item]
    return [replace(item, traces=(trace,)) for trace in item.traces]


def _trace_figure(item: GroupTraces, colour: str) -> Figure:
    group = item.group
    where = f"{task_name(group.task)}, {group.label}"
    outlined = "outlined: filled in greedily, tinted where it differs; right: reward, and sampled minus greedy"
    is_short = len(item.traces[0].tokens) <= SHORT
    legend = [outlined] if _has_greedy(item) and is_short else []
    note = "; ".join([f"{group.model} model, seed {group.seeds[0]}", *legend])

    def draw() -> Picture:
        from harness.report.figures import traces

        return traces.draw(item.traces, f"{where}: one completion", note, colour)

    prompts = "; ".join(f"rollout {trace.iteration:,}: {' '.join(trace.prompt.split())[:160]}" for trace in item.traces)
    single = f", rollout {item.traces[0].iteration:,}" if not is_short else ""
    return Figure(
        stem=f"{slug(group.task)}-{slug(group.model)}-{slug(group.method)}-completion",
        title=f"{where}: how one completion came about{single}",
        caption=f"The first completion of the first and of the last rollout, seed {group.seeds[0]}. Prompts: {prompts}",
        csv=traces_csv(item.traces),
        draw=draw,
        family=f"completion-{slug(group.task)}-{slug(group.model)}",
        tab=f"{group.label}{single}",
    )


def slug(text: str) -> str:
    """Letters, digits and dashes: for a file name or an anchor."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-").lower() or "x"

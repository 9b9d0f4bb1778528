"""Which steps were chosen: a heat map over training, and beside it the shares over all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from harness.report.analysis.training import History, StepCounts, step_counts, step_points
from harness.report.figures import frame
from harness.report.figures.looks import Colours, colour_of, names_of
from harness.report.labels import percent

LEFT_INCHES = 0.5
RIGHT_INCHES = 0.5
SHARE_INCHES = 1.25
BETWEEN_INCHES = 0.14
MAP_INCHES = frame.WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES - SHARE_INCHES - BETWEEN_INCHES
TOP_INCHES = 0.22
HEAD_INCHES = 0.42
LEAST_INCHES, MOST_INCHES, CELL_INCHES = 0.8, 2.2, 0.16
BOTTOM_INCHES = 0.42
FEW_STEPS = 12
NAME_CHARACTERS = 60


def step_figures(histories: Sequence[History], where: str, stem: str, colours: Colours) -> list[frame.Figure]:
    """The chosen steps of the groups whose method chooses any. where: task and model."""
    counted = [counts for history in histories if (counts := step_counts(history)) is not None]
    if not counted:
        return []
    caption = "Which denoising steps were chosen for the update: over training, and in all. Step 1 is the first reveal."
    return [
        frame.Figure(
            kind=frame.STEPS,
            stem=f"{stem}-steps",
            title=f"{where}, chosen steps",
            caption=f"{caption} Steps count from 0 in the data.",
            points=step_points(counted),
            draw=partial(draw, counted, f"{where}: chosen steps", colours),
        )
    ]


def draw(counted: Sequence[StepCounts], title: str, colours: Colours) -> frame.Picture:
    """One row per group, steps counted from 1."""
    heights = [min(max(LEAST_INCHES, CELL_INCHES * len(counts.total_T)), MOST_INCHES) for counts in counted]
    largest_cell = max(share for counts in counted for share_T in counts.share_XT for share in share_T)
    largest = max(share for counts in counted for share in counts.total_T)
    note = f"all seeds together; white: 0 %, full colour: {percent(largest_cell)} % of the choices at that time"
    height = TOP_INCHES + sum(heights) + HEAD_INCHES * len(counted) + BOTTOM_INCHES
    with frame.sheet(title, note, height=height) as sheet:
        top = TOP_INCHES
        names = names_of([counts.group for counts in counted], NAME_CHARACTERS)
        for counts, own, name in zip(counted, heights, names, strict=True):
            colour = colour_of(counts.group, colours)
            box = frame.Box(left=LEFT_INCHES, top=top + HEAD_INCHES, width=MAP_INCHES, height=own)
            chosen = _draw_map(sheet, box, counts, colour, largest_cell)
            chosen.set_title(name, **frame.HEAD, loc="left", pad=4)
            shares = _draw_shares(sheet, box, counts, colour, largest)
            top += HEAD_INCHES + own
        chosen.set_xlabel("Optimiser updates")
        shares.set_xlabel("Share of all choices (%)")
        return sheet.picture()


def _draw_map(sheet: frame.Sheet, box: frame.Box, counts: StepCounts, colour: str, largest: float) -> Axes:
    """The heat map over training. largest: the share that has the full colour."""
    axes = sheet.axes(box)
    axes.grid(visible=False)
    rows = [[share_T[place] for share_T in counts.share_XT] for place in range(len(counts.total_T))]
    style: dict[str, Any] = {
        "cmap": LinearSegmentedColormap.from_list("shares", [frame.PAPER, colour]),
        "extent": (counts.edges[0], counts.edges[-1], 0.5, 0.5 + len(rows) * counts.steps_per_cell),
        "interpolation": "nearest",
    }
    axes.imshow(rows, vmin=0, vmax=largest, aspect="auto", origin="lower", **style)
    frame.round_ticks(axes.xaxis, 6, integer=True)
    frame.separate_thousands(axes.xaxis)
    _scale_steps(axes, counts)
    axes.set_ylabel("Step")
    return axes


def _draw_shares(sheet: frame.Sheet, box: frame.Box, counts: StepCounts, colour: str, largest: float) -> Axes:
    """The shares over all of training, right of the heat map in `box`."""
    left = box.left + box.width + BETWEEN_INCHES
    axes = sheet.axes(replace(box, left=left, width=SHARE_INCHES))
    cell = counts.steps_per_cell
    centres = [place * cell + (cell + 1) / 2 for place in range(len(counts.total_T))]
    axes.barh(centres, [100 * share for share in counts.total_T], height=0.8 * cell, color=colour)
    frame.prepare_horizontal_bars(axes)
    axes.set_xlim(0, 118 * largest or 1)
    axes.tick_params(axis="y", labelleft=False, length=0)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    _scale_steps(axes, counts)
    if len(centres) <= FEW_STEPS:
        for centre, share in zip(centres, counts.total_T, strict=True):
            frame.write_beside(axes, percent(share), (100 * share, centre), 3, fontsize=frame.SMALL_POINTS)
    return axes


def _scale_steps(axes: Axes, counts: StepCounts) -> None:
    axes.set_ylim(0.5, counts.num_steps + 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(min(8, counts.num_steps), integer=True))

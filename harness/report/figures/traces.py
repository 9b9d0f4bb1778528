"""One completion: its tokens coloured by the step that revealed them, the entropy of every step with the chosen ones
marked, and the greedy completions at those with their rewards: what EGSPO-SA sees (arXiv 2603.12554, section 4)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from harness.records.schema import GreedyTrace, TraceRecord
from harness.report.analysis.traces import GroupTraces, step_entropies, trace_points
from harness.report.figures import frame
from harness.report.figures.looks import Colours
from harness.report.labels import cut, digits, slug, task_name

SHORT = 32
"""Tokens of a completion that fits into a line or two, so that its greedy completions can be drawn below it."""
SIDE_INCHES = 0.12
LABEL_INCHES, REWARD_INCHES = 0.92, 0.72
TOP_INCHES = 0.42
HEAD_INCHES = 0.3
CELL_INCHES = 0.235
NARROWEST_INCHES = 0.22
LOW_INCHES = 0.19
ROW_GAP_INCHES = 0.05
BARS_INCHES = 0.62
BARS_HEAD_INCHES = 0.2
BARS_FOOT_INCHES = 0.46
LINE_INCHES = 0.135
MOST_TICKS = 16
MOST_TOKENS = 110
MOST_CHARACTERS = 8
CHARACTER_INCHES = 0.056
TEXT_CHARACTERS = 96
TITLE_CHARACTERS = frame.TITLE_CHARACTERS - len(": one completion")
STEP_COLOURS = "cividis"
FIRST_MISSING = 0x2E80
"""The first of the characters, as of Chinese, that the figures' font has no shapes for."""
MOST_LINES = 2
CUT = "… "


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a trace is drawn. columns: cells next to each other. count: positions shown. short: whether rows of cells
    have labels at their sides and greedy completions are cells too."""

    columns: int
    count: int
    short: bool

    @property
    def lines(self) -> int:
        """Rows of cells that the positions take."""
        return math.ceil(self.count / self.columns)

    @property
    def cell_height(self) -> float:
        """Inches."""
        return CELL_INCHES if self.short else LOW_INCHES

    @property
    def left(self) -> float:
        """Inches left of the cells."""
        return SIDE_INCHES + (LABEL_INCHES if self.short else 0)

    @property
    def width(self) -> float:
        """Inches of a line of cells."""
        return frame.WIDTH_INCHES - self.left - SIDE_INCHES - (REWARD_INCHES if self.short else 0)

    def cell(self, line: int, column: int, top: float) -> frame.Box:
        """The place of a cell in rows of cells that begin at `top`."""
        width = self.width / self.columns
        return frame.Box(
            left=self.left + width * (column + 0.04),
            top=top + self.cell_height * (line + 0.06),
            width=0.92 * width,
            height=0.88 * self.cell_height,
        )


def trace_figures(found: Sequence[GroupTraces], colours: Colours) -> list[frame.Figure]:
    """One completion of the first and of the last rollout of every group that recorded them; those with greedy
    completions first."""
    recorded = sorted((item for item in found if item.traces), key=lambda item: not _has_greedy(item))
    return [_trace_figure(part, colours[part.group.method]) for item in recorded for part in _on_one_page(item)]


def _has_greedy(item: GroupTraces) -> bool:
    return any(trace.greedy for trace in item.traces)


def _is_short(trace: TraceRecord) -> bool:
    return len(trace.tokens) <= SHORT


def _on_one_page(item: GroupTraces) -> list[GroupTraces]:
    """Short completions together, long ones each by itself."""
    if all(_is_short(trace) for trace in item.traces):
        return [item]
    return [replace(item, traces=(trace,)) for trace in item.traces]


def _trace_figure(item: GroupTraces, colour: str) -> frame.Figure:
    group, is_short = item.group, _is_short(item.traces[0])
    where = f"{task_name(group.task)}, {group.label}"
    outlined = "outlined: filled in greedily, tinted if different; right: reward (sampled minus greedy)"
    note = "; ".join(
        [f"{group.model} model, seed {group.seeds[0]}", *([outlined] if _has_greedy(item) and is_short else [])]
    )
    prompts = "; ".join(f"rollout {trace.iteration:,}: {' '.join(trace.prompt.split())[:160]}" for trace in item.traces)
    single = "" if is_short else f", rollout {item.traces[0].iteration:,}"
    return frame.Figure(
        kind=frame.COMPLETIONS,
        stem=f"{slug(group.task)}-{slug(group.model)}-{slug(group.method)}-completion",
        title=f"{where}: how one completion came about{single}",
        caption=f"The first completion of the first and of the last rollout, seed {group.seeds[0]}. Prompts: {prompts}",
        points=trace_points(item.traces),
        draw=partial(draw, item.traces, f"{cut(where, TITLE_CHARACTERS)}: one completion", note, colour),
        family=f"completion-{slug(group.task)}-{slug(group.model)}",
        tab=f"{group.label}{single}",
    )


def draw(traces: Sequence[TraceRecord], title: str, note: str, colour: str) -> frame.Picture:
    """The traces under each other. colour: of the method."""
    heights = [_height(trace, _layout(trace)) for trace in traces]
    with frame.sheet(title, note, height=TOP_INCHES + sum(heights)) as sheet:
        top = TOP_INCHES
        for trace, height in zip(traces, heights, strict=True):
            _draw_trace(sheet, trace, _layout(trace), top, colour)
            top += height
        return sheet.picture()


def _layout(trace: TraceRecord) -> Layout:
    filled = [place for place, step in enumerate(trace.unmask_step) if step < trace.num_steps]
    short = _is_short(trace)
    count = len(trace.tokens) if short else min(MOST_TOKENS, max(filled, default=0) + 1)
    longest = max(len(shown_token(token, MOST_CHARACTERS)) for token in trace.tokens)
    wide = Layout(columns=1, count=count, short=short)
    columns = int(wide.width / max(NARROWEST_INCHES, CHARACTER_INCHES * longest + 0.1))
    return Layout(columns=max(1, min(columns, count)), count=count, short=short)


def _height(trace: TraceRecord, layout: Layout) -> float:
    greedy = sum(_greedy_height(item, layout) for item in trace.greedy)
    bars = BARS_HEAD_INCHES + BARS_INCHES + BARS_FOOT_INCHES
    return HEAD_INCHES + layout.lines * layout.cell_height + greedy + bars


def _greedy_height(item: GreedyTrace, layout: Layout) -> float:
    if layout.short:
        return layout.lines * layout.cell_height + ROW_GAP_INCHES
    return LINE_INCHES * (1 + len(text_lines(item.text, TEXT_CHARACTERS))) + ROW_GAP_INCHES


def _draw_trace(sheet: frame.Sheet, trace: TraceRecord, layout: Layout, top: float, colour: str) -> None:
    when = "before training" if trace.update == 0 else f"after {trace.update:,} updates"
    part = "" if layout.count == len(trace.tokens) else f", first {layout.count} of {len(trace.tokens)} positions"
    head = f"Rollout {trace.iteration:,}, {when}{part}: reward {digits(trace.reward)}"
    sheet.write(SIDE_INCHES, top + 0.18, head, **frame.HEAD)
    top += HEAD_INCHES
    _draw_cells(sheet, trace, layout, top, None, colour)
    if layout.short:
        _draw_sides(sheet, layout, top, "sampled", digits(trace.reward))
    top += layout.lines * layout.cell_height
    for item in trace.greedy:
        _draw_greedy(sheet, trace, item, layout, top + ROW_GAP_INCHES, colour)
        top += _greedy_height(item, layout)
    _draw_bars(sheet, trace, layout, top + BARS_HEAD_INCHES, colour)


def _draw_greedy(
    sheet: frame.Sheet, trace: TraceRecord, item: GreedyTrace, layout: Layout, top: float, colour: str
) -> None:
    gain = f"{trace.reward - item.reward:+.2f}"
    if layout.short:
        _draw_cells(sheet, trace, layout, top, item, colour)
        _draw_sides(sheet, layout, top, f"greedy, step {item.step + 1}", f"{digits(item.reward)}  ({gain})")
        return
    head = f"Greedy at step {item.step + 1}: reward {digits(item.reward)}, sampled minus greedy {gain}"
    sheet.write(SIDE_INCHES, top + 0.1, head, fontsize=frame.SMALL_POINTS, fontweight="bold")
    for number, text in enumerate(text_lines(item.text, TEXT_CHARACTERS), start=1):
        sheet.write(SIDE_INCHES, top + 0.1 + LINE_INCHES * number, text, **frame.NOTE)


def _draw_sides(sheet: frame.Sheet, layout: Layout, top: float, label: str, reward: str) -> None:
    middle = top + layout.cell_height * layout.lines / 2 + 0.035
    sheet.write(SIDE_INCHES, middle, label, fontsize=frame.SMALL_POINTS)
    sheet.write(frame.WIDTH_INCHES - SIDE_INCHES - REWARD_INCHES + 0.08, middle, reward, fontsize=frame.SMALL_POINTS)


def _draw_cells(
    sheet: frame.Sheet, trace: TraceRecord, layout: Layout, top: float, greedy: GreedyTrace | None, colour: str
) -> None:
    """The tokens of the completion, or of a greedy one: revealed before its step in the colour of their own step."""
    for position in range(layout.count):
        line, column = divmod(position, layout.columns)
        cell = layout.cell(line, column, top)
        step, sampled = trace.unmask_step[position], trace.tokens[position]
        if greedy is None or step < greedy.step:
            _cell(sheet, cell, sampled, _step_colour(step, trace.num_steps), None)
        else:
            token = greedy.tokens[position]
            _cell(sheet, cell, token, frame.PAPER if token == sampled else _tint(colour), colour)


def _cell(sheet: frame.Sheet, cell: frame.Box, token: str, fill: str, edge: str | None) -> None:
    """Drawn onto the figure itself: axes for every row of cells would take most of the report's time."""
    left, bottom = sheet.corner(cell)
    width, height = cell.width / sheet.width, cell.height / sheet.height
    style: dict[str, Any] = {"facecolor": fill, "edgecolor": edge or frame.PAPER, "linewidth": 0.9 if edge else 0.6}
    sheet.figure.add_artist(Rectangle((left, bottom), width, height, **style))
    sheet.figure.text(
        left + width / 2,
        bottom + 0.47 * height,
        shown_token(token, MOST_CHARACTERS) or "end",
        fontsize=frame.TEXT_POINTS if token and cell.height > LOW_INCHES else frame.SMALL_POINTS,
        color=frame.PAPER if _is_dark(fill) else frame.INK,
        horizontalalignment="center",
        verticalalignment="center",
    )


def _step_colour(step: int, num_steps: int) -> str:
    """Early steps dark, late ones light; white where the position was never revealed."""
    if step >= num_steps:
        return frame.PAPER
    share = 0.12 + 0.83 * (step / (num_steps - 1) if num_steps > 1 else 0.0)
    return mpl.colors.to_hex(mpl.colormaps[STEP_COLOURS](share))


def _tint(colour: str) -> str:
    red, green, blue = (1 - 0.3 * (1 - part) for part in to_rgb(colour))
    return mpl.colors.to_hex((red, green, blue))


def _is_dark(colour: str) -> bool:
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def _draw_bars(sheet: frame.Sheet, trace: TraceRecord, layout: Layout, top: float, colour: str) -> None:
    left = SIDE_INCHES + LABEL_INCHES
    width = frame.WIDTH_INCHES - left - SIDE_INCHES - REWARD_INCHES
    axes = sheet.axes(frame.Box(left=left, top=top, width=width, height=BARS_INCHES))
    entropies = step_entropies(trace)
    heights = [0.0 if math.isnan(value) else value for value in entropies]
    steps = range(1, trace.num_steps + 1)
    axes.bar(steps, heights, width=0.75, color=[_step_colour(step - 1, trace.num_steps) for step in steps])
    top_value = max(heights) or 1.0
    chosen = sorted(set(trace.chosen_steps))
    marks: dict[str, Any] = {"linestyle": "", "marker": "v", "markersize": 5, "color": colour, "clip_on": False}
    axes.plot([step + 1 for step in chosen], [heights[step] + 0.13 * top_value for step in chosen], **marks)
    axes.set_ylim(0, 1.25 * top_value)
    axes.set_xlim(0.4, trace.num_steps + 0.6)
    every = math.ceil(trace.num_steps / MOST_TICKS)
    axes.set_xticks(range(every, trace.num_steps + 1, every))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set_ylabel("Entropy\n(nats)")
    axes.set_xlabel("Step, in the colour of what it revealed" + ("; ▼ chosen" if chosen else ""))


def shown_token(token: str, most: int) -> str:
    """A token as a picture can show it: blanks and line ends as signs, cut to `most` characters, what the font lacks
    as a box; empty for special tokens."""
    marked = token.replace("\r", "").replace("\n", "↵").replace("\t", "⇥")
    stripped = marked.strip() or "␣" * bool(marked)
    drawn = "".join(letter if letter.isprintable() and ord(letter) < FIRST_MISSING else "▯" for letter in stripped)
    return cut(drawn, most)


def text_lines(text: str, width: int) -> list[str]:
    """The end of the text, which holds the answer, on at most two lines of `width` characters."""
    whole = " ".join(text.split()) or "(nothing before the first end token)"
    shown = "".join(shown_token(letter, 1) if letter != " " else " " for letter in whole)
    lines = textwrap.wrap(shown, width - len(CUT))
    return lines if len(lines) <= MOST_LINES else [f"{CUT}{lines[-MOST_LINES]}", *lines[1 - MOST_LINES :]]

"""The recorded completions of runs: read for pictures, refused with a reason where they are damaged."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from harness.records.jsonl import RecordError, read_lines
from harness.records.run_folder import TRACE_FILE
from harness.records.schema import TraceRecord
from harness.report.collect import Skipped
from harness.report.groups import Group
from harness.report.labels import exact
from harness.report.summary import csv_text

FIRST_MISSING = 0x2E80
"""The first of the characters, as of Chinese, that the figures' font has no shapes for."""
MOST_LINES = 2
CUT = "… "
SHORT = 32
"""Tokens of a completion that fits into a line or two, so that its greedy completions can stand below it."""


@dataclass(frozen=True, kw_only=True)
class GroupTraces:
    """The traces of the first seed of a group, first rollout first; empty for runs from before there were any."""

    group: Group
    traces: tuple[TraceRecord, ...]
    problem: Skipped | None = None


def read_traces(group: Group) -> GroupTraces:
    """The traces of a group. A damaged file is no reason to leave out its run: `problem` says what is wrong."""
    run = group.members[0].run
    try:
        lines = list(read_lines(run.folder / TRACE_FILE))
        if not all(isinstance(line, dict) for line in lines):
            raise RecordError("a line is not a record")
        return GroupTraces(group=group, traces=tuple(TraceRecord.from_json(line) for line in lines))
    except RecordError as error:
        reason = f"no picture of a completion: {error}"
    except OSError as error:
        reason = f"no picture of a completion: {error.strerror}"
    return GroupTraces(group=group, traces=(), problem=Skipped(path=f"{run.name}/{TRACE_FILE}", reason=reason))


def step_entropies(trace: TraceRecord) -> list[float]:
    """Mean entropy of the positions that each step revealed, nats; NaN where it revealed none."""
    revealed: list[list[float]] = [[] for _ in range(trace.num_steps + 1)]
    for step, entropy in zip(trace.unmask_step, trace.entropy, strict=True):
        revealed[step].append(entropy)
    return [math.fsum(values) / len(values) if values else math.nan for values in revealed[: trace.num_steps]]


def traces_csv(traces: Sequence[TraceRecord]) -> str:
    """One line per position, and per position of every greedy completion (greedy_step: the step it was asked at)."""
    columns = ("iteration", "update", "position", "greedy_step", "token", "unmask_step", "entropy", "chosen", "reward")
    return csv_text(columns, (row for trace in traces for row in _rows(trace)))


def _rows(trace: TraceRecord) -> list[list[str]]:
    head = [str(trace.iteration), str(trace.update)]
    rows = [
        [
            *head,
            str(place),
            "",
            token,
            str(step),
            exact(entropy),
            str(int(step in trace.chosen_steps)),
            exact(trace.reward),
        ]
        for place, (token, step, entropy) in enumerate(zip(trace.tokens, trace.unmask_step, trace.entropy, strict=True))
    ]
    for greedy in trace.greedy:
        rows += [
            [*head, str(place), str(greedy.step), token, str(trace.unmask_step[place]), "", "", exact(greedy.reward)]
            for place, token in enumerate(greedy.tokens)
        ]
    return rows


def shown_token(token: str, most: int) -> str:
    """A token as a picture can show it: blanks and line ends as signs, cut to `most` characters, what the font lacks
    as a box; empty for special tokens."""
    marked = token.replace("\r", "").replace("\n", "↵").replace("\t", "⇥")
    stripped = marked.strip() or "␣" * bool(marked)
    drawn = "".join(letter if letter.isprintable() and ord(letter) < FIRST_MISSING else "▯" for letter in stripped)
    return drawn if len(drawn) <= most else f"{drawn[: most - 1]}…"


def text_lines(text: str, width: int) -> list[str]:
    """The end of the text, where its answer stands, on at most two lines of `width` characters."""
    whole = " ".join(text.split()) or "(nothing before the first end token)"
    shown = "".join(shown_token(letter, 1) if letter != " " else " " for letter in whole)
    lines = textwrap.wrap(shown, width - len(CUT))
    return lines if len(lines) <= MOST_LINES else [f"{CUT}{lines[-MOST_LINES]}", *lines[1 - MOST_LINES :]]

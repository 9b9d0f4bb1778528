"""The other files of a run: updates, recorded completions and verdicts. A damaged one is reported, never fatal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.records.jsonl import RecordError, read_lines, read_samples
from harness.records.run_folder import METRICS_FILE, TRACE_FILE
from harness.records.schema import TraceRecord
from harness.records.values import is_number
from harness.report.labels import metric_name
from harness.report.read.runs import Run, Skipped

MOST_ROWS, MOST_TOKENS = 128, 8192

Verdicts = Mapping[str, bool] | str
"""Item id to right or wrong; a sentence where there are none."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """An optimiser update, a line of metrics.jsonl; NaN where a number is missing or is not one.

    clip_fraction: of the importance ratios. entropy: mean over the steps, nats. chosen_steps: how often the rollout
    chose each step, empty where the method chooses none.
    """

    update: float
    reward: float
    kl: float
    clip_fraction: float
    entropy: float
    completion_length: float
    gradient_norm: float
    chosen_steps: tuple[float, ...]
    first_of_rollout: bool


def read_updates(run: Run) -> list[Update]:
    """The updates of a run in their order; lines without an update number are left out."""
    updates = [_update(line) for line in read_lines(run.folder / METRICS_FILE)]
    return [update for update in updates if math.isfinite(update.update)]


def _update(line: Mapping[str, Any]) -> Update:
    entropies = _numbers(line, "step_entropy")
    return Update(
        update=_number(line, "update"),
        reward=_number(line, "reward_mean"),
        kl=_number(line, "kl"),
        clip_fraction=_number(line, "clip_low") + _number(line, "clip_high"),
        entropy=math.fsum(entropies) / len(entropies) if entropies else math.nan,
        completion_length=_number(line, "completion_length"),
        gradient_norm=_number(line, "gradient_norm"),
        chosen_steps=_numbers(line, "chosen_steps"),
        first_of_rollout=bool(line.get("first_of_rollout", True)),
    )


def _number(line: Mapping[str, Any], key: str) -> float:
    value = line.get(key)
    return float(value) if is_number(value) else math.nan


def _numbers(line: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """Empty where the value is missing or is not a list of finite numbers."""
    values = line.get(key)
    if not isinstance(values, list):
        return ()
    found = tuple(float(value) for value in values if is_number(value))
    return found if len(found) == len(values) else ()


def read_traces(run: Run) -> tuple[TraceRecord, ...] | Skipped:
    """The recorded completions, first rollout first; none for runs from before there were any.

    A damaged file does not leave out its run: only the picture is skipped.
    """
    try:
        traces: list[TraceRecord] = []
        for line in read_lines(run.folder / TRACE_FILE):
            if not isinstance(line, dict):
                raise RecordError("a line is not a record")
            traces.append(TraceRecord.from_json(line))
            _check_size(traces)
        return tuple(traces)
    except RecordError as error:
        reason = str(error)
    except OSError as error:
        reason = str(error.strerror)
    return Skipped(path=f"{run.name}/{TRACE_FILE}", reason=f"no picture of a completion: {reason}")


def _check_size(traces: Sequence[TraceRecord]) -> None:
    """Raises RecordError for more than a picture can hold."""
    rows = sum(1 + len(trace.greedy) for trace in traces)
    if rows > MOST_ROWS:
        raise RecordError(f"it has more than {MOST_ROWS} completions")
    if max(len(traces[-1].tokens), traces[-1].num_steps) > MOST_TOKENS:
        raise RecordError(f"it has a completion of more than {MOST_TOKENS:,} tokens or steps")


def read_verdicts(folder: Path, name: str | None, metric: str) -> Verdicts:
    """The verdicts of the samples file `name` of a run folder; a sentence where `metric` is no verdict per item."""
    if name is None or Path(name).name != name or not (folder / name).is_file():
        return "no samples kept"
    found: dict[str, bool] = {}
    try:
        for row in read_samples(folder / name):
            ratio = row["metrics"][metric]
            if ratio["whole"] != 1 or ratio["part"] not in (0, 1) or row["id"] in found:
                return f"{metric_name(metric)} is no verdict per item"
            found[row["id"]] = ratio["part"] == 1
    except (RecordError, KeyError, TypeError):
        return "samples cannot be read"
    return found

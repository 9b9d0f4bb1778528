"""The run folder: what lies in it, under which names. No torch.

results/runs/<task>/<method>/<model>/<config-hash>-seed<n>/
    config.yaml           RunDescription: all values and where each came from
    environment.json      versions, commit, hardware, data sources and fingerprints
    metrics.jsonl         one line per optimiser update
    eval.jsonl            one EvalRecord per evaluated checkpoint; one `last`, at the end of a finished run
    traces.jsonl          a TraceRecord of the first and of the last rollout
    samples-<name>.jsonl.gz   one line per evaluated item
    checkpoints/          weights and optimiser state
    status.json           RunStatus
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from harness.records.jsonl import RecordError, read_lines, to_line, write_atomic
from harness.records.schema import SCHEMA_VERSION, RunStatus
from harness.records.small import read_record

CONFIG_FILE = "config.yaml"
ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
EVAL_FILE = "eval.jsonl"
TRACE_FILE = "traces.jsonl"
STATUS_FILE = "status.json"
CHECKPOINT_FOLDER = "checkpoints"
DEFAULT_RUNS = Path("results/runs")
DEFAULT_REPORT = Path("results/report")


def read_status(folder: Path) -> RunStatus | None:
    """The status of a run folder, None where there is none yet. Raises RecordError where it is damaged."""
    content = read_record(folder / STATUS_FILE)
    if content is None:
        return None
    try:
        data = json.loads(content.decode("utf-8"))
        schema = data["schema"]
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"{STATUS_FILE} is damaged: {error}") from error
    if schema != SCHEMA_VERSION:
        raise RecordError(f"{STATUS_FILE} has schema {schema}, this version reads {SCHEMA_VERSION}")
    try:
        return RunStatus(**data)
    except TypeError as error:
        raise RecordError(f"{STATUS_FILE} is damaged: {error}") from error


def write_status(folder: Path, status: RunStatus) -> None:
    """Replaces the status of a run folder."""
    write_atomic(folder / STATUS_FILE, json.dumps(asdict(status), indent=2, sort_keys=True) + "\n")


def samples_name(checkpoint: str, update: int) -> str:
    """The file of the items evaluated at `checkpoint`: base, step or last."""
    return f"samples-{f'step{update:06d}' if checkpoint == 'step' else checkpoint}.jsonl.gz"


def reopen(folder: Path, *, evaluations: int, update: int) -> int:
    """Makes the evaluation `last` of a run that goes on one of its steps; returns how many evaluations to keep.

    update: of the checkpoint that the run goes on from. evaluations: records made before that checkpoint; one more of
    the same weights may follow them. A kill at any moment does no harm: the same call finishes the work.
    """
    records = list(read_lines(folder / EVAL_FILE))[: evaluations + 1]
    if len(records) <= evaluations or records[-1]["update"] != update:
        return evaluations
    if records[-1]["checkpoint"] == "last":
        ended, kept = folder / samples_name("last", update), samples_name("step", update)
        if ended.exists():
            write_atomic(folder / kept, ended.read_bytes())
        records[-1] |= {"checkpoint": "step", "samples_file": kept}
        write_atomic(folder / EVAL_FILE, "".join(to_line(record) for record in records))
        ended.unlink(missing_ok=True)
    return len(records)

"""The run folder: what lies in it, under which names. No torch.

results/runs/<task>/<method>/<model>/<config-hash>-seed<n>/
    config.yaml           resolved configuration and where each value came from
    environment.json      versions, commit, hardware, data sources and fingerprints
    metrics.jsonl         one line per optimiser update
    eval.jsonl            one EvalRecord per evaluated checkpoint
    traces.jsonl          a TraceRecord of the first and of the last rollout
    samples-<name>.jsonl.gz   one line per evaluated item
    checkpoints/          weights and optimiser state
    status.json           RunStatus
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from harness.records.jsonl import RecordError, write_atomic
from harness.records.schema import SCHEMA_VERSION, RunStatus

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
    path = folder / STATUS_FILE
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text())
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

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
from harness.records.schema import RunStatus, check_schema
from harness.records.small import read_record

CONFIG_FILE = "config.yaml"
ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
EVAL_FILE = "eval.jsonl"
TRACE_FILE = "traces.jsonl"
STATUS_FILE = "status.json"
CHECKPOINT_FOLDER = "checkpoints"
CHECKPOINT_STATE = "state.json"
DEFAULT_RUNS = Path("results/runs")
DEFAULT_EVALUATIONS = Path("results/evals")
DEFAULT_REPORT = Path("results/report")
DEFAULT_COMPARISON = Path("results/comparison")


def read_status(folder: Path) -> RunStatus | None:
    """The status of a run folder, None where there is none yet. Raises RecordError where it is damaged."""
    content = read_record(folder / STATUS_FILE)
    if content is None:
        return None
    try:
        data = json.loads(content.decode("utf-8"))
        check_schema(data, STATUS_FILE)
        return RunStatus(**data)
    except RecordError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordError(f"{STATUS_FILE} is damaged: {error}") from error


def write_status(folder: Path, status: RunStatus) -> None:
    """Replaces the status of a run folder."""
    write_atomic(folder / STATUS_FILE, json.dumps(asdict(status), indent=2, sort_keys=True) + "\n")


def samples_name(checkpoint: str, update: int, number: int = 0) -> str:
    """The file of the items evaluated at `checkpoint`: base, step or last. number: of the setting, from 0."""
    name = f"step{update:06d}" if checkpoint == "step" else checkpoint
    return f"samples-{name}{f'-{number + 1}' if number else ''}.jsonl.gz"


def reopen(folder: Path, *, evaluations: int, update: int, at_once: int) -> int:
    """Makes the evaluations `last` of a run that goes on one of its steps; returns how many evaluations to keep.

    update: of the checkpoint that the run goes on from. evaluations: records made before that checkpoint; those of the
    same weights may follow them, `at_once` where all were made. A kill at any moment does no harm: the same call
    finishes the work.
    """
    records = list(read_lines(folder / EVAL_FILE))[: evaluations + at_once]
    added = records[evaluations:]
    if len(added) < at_once or any(record["update"] != update for record in added):
        return evaluations
    ended = []
    for number, record in enumerate(added):
        if record["checkpoint"] == "last":
            old, kept = folder / samples_name("last", update, number), samples_name("step", update, number)
            if old.exists():
                write_atomic(folder / kept, old.read_bytes())
            record |= {"checkpoint": "step", "samples_file": kept}
            ended.append(old)
    if ended:
        write_atomic(folder / EVAL_FILE, "".join(to_line(record) for record in records))
    for old in ended:
        old.unlink(missing_ok=True)
    return len(records)

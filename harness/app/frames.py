"""Recorded runs as data frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.resolve import flatten
from harness.errors import UserError
from harness.records.jsonl import read_lines
from harness.records.run_folder import DEFAULT_RUNS, METRICS_FILE
from harness.records.schema import EvalRecord

if TYPE_CHECKING:
    from pandas import DataFrame

    from harness.report.read.runs import Run

CELL = ("task", "method", "reward", "model", "seed")
"""Columns of the run that stand in every frame."""


@dataclass(frozen=True, kw_only=True)
class RunFrames:
    """Runs, one row each in `runs`: identity, state, and every setting under its dotted key.

    evaluations: one row per evaluation and metric, with its value, as a fraction of 1, and n items. metrics: one row
    per optimiser update. Both begin with the run's folder and with task, method, reward, model and seed. skipped:
    folders that cannot be read, with the reason.
    """

    runs: DataFrame
    evaluations: DataFrame
    metrics: DataFrame
    skipped: DataFrame


def read_runs(path: str | Path = DEFAULT_RUNS) -> RunFrames:
    """Reads every run at or below `path`, a folder or an archive, finished or not.

    Raises UserError where there is none.
    """
    import pandas

    from harness.report.read.archives import ENDINGS
    from harness.report.read.places import is_place
    from harness.report.read.runs import Run, scan

    if not is_place(Path(path)):
        raise UserError(
            f"'{path}' is neither a folder nor an archive of runs ({' or '.join(ENDINGS)}); make a run with harness "
            "run, or name another folder."
        )
    found = scan([Path(path)])
    if not found:
        raise UserError(f"There are no runs in '{path}'.")
    runs = [item for item in found if isinstance(item, Run)]
    return RunFrames(
        runs=pandas.DataFrame([_run(run) for run in runs]),
        evaluations=pandas.DataFrame([row for run in runs for row in _evaluations(run)]),
        metrics=pandas.DataFrame([row for run in runs for row in _metrics(run)]),
        skipped=pandas.DataFrame(
            [(item.path, item.reason) for item in found if not isinstance(item, Run)], columns=["path", "reason"]
        ),
    )


def _run(run: Run) -> dict[str, Any]:
    status = {"state": run.status.state, "reason": run.status.reason, "updates": run.status.updates}
    identity = {"folder": str(run.shown), **asdict(run.identity), **status}
    return {**identity, **{key: value for key, value in run.settings.items() if key not in identity}}


def _cell(run: Run) -> dict[str, Any]:
    return {"folder": str(run.shown), **{name: getattr(run.identity, name) for name in CELL}}


def _evaluations(run: Run) -> Iterator[dict[str, Any]]:
    for record in run.evals:
        for metric, totals in record.metrics.items():
            yield {**_cell(run), "metric": metric, "value": totals.value, "n": totals.n, **_conditions(record)}


def _conditions(record: EvalRecord) -> dict[str, Any]:
    """A record without its metrics, nested values under dotted keys; its seed is not that of the run."""
    values = {
        key: value for key, value in flatten(record.to_json()).items() if not key.startswith(("metrics.", "schema"))
    }
    return {"seed_of_draws" if key == "seed" else key: value for key, value in values.items()}


def _metrics(run: Run) -> Iterator[dict[str, Any]]:
    for line in read_lines(run.folder / METRICS_FILE):
        yield {**_cell(run), **flatten(line)}

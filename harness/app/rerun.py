"""A recorded run made again from its own record, and every number of the two side by side."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.app.plan import PlannedRun, RunRequest, plan
from harness.app.run import execute
from harness.config.resolve import flatten
from harness.errors import UserError, did_you_mean, nearest_path
from harness.records.description import RunDescription, read_description
from harness.records.jsonl import RecordError, read_lines
from harness.records.run_folder import CONFIG_FILE, ENVIRONMENT_FILE, EVAL_FILE, METRICS_FILE, read_status
from harness.records.schema import EvalRecord
from harness.records.small import read_record
from harness.report.labels import headline_metric

if TYPE_CHECKING:
    from harness.rl.loop import Event

PLACE = ("processor", "instructions", "threads", "python", "packages.torch", "packages.numpy")
"""What of the environment decides the last bit of a result on a CPU."""
OF_THE_MACHINE = frozenset({"seconds", "eval_seconds", "tokens_per_second", "commits", "packages"})
BASE_TOLERANCE, LAST_TOLERANCE = 0.02, 0.10
"""How far the headline metric may be off on another machine, before training and after it: fractions of 1. A sum in
another order turns a drawn token now and then, and training goes its own way from there."""


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A record and the same run made again.

    elsewhere: what of PLACE differs, with both values; empty on the recorded kind of machine. first_difference: the
    first number that is not the record's, to the bit; empty where all are. base, last: the headline metric of record
    and rerun before and after training, None where the run evaluated none.
    """

    folder: Path
    updates: int
    evaluations: int
    metric: str
    elsewhere: tuple[str, ...]
    first_difference: str
    base: tuple[float, float] | None
    last: tuple[float, float]

    @property
    def holds(self) -> bool:
        """Whether the record was reproduced: bit for bit on its kind of machine, within the tolerances elsewhere."""
        if not self.elsewhere:
            return not self.first_difference
        pairs = [(self.last, LAST_TOLERANCE), *([(self.base, BASE_TOLERANCE)] if self.base else [])]
        return all(abs(recorded - again) <= most for (recorded, again), most in pairs)


def plan_rerun(record: Path, out: Path) -> PlannedRun:
    """The run of a finished record, to be made from the beginning below `out`.

    Raises UserError for a record that is not finished or cannot be read, whose model or prompts are files that it does
    not hold, and where this version names the run otherwise.
    """
    description = _description(record)
    status = read_status(record)
    evaluated = {line.get("checkpoint") for line in read_lines(record / EVAL_FILE)}
    if status is None or status.state != "finished" or "last" not in evaluated:
        raise UserError(f"'{record}' is not a finished run, so there is no result to make again.")
    config, identity = flatten(description.config), description.identity
    if config.get("data.prompts"):
        raise UserError(f"'{record}' was made with a prompts file, of which the record has the hash alone.")
    request = RunRequest(
        method=identity.method,
        task=identity.task,
        seed=identity.seed,
        recipe=identity.recipe,
        overrides={key: value for key, value in config.items() if key not in ("method.name", "task", "seed")},
        runs=out,
        fresh=True,
    )
    planned = plan(request)
    if planned.identity.folder != identity.folder:
        raise UserError(
            f"This version calls the run '{planned.identity.folder}', and the record is '{identity.folder}': a setting "
            "that it does not hold has another value now."
        )
    return planned


def rerun(record: Path, planned: PlannedRun, on_event: Callable[[Event], None]) -> Rerun:
    """Makes the run again with as many threads as recorded, and compares everything but times."""
    import torch

    recorded = _environment(record)
    before = torch.get_num_threads()
    torch.set_num_threads(int(recorded.get("threads", before)))
    try:
        execute(planned, on_event)
    finally:
        torch.set_num_threads(before)
    return compare(record, planned.folder)


def compare(record: Path, again: Path) -> Rerun:
    """Two folders of one finished run, number by number."""
    numbers = [list(read_lines(folder / METRICS_FILE)) for folder in (record, again)]
    evaluations = [list(read_lines(folder / EVAL_FILE)) for folder in (record, again)]
    recorded, present = ([EvalRecord.from_json(line) for line in lines] for lines in evaluations)
    metric = headline_metric({name for one in recorded for name in one.metrics})
    differences = itertools.chain(_differences("update", *numbers), _differences("evaluation", *evaluations))
    base, last = (_values(recorded, present, metric, checkpoint) for checkpoint in ("base", "last"))
    assert last is not None  # both runs are finished
    return Rerun(
        folder=again,
        updates=len(numbers[0]),
        evaluations=len(evaluations[0]),
        metric=metric,
        elsewhere=tuple(_elsewhere(_environment(record), _environment(again))),
        first_difference=next(differences, ""),
        base=base,
        last=last,
    )


def _description(record: Path) -> RunDescription:
    try:
        description = read_description(record)
    except RecordError as error:
        raise UserError(f"'{record}' cannot be read: {error}.") from error
    if description is None:
        raise UserError(
            f"'{record}' has no {CONFIG_FILE}; name the folder of a finished run.{did_you_mean(nearest_path(record))}"
        )
    return description


def _environment(folder: Path) -> Mapping[str, Any]:
    found = json.loads(read_record(folder / ENVIRONMENT_FILE) or b"{}")
    return flatten(found) if isinstance(found, dict) else {}


def _elsewhere(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[str]:
    for key in PLACE:
        if recorded.get(key) != present.get(key):
            yield f"{key} {present.get(key)}, recorded {recorded.get(key)}"


def _differences(kind: str, recorded: list[dict[str, Any]], present: list[dict[str, Any]]) -> Iterator[str]:
    for number, (old, new) in enumerate(zip(recorded, present, strict=False), start=1):
        ours, theirs = (flatten({k: v for k, v in line.items() if k not in OF_THE_MACHINE}) for line in (old, new))
        for key in sorted({*ours, *theirs}):
            if ours.get(key) != theirs.get(key):
                yield f"{kind} {number}, {key}: {theirs.get(key)}, recorded {ours.get(key)}"
    if len(recorded) != len(present):
        yield f"{len(present)} {kind}s, recorded {len(recorded)}"


def _values(
    recorded: list[EvalRecord], present: list[EvalRecord], metric: str, checkpoint: str
) -> tuple[float, float] | None:
    found = [
        next((one.metrics[metric].value for one in records if one.checkpoint == checkpoint), None)
        for records in (recorded, present)
    ]
    return None if None in found else (found[0], found[1])  # type: ignore[return-value]

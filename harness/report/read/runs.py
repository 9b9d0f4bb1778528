"""Finds run folders and reads them. Nothing on the disk breaks the report: the unreadable is listed with a reason."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from harness.config.published.prompt_hashes import STATES as PROMPT_STATES
from harness.config.published.prompt_hashes import UNVERIFIED
from harness.config.resolve import flatten
from harness.errors import from_here
from harness.records.description import EVALUATED_FILE, RunDescription, read_tree
from harness.records.jsonl import RecordError, read_lines
from harness.records.run_folder import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    EVAL_FILE,
    METRICS_FILE,
    STATUS_FILE,
    read_status,
)
from harness.records.schema import SCHEMA_VERSION, EvalRecord, MetricTotals, RunIdentity, RunStatus
from harness.records.small import read_record
from harness.records.values import is_cost, is_count, is_name, is_number, is_shallow
from harness.report.labels import cut, one_line
from harness.report.read.estimators import Estimator, EstimatorsError, find_estimators, read_estimators
from harness.report.read.places import Place, places

STATES = ("running", "interrupted", "finished", "failed")
CHECKPOINTS = ("base", "step", "last")
AS_GIVEN = ("base", "given", "served")
"""How `harness eval` calls the weights of a model that no run here trained."""
MOST_EVALUATIONS, MOST_METRICS = 10_000, 64
LONGEST_DECODING = 10_000
"""Characters of JSON; a reader sees the decoding below every table."""
LARGEST_VALUE = 1e6
LONGEST_REASON = 300


@dataclass(frozen=True, kw_only=True)
class Run:
    """A readable run folder.

    folder: where its files are read. shown: where a reader finds them, in an archive `runs.tar.xz/sudoku/...`.
    name: the folder relative to the runs root. settings: the configuration, dotted key to value.
    provenance: dotted key to default, recipe or command line. evaluated_only: a folder of `harness eval`, with the
    identity of the run that the model comes from, or of a model that no run here trained. training_prompts: whether
    they are published ones, as harness.config.published.prompt_hashes calls it. include: the folders of the user's own
    files, as the run wrote them down.
    """

    folder: Path
    shown: Path
    name: str
    identity: RunIdentity
    settings: Mapping[str, Any]
    provenance: Mapping[str, str]
    status: RunStatus
    evals: tuple[EvalRecord, ...]
    evaluated_only: bool = False
    training_prompts: str = UNVERIFIED
    include: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A folder that stays out of tables and curves, and why: texts of one line. run: what it holds, where that is a
    sound run without a result."""

    path: str
    reason: str
    run: Run | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", one_line(self.path))
        object.__setattr__(self, "reason", cut(one_line(self.reason), LONGEST_REASON))


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The finished, evaluated runs and everything that was left out, both in the order of their names. estimators: of
    the table of `harness diagnose` beside them, none without one. paths: where all of it was looked for."""

    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...]
    estimators: tuple[Estimator, ...] = ()
    paths: tuple[Path, ...] = field(default=(), compare=False)


class ForeignError(RecordError):
    """The folder is sound but not for this version: another tool's, or a newer version's."""


def collect(paths: Sequence[Path]) -> Collection:
    """The finished runs at or below `paths`, each cell of the grid once, with the evaluations of `harness eval`."""
    runs: dict[Path, Run] = {}
    skipped = []
    everything = scan(paths)
    for found in everything:
        if isinstance(found, Run) and found.evaluated_only:
            continue
        if isinstance(found, Skipped):
            skipped.append(found)
        elif reason := _without_result(found):
            skipped.append(Skipped(path=found.name, reason=reason, run=found))
        elif twin := runs.get(found.identity.folder):
            pair = f"{from_here(found.shown)} has the same configuration and seed as {from_here(twin.shown)}"
            skipped.append(Skipped(path=found.name, reason=f"{pair}, which is counted"))
        else:
            runs[found.identity.folder] = found
    for found in everything:
        if isinstance(found, Run) and found.evaluated_only:
            home = found.identity.folder
            own = runs.get(home, found)
            runs[home] = own if own is found else replace(own, evals=(*own.evals, *found.evals))
    estimators: tuple[Estimator, ...] = ()
    if table := find_estimators(paths):
        try:
            estimators = read_estimators(table)
        except (EstimatorsError, OSError) as error:
            reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            skipped.append(Skipped(path=from_here(table), reason=reason))
    return Collection(runs=tuple(runs.values()), skipped=tuple(skipped), estimators=estimators, paths=tuple(paths))


def scan(paths: Sequence[Path]) -> list[Run | Skipped]:
    """Every run folder at or below `paths`, folders and archives, in the order of names, finished or not."""
    found: dict[Path, Run | Skipped] = {}
    for path in paths:
        root = Path(os.path.abspath(path))
        for place in places(root):
            if place.folder not in found:
                found[place.folder] = _load(place)
    return sorted(
        found.values(), key=lambda item: (item.name, item.shown) if isinstance(item, Run) else (item.path, Path())
    )


def _without_result(run: Run) -> str:
    """Why the run has no result; empty where it has one."""
    if run.status.state != "finished":
        because = f": {run.status.reason}" if run.status.reason else ""
        counts = f"{run.status.updates} updates, {len(run.evals)} evaluations"
        return f"unfinished ({run.status.state}{because}), {counts}"
    if not any(record.checkpoint == "last" for record in run.evals):
        return "finished, but its last checkpoint has no evaluation"
    return ""


def _load(place: Place) -> Run | Skipped:
    if place.problem:
        return Skipped(path=place.name, reason=place.problem)
    try:
        return load_run(place.folder, place.name, shown=place.shown)
    except ForeignError as error:
        reason = str(error)
    except RecordError as error:
        reason = f"corrupt: {error}"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except RecursionError:
        reason = "corrupt: a file is nested too deeply"
    return Skipped(path=place.name, reason=reason)


def load_run(folder: Path, name: str, *, shown: Path | None = None) -> Run:
    """Reads one run folder; `name` is used where the folder is not in the place that its identity implies. shown: where
    a reader finds it, where that is not `folder`.

    Raises RecordError for corrupt, foreign and future-version files, OSError for unreadable ones.
    """
    evaluated_only = (folder / EVALUATED_FILE).exists()
    description = RunDescription.from_record(_read_config(folder, EVALUATED_FILE if evaluated_only else CONFIG_FILE))
    identity = _checked(description.identity)
    status = None if evaluated_only else _checked_status(folder)
    for _ in _records(folder, METRICS_FILE):
        pass
    home, evals, environment = identity.folder, _evaluations(folder), _environment(folder)
    if evaluated_only:  # the weights of a model that no run here trained are its last
        evals = tuple(replace(one, checkpoint="last") if one.checkpoint in AS_GIVEN else one for one in evals)
    updates = max((one.update for one in evals), default=0)
    return Run(
        folder=folder,
        shown=shown or folder,
        name=home.as_posix() if folder.parts[-len(home.parts) :] == home.parts else one_line(name),
        identity=identity,
        settings={one_line(key): _setting(value) for key, value in flatten(description.config).items()},
        provenance={one_line(key): source for key, source in description.provenance.items()},
        status=status or RunStatus(state="finished", updates=updates, samples=0),
        evals=evals,
        evaluated_only=evaluated_only,
        training_prompts=_training_prompts(environment),
        include=_include(environment),
    )


def _environment(folder: Path) -> Any:
    try:
        return json.loads(read_record(folder / ENVIRONMENT_FILE) or b"{}")
    except ValueError as error:
        raise RecordError(f"{ENVIRONMENT_FILE} is not JSON") from error


def _training_prompts(found: Any) -> str:
    """What the run recorded; unverified for one that recorded nothing of the kind."""
    for key in ("prompts", "training", "published"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if found in PROMPT_STATES else UNVERIFIED


def _include(environment: Any) -> tuple[str, ...]:
    """The folders of the method's file and of the task's, each once, where they are the user's own."""
    files = environment.get("own_files") if isinstance(environment, dict) else None
    own = [one.get("folder") for one in files.values() if isinstance(one, dict)] if isinstance(files, dict) else []
    return tuple(dict.fromkeys(one_line(folder) for folder in own if is_name(folder) and folder))


def _setting(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def _records(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    for line in read_lines(folder / name):
        if not isinstance(line, dict):
            raise RecordError(f"{name} has a line that is not a record")
        if not is_shallow(line):
            raise RecordError(f"{name} has a line that is nested too deeply")
        yield line


def _evaluations(folder: Path) -> tuple[EvalRecord, ...]:
    found: list[EvalRecord] = []
    for line in _records(folder, EVAL_FILE):
        if len(found) == MOST_EVALUATIONS:
            raise RecordError(f"{EVAL_FILE} has more than {MOST_EVALUATIONS:,} records")
        found.append(_eval_record(line))
    return tuple(found)


def _checked_status(folder: Path) -> RunStatus:
    status = read_status(folder) or RunStatus(state="running", updates=0, samples=0)
    is_whole = is_count(status.updates) and is_number(status.heartbeat) and isinstance(status.reason, str)
    if status.state not in STATES or not is_whole:
        raise RecordError(f"{STATUS_FILE} has state {status.state!r} and updates {status.updates!r}")
    return replace(status, reason=cut(one_line(status.reason), LONGEST_REASON))


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    tree = read_tree(folder, name)
    if tree is None:
        raise ForeignError(f"foreign: no {name}")
    if "schema" not in tree:
        raise ForeignError(f"foreign: {name} has no schema number")
    _check_schema(tree["schema"], name)
    return tree


def _check_schema(schema: Any, where: str) -> None:
    if schema != SCHEMA_VERSION:
        kind = "from a newer version" if is_count(schema) and schema > SCHEMA_VERSION else "foreign"
        raise ForeignError(f"{kind}: {where} has schema {schema!r}, this version reads {SCHEMA_VERSION}")


def _checked(identity: RunIdentity) -> RunIdentity:
    for item in fields(identity):
        value = getattr(identity, item.name)
        if not (is_count(value) if item.name == "seed" else is_name(value) and bool(value)):
            length = f", of {len(value):,} characters" if isinstance(value, str) else ""
            raise RecordError(f"{CONFIG_FILE} has identity.{item.name}={cut(repr(value), 80)}{length}")
    return identity


def _eval_record(line: Mapping[str, Any]) -> EvalRecord:
    _check_schema(line.get("schema"), EVAL_FILE)
    record = EvalRecord.from_json(line)
    if not _fits(record):
        raise RecordError(f"{EVAL_FILE} has a record with values of a wrong kind")
    for name, totals in record.metrics.items():
        if not is_name(name) or not _totals_fit(totals):
            raise RecordError(f"{EVAL_FILE} has impossible totals for '{cut(name, 80)}'")
    return record


def _fits(record: EvalRecord) -> bool:
    return (
        record.checkpoint in (*CHECKPOINTS, *AS_GIVEN)
        and is_count(record.update)
        and is_count(record.samples)
        and is_count(record.batch_size)
        and is_name(record.dtype)
        and all(is_cost(value) for value in (record.flops_total, record.seconds))
        and (record.flops_forward is None or is_cost(record.flops_forward))
        and all(is_name(text) for text in (record.data, record.split, record.items_sha256))
        and (record.samples_file is None or is_name(record.samples_file))
        and isinstance(record.decoding, dict)
        and (is_cost(record.nfe) or (record.nfe is None and "num_steps" not in record.decoding))
        and len(json.dumps(record.decoding)) <= LONGEST_DECODING
        and isinstance(record.prompts, dict)
        and is_name(record.protocol)
        and isinstance(record.ceiling, dict)
        and all(is_cost(value) and value <= 1 for value in record.ceiling.values())
        and len(record.metrics) <= MOST_METRICS
    )


def _totals_fit(totals: MetricTotals) -> bool:
    """Whether the sums can be those of items, and give a value that can be shown."""
    values = [getattr(totals, item.name) for item in fields(totals) if item.name != "is_proportion"]
    if not all(is_number(value) for value in values) or not isinstance(totals.is_proportion, bool):
        return False
    counted = is_count(totals.n) and totals.whole >= 0 and (totals.n > 0 or totals.whole == 0)
    shown = totals.whole == 0 or abs(totals.part) <= LARGEST_VALUE * totals.whole
    return (
        counted and shown and (not totals.is_proportion or (totals.whole == totals.n and 0 <= totals.part <= totals.n))
    )

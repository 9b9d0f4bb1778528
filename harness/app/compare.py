"""Checkpoints compared: all evaluated under one protocol on the same items, their differences beside the noise of the
machine.

The evaluations are those of `harness eval`: recorded where it records them, and not done again where they are there.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.app.evaluate import EvaluationRequest, evaluate_all, model_of
from harness.app.evaluations import Evaluated
from harness.app.models import LoadedModel, NamedModel
from harness.app.served import ServedModel
from harness.config.embedded import EMBEDDED
from harness.config.published.checkpoints import published_checkpoints
from harness.config.tree import DTYPES
from harness.errors import UserError, require_choice, require_positive, unknown_choice
from harness.records.jsonl import write_atomic
from harness.report.analysis.paired import Measured, Outcomes, Pair, pairs_of
from harness.report.chapters.paired import evaluations_table, pair_points, pairs_table
from harness.report.chapters.table import Table
from harness.report.labels import numbered
from harness.task.base import Task

if TYPE_CHECKING:
    from harness.models.diffusion_lm import DiffusionLM
    from harness.records.schema import EvalRecord

TEXT_FILE, POINTS_FILE = "comparison.md", "comparison.csv"
ALIKE = {
    "data": "Name one source for all with --data.",
    "decoding": "Set it for all with --set, a completion length with --length.",
    "dtype": "Name one for all with --dtype.",
    "items_sha256": "Compare checkpoints that are shown the same prompts.",
}
"""What must be the same for all checkpoints, and how to make it so."""


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """Settings at which the noise of the machine is measured, each a single change from the evaluation that counts.

    batch_sizes: by default 1, or 8 where 1 is the evaluation's own. Its own values are left out. out: folder for these
    evaluations, None for none: apart from those that count, in whose place the report would put them.
    """

    batch_sizes: Sequence[int] = ()
    dtypes: Sequence[str] = ("float32", "bfloat16")
    out: Path | None = None

    def check(self) -> None:
        """Raises UserError for values outside their range."""
        for batch_size in self.batch_sizes:
            require_positive("noise", batch_size=batch_size)
        for dtype in self.dtypes:
            require_choice("noise.dtype", dtype, DTYPES)

    def changes(self, record: EvalRecord) -> list[dict[str, Any]]:
        """What differs from the evaluation of `record` in each setting. Raises UserError where nothing does."""
        batch_sizes = self.batch_sizes or ((8,) if record.batch_size == 1 else (1,))
        found: list[dict[str, Any]] = [
            *({"batch_size": size} for size in dict.fromkeys(batch_sizes) if size != record.batch_size),
            *({"dtype": dtype} for dtype in dict.fromkeys(self.dtypes) if dtype != record.dtype),
        ]
        if not found:
            raise UserError(
                f"Noise needs a batch size other than {record.batch_size} or a dtype other than {record.dtype}, the "
                "evaluation's own."
            )
        return found


@dataclass(frozen=True, kw_only=True)
class ComparisonRequest:
    """An evaluation, and the checkpoints that its model is compared with under the same protocol.

    evaluation: its model is the first checkpoint; everything else holds for all. against: the others: models as in
    EvaluationRequest, and published checkpoints by their names, `egspo-sa/sudoku`, or `egspo-sa` for that of each task.
    all_pairs: pairs without the first too. noise: None where it is not measured.
    """

    evaluation: EvaluationRequest
    against: Sequence[str | Path | DiffusionLM]
    all_pairs: bool = False
    noise: NoiseSettings | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """measured: every checkpoint on every task and length. pairs: their differences, one family of tests."""

    measured: tuple[Measured, ...]
    pairs: tuple[Pair, ...]

    @property
    def tables(self) -> tuple[Table, Table]:
        """Evaluations and differences."""
        return evaluations_table(self.measured), pairs_table(self.pairs)

    def write(self, out: Path) -> None:
        """Writes comparison.md, both tables, and comparison.csv, a line per pair."""
        from harness.report.formats.csv import points_csv
        from harness.report.formats.markdown import table_markdown

        out.mkdir(parents=True, exist_ok=True)
        sections = [f"## {table.title}\n\n{table_markdown(table)}" for table in self.tables]
        write_atomic(out / TEXT_FILE, "\n".join(["# Comparison of checkpoints\n", *sections]))
        write_atomic(out / POINTS_FILE, points_csv(pair_points(self.pairs)))


def compare(
    request: ComparisonRequest,
    *,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
    on_warning: Callable[[str], None] = warnings.warn,
) -> Comparison:
    """Evaluates the checkpoints, one after the other, and compares them item by item.

    on_progress is told (items done, items in all, what is being evaluated), on_warning what looks wrong about a model.
    Raises UserError for anything wrong with the request, before a model is loaded where that can be known, and for a
    checkpoint whose items, prompts, decoding or dtype are not those of the first.
    """
    checkpoints, protocol = _checkpoints(request), _Protocol()
    begun = [
        evaluate_all(
            one.request,
            before=protocol.check_of(one.label),
            on_progress=_noted(on_progress, one.title),
            on_warning=on_warning,
        )
        for one in checkpoints
    ]
    measured: list[Measured] = []
    for checkpoint, evaluations in zip(checkpoints, begun, strict=True):
        settings = [list(evaluations)]
        if request.noise:
            settings += _at_other_settings(checkpoint, settings[0][0].record, request.noise, on_progress)
        measured += [_measured(checkpoint.label, own) for own in zip(*settings, strict=True)]
    return Comparison(measured=tuple(measured), pairs=pairs_of(measured, against_first=not request.all_pairs))


def _at_other_settings(
    checkpoint: _Checkpoint, record: EvalRecord, noise: NoiseSettings, on_progress: Callable[[int, int, str], None]
) -> Iterator[list[Evaluated]]:
    """The evaluations of a checkpoint at each setting of the noise. record: of the one that counts."""
    for changes in noise.changes(record):
        noted = _noted(on_progress, f"{checkpoint.title}, {_text(changes)}")
        changed = replace(checkpoint.request, out=noise.out, **changes)
        yield list(evaluate_all(changed, on_progress=noted, on_warning=_already_said))


def resolve(model: str | Path | DiffusionLM) -> dict[str, Any]:
    """What a checkpoint is in an EvaluationRequest: a published one by its name or its method's, else a model. A folder
    comes before a published checkpoint of the same name. Raises UserError for a name that can be neither."""
    if isinstance(model, str) and not os.path.isdir(model):
        published = {one.name.partition("/")[0] for one in published_checkpoints()}
        if model.partition("/")[0] in published:
            return {"checkpoint": model}
        if model not in EMBEDDED and "/" not in model:
            fix = "Any other model is named by its folder or hub id."
            raise unknown_choice("checkpoint", model, [*EMBEDDED, *published], fix=fix)
    return {"model": model, "checkpoint": ""}


class _Protocol:
    """What the first checkpoint was evaluated on and how; the others must be evaluated alike."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, int], tuple[str, Mapping[str, Any]]] = {}

    def check_of(self, label: str) -> Callable[[str, Mapping[str, Any]], None]:
        """What is to be told of a checkpoint's evaluations in their order. It raises UserError for one that is not
        like the first checkpoint's."""
        seen: Counter[str] = Counter()

        def check(task: str, values: Mapping[str, Any]) -> None:
            first, expected = self._first.setdefault((task, seen[task]), (label, values))
            seen[task] += 1
            for name, fix in ALIKE.items():
                if values[name] != expected[name]:
                    found = _difference(name, expected[name], values[name])
                    raise UserError(f"'{first}' and '{label}' are not evaluated alike on {task}: {found}. {fix}")

        return check


def _difference(name: str, first: Any, second: Any) -> str:
    if name == "items_sha256":
        return "their prompts differ, in the items or in the chat template around them"
    if isinstance(first, Mapping):
        name = next(key for key in first if first[key] != second[key])
        first, second = first[name], second[name]
    return f"{name} is {first} for one and {second} for the other"


def _measured(label: str, own: Sequence[Evaluated]) -> Measured:
    outcomes = tuple(Outcomes.of(one.record, one.samples) for one in own)
    return Measured(label=label, task=own[0].task, evaluations=outcomes)


def _text(changes: Mapping[str, Any]) -> str:
    """`batch size 1`."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in changes.items())


def _noted(on_progress: Callable[[int, int, str], None], title: str) -> Callable[[int, int, str], None]:
    return lambda done, total, note: on_progress(done, total, f"{title}: {note}")


def _already_said(warning: str) -> None:
    """Takes what was said of the model when it was loaded first."""


@dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    """label: its name in tables. title: the same with its number, for progress."""

    label: str
    title: str
    request: EvaluationRequest


def _checkpoints(request: ComparisonRequest) -> list[_Checkpoint]:
    """Raises UserError for what can be known before a model is loaded."""
    evaluation = request.evaluation
    models = [evaluation.checkpoint or evaluation.model, *request.against]
    _check_names([str(model) for model in models if isinstance(model, str | Path)], len(models))
    if len(evaluation.seeds) > 1 or evaluation.checkpoints != "last":
        raise UserError(
            "A comparison takes one seed, and one checkpoint of a run: its last, or one named by its folder."
        )
    if request.noise and evaluation.server:
        raise UserError("--noise changes batch size and dtype, which a server does not let one choose; leave it out.")
    if request.noise:
        request.noise.check()
    evaluation = replace(evaluation, agreement=False)
    others = replace(evaluation, adapter="", adapter_subfolder="")
    requests = [_request(evaluation, models[0]), *(_request(others, model) for model in request.against)]
    named = [[model_of(one, _name(task)) for task in one.tasks] for one in requests]
    for found in itertools.chain(*named):
        if isinstance(found, NamedModel):
            found.require()
    labels = numbered(map(_label, requests, models, named))
    return [
        _Checkpoint(label=label, title=f"{label} ({number} of {len(labels)})", request=one)
        for number, (label, one) in enumerate(zip(labels, requests, strict=True), 1)
    ]


def _check_names(names: Sequence[str], models: int) -> None:
    if models < 2:
        raise UserError("A comparison needs two checkpoints or more; name another one with --against.")
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"'{name}' is named {count} times; name each checkpoint once.")


def _request(evaluation: EvaluationRequest, model: str | Path | DiffusionLM) -> EvaluationRequest:
    """The evaluation of a checkpoint, on each task once."""
    tasks = tuple({_name(task): task for task in evaluation.tasks}.values())
    named = {"model": model} if evaluation.server else resolve(model)
    return replace(evaluation, tasks=tasks, **named)


def _name(task: str | Task) -> str:
    return task.name if isinstance(task, Task) else registry.canonical_name("task", task)


def _label(
    request: EvaluationRequest,
    model: str | Path | DiffusionLM,
    found: Sequence[NamedModel | LoadedModel | ServedModel],
) -> str:
    """A checkpoint's name as it was given, or that of its results where it is a folder or has an adapter. found: what
    it is for each task."""
    first = found[0]
    if isinstance(first, NamedModel) and first.place is not None:
        return f"{first.label}/{first.place.name}"
    return str(model) if isinstance(model, str) and not os.path.isdir(model) and not request.adapter else first.label

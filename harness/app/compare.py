"""Checkpoints compared: all evaluated under one protocol on the same items, their differences beside the noise of the
machine.

The evaluations are those of `harness eval`: recorded where it records them, and not done again where they are there.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.app.evaluate import EvaluationRequest, evaluate_all
from harness.app.evaluations import Evaluated
from harness.app.models import named_model
from harness.config.tree import DTYPES
from harness.errors import UserError, require_choice, require_positive
from harness.records.jsonl import write_atomic
from harness.report.analysis.groups import group_by
from harness.report.analysis.paired import Measured, Outcomes, Pair, pairs_of
from harness.report.chapters.paired import evaluations_table, pair_points, pairs_table
from harness.report.chapters.table import Table
from harness.report.formats.csv import points_csv
from harness.report.formats.markdown import table_markdown
from harness.report.labels import numbered

if TYPE_CHECKING:
    from harness.models.diffusion_lm import DiffusionLM
    from harness.records.schema import EvalRecord

Model = "str | Path | DiffusionLM"
TEXT_FILE, POINTS_FILE = "comparison.md", "comparison.csv"


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """Settings at which the noise of the machine is measured, each a single change from the evaluation that counts.

    batch_sizes: by default 1, or 8 where that is the evaluation's own. The evaluation's own values are left out.
    """

    batch_sizes: Sequence[int] = ()
    dtypes: Sequence[str] = ("float32", "bfloat16")

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
            *({"batch_size": size} for size in batch_sizes if size != record.batch_size),
            *({"dtype": dtype} for dtype in self.dtypes if dtype != record.dtype),
        ]
        if not found:
            raise UserError(
                f"Noise needs a batch size other than {record.batch_size} or a dtype other than {record.dtype}, those "
                "of the evaluation itself."
            )
        return found


@dataclass(frozen=True, kw_only=True)
class ComparisonRequest:
    """One evaluation, and the checkpoints that it is compared with under the same protocol.

    evaluation: its model is the first checkpoint; everything else is the same for all. against: the others, each named
    as in EvaluationRequest. all_pairs: also those without the first. noise: None where it is not measured.
    """

    evaluation: EvaluationRequest
    against: Sequence[str | Path | DiffusionLM]
    all_pairs: bool = False
    noise: NoiseSettings | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """measured: every checkpoint on every task and length. pairs: their differences, a single family of tests."""

    measured: tuple[Measured, ...]
    pairs: tuple[Pair, ...]

    @property
    def tables(self) -> tuple[Table, Table]:
        """Evaluations and differences."""
        return evaluations_table(self.measured), pairs_table(self.pairs)

    def write(self, out: Path) -> None:
        """Writes comparison.md, the tables, and comparison.csv, a line per pair."""
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
    checkpoint whose items, prompts, decoding or dtype differ from those of the first.
    """
    checkpoints = _checkpoints(request)
    protocol = _Protocol()
    begun = [
        [
            evaluate_all(
                one,
                before=protocol.check_of(checkpoint.label),
                on_progress=_noted(on_progress, checkpoint.title),
                on_warning=on_warning,
            )
            for one in checkpoint.requests
        ]
        for checkpoint in checkpoints
    ]
    measured: list[Measured] = []
    for checkpoint, evaluations in zip(checkpoints, begun, strict=True):
        settings = [list(chain(*evaluations))]
        for changes in request.noise.changes(settings[0][0].record) if request.noise else ():
            noted = _noted(on_progress, f"{checkpoint.title}, {_text(changes)}")
            changed = (evaluate_all(replace(one, **changes), on_progress=noted) for one in checkpoint.requests)
            settings.append(list(chain.from_iterable(changed)))
        measured += [_measured(checkpoint.label, own) for own in zip(*settings, strict=True)]
    return Comparison(measured=tuple(measured), pairs=pairs_of(measured, against_first=not request.all_pairs))


def resolve(name: str | Path, task: str) -> dict[str, Any]:
    """What the name of a checkpoint stands for on a task, as options of EvaluationRequest."""
    return {"model": name}


def _measured(label: str, own: Sequence[Evaluated]) -> Measured:
    outcomes = tuple(Outcomes.of(one.record, one.samples) for one in own)
    return Measured(label=label, task=own[0].task, evaluations=outcomes)


def _text(changes: Mapping[str, Any]) -> str:
    """`batch size 1`."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in changes.items())


def _noted(on_progress: Callable[[int, int, str], None], title: str) -> Callable[[int, int, str], None]:
    return lambda done, total, note: on_progress(done, total, f"{title}: {note}")


@dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    """label: its name in tables. title: the same with its number. requests: one per set of weights."""

    label: str
    title: str
    requests: Sequence[EvaluationRequest]


def _checkpoints(request: ComparisonRequest) -> list[_Checkpoint]:
    """Raises UserError for what can be known before a model is loaded."""
    evaluation = request.evaluation
    models = [evaluation.model, *request.against]
    if len(models) < 2:
        raise UserError("A comparison needs two checkpoints or more; name another one with --against.")
    names = Counter(str(model) for model in models if isinstance(model, str | Path))
    for name, count in names.items():
        if count > 1:
            raise UserError(f"'{name}' is named {count} times; name each checkpoint once.")
    if len(evaluation.seeds) > 1 or evaluation.checkpoints != "last":
        raise UserError("A comparison takes one seed, and one checkpoint of a run: its last, or one named by its folder.")
    if request.noise:
        request.noise.check()
    plain = replace(evaluation, adapter="", adapter_subfolder="")
    requests = [_requests(evaluation), *(_requests(replace(plain, model=model)) for model in request.against)]
    labels = numbered(_label(own[0]) for own in requests)
    return [
        _Checkpoint(label=label, title=f"{label} ({number} of {len(labels)})", requests=own)
        for number, (label, own) in enumerate(zip(labels, requests, strict=True), 1)
    ]


def _requests(evaluation: EvaluationRequest) -> list[EvaluationRequest]:
    """The evaluation on all its tasks, one for each set of weights that its model stands for."""
    tasks = list(dict.fromkeys(evaluation.tasks))
    if not isinstance(evaluation.model, str | Path):
        return [replace(evaluation, tasks=tasks)]
    model, found = evaluation.model, []
    for options, own in group_by(tasks, lambda task: tuple(resolve(model, _name(task)).items())).items():
        request = replace(evaluation, tasks=own, **dict(options))
        named(request, _name(own[0])).require()
        found.append(request)
    return found

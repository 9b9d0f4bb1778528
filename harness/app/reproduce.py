"""A paper's tables and figures again: with the tiny model, from the authors' published weights, or by training.

<out>/runs, <out>/evals    runs, and evaluations apart from them; what is there is not done again
<out>/report               the report of all of them
<out>/reproduction.md, .html, and their figures    every table and figure of the paper, ours beside what it prints
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import registry
from harness.app.evaluate import EvaluationRequest, evaluate_all
from harness.app.plan import PlannedRun, RunRequest, plan
from harness.app.workers import run_cells
from harness.config.decoding import Decoding
from harness.config.published.protocols import evaluation_protocol
from harness.config.published.reproductions import TABLE, Artefact, Reproduction, load_reproduction
from harness.config.recipes import evaluation_decoding
from harness.config.resolve import COMMAND_LINE
from harness.errors import UserError, from_here, require_choice
from harness.records.jsonl import read_lines
from harness.records.run_folder import EVAL_FILE
from harness.records.schema import EvalRecord
from harness.report.chapters.choice import Choice
from harness.report.chapters.reproduction import reproduction_document
from harness.report.formats.page import write_document, write_report
from harness.report.labels import listed
from harness.report.read.runs import collect

TINY, PUBLISHED, TRAINING = MODES = ("tiny", "published", "training")
LENGTHS = (128, 256, 512)
REPRODUCTION = "reproduction"


@dataclass(frozen=True, kw_only=True)
class ReproductionRequest:
    """A paper by its arXiv number, and how: with the `tiny` model, from `published` weights, by `training` large ones.

    only: names of tables and figures, all where it is empty. items: of every evaluation of published weights, 0 for
    the protocol's. data: as in `harness run`. jobs: runs at a time.
    """

    paper: str
    mode: str
    out: Path
    only: tuple[str, ...] = ()
    items: int = 0
    data: str = ""
    prompts: Path | None = None
    device: str = "auto"
    budget: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1

    def command(self, artefact: str) -> str:
        """What makes one table or figure, quoted for a shell."""
        words = ["harness", "reproduce", self.paper, "--with", self.mode, "--only", artefact, "--out", str(self.out)]
        words += [word for folder in registry.include_paths() for word in ("--include-path", from_here(folder))]
        limits = ",".join(f"{name}={limit}" for name, limit in self.budget.items())
        options = {"--items": self.items, "--data": self.data, "--prompts": self.prompts, "--budget": limits}
        return shlex.join([*words, *(word for name, value in options.items() if value for word in (name, str(value)))])


@dataclass(frozen=True, kw_only=True)
class ReproductionPlan:
    """What a request comes to. runs: all of them, planned; waiting: those to be made. evaluations: besides the runs'
    own. flops, seconds: of what is waiting, as measured on finished runs of the same method and task; None where some
    have none."""

    request: ReproductionRequest
    paper: Reproduction
    artefacts: dict[str, Artefact]
    runs: tuple[RunRequest, ...]
    waiting: tuple[RunRequest, ...]
    evaluations: tuple[EvaluationRequest, ...]
    flops: float | None
    seconds: float | None


def plan_reproduction(request: ReproductionRequest) -> ReproductionPlan:
    """Resolves and checks every run and evaluation. Raises UserError for anything wrong with the request."""
    require_choice("--with", request.mode, MODES)
    paper = load_reproduction(request.paper)
    artefacts = dict(paper.only(request.only))
    groups = dict.fromkeys(name for artefact in artefacts.values() for name in artefact.runs)
    cells = () if request.mode == PUBLISHED else tuple(_runs(request, paper, list(groups)))
    planned = [plan(cell) for cell in cells]
    waiting = tuple(cell for cell, one in zip(cells, planned, strict=True) if not one.finished)
    flops, seconds = _expected(planned)
    return ReproductionPlan(
        request=request,
        paper=paper,
        artefacts=artefacts,
        runs=cells,
        waiting=waiting,
        evaluations=tuple(_evaluations(request, paper, artefacts, planned)),
        flops=flops,
        seconds=seconds,
    )


def reproduce(
    planned: ReproductionPlan,
    *,
    on_line: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Path:
    """Makes what is missing, then writes the reproduction; returns its folder.

    on_line is told of every run and group of evaluations that ends, on_progress how far an evaluation is. Raises
    UserError where a run failed; what is finished stays, and the same request goes on.
    """
    request, failures = planned.request, []
    for number, outcome in enumerate(run_cells(planned.waiting, jobs=request.jobs), start=1):
        on_line(f"[{number}/{len(planned.waiting)}] {outcome.folder} {outcome.error or f'{outcome.seconds:.0f} s'}")
        failures += [f"{outcome.folder}: {outcome.error}"] if outcome.error else []
    if failures:
        raise UserError(f"{len(failures)} of {len(planned.runs)} runs failed, the first: {failures[0]}")
    for number, one in enumerate(planned.evaluations, start=1):
        done = list(evaluate_all(one, on_progress=on_progress, on_warning=on_line))
        on_line(f"[{number}/{len(planned.evaluations)}] {done[0].folder}, {len(done)} evaluations")
    return write_reproduction(planned)


def write_reproduction(planned: ReproductionPlan) -> Path:
    """The report of everything that is there, and the paper's tables and figures from it."""
    request, out = planned.request, planned.request.out
    folders = [path for path in (out / "runs", out / "evals") if path.is_dir()]
    found = collect(folders)
    include = tuple(map(from_here, registry.include_paths()))
    report = write_report(found, out / "report", Choice(runs=tuple(map(str, folders)), include=include))
    sources = {
        name: f"Made by {request.command(name)} from what is in {listed(list(map(str, folders)))}."
        for name in planned.artefacts
    }
    document = reproduction_document(planned.paper, planned.artefacts, found, report, mode=request.mode, made=sources)
    write_document(document, out, stem=REPRODUCTION)
    return out


def _runs(request: ReproductionRequest, paper: Reproduction, groups: Sequence[str]) -> Iterator[RunRequest]:
    large = request.mode == TRAINING
    for name in groups:
        group = paper.runs[name]
        for task, method, changes in group.cells:
            for seed in paper.seeds:
                yield RunRequest(
                    method=method,
                    task=task,
                    seed=seed,
                    model=paper.base if large else TINY,
                    data=request.data,
                    reward=group.reward,
                    overrides={
                        **({"evaluation.lengths": list(LENGTHS)} if large else {}),
                        **({"budget": request.budget} if request.budget else {}),
                        **changes,
                    },
                    runs=request.out / "runs",
                    prompts=None,
                )


def _evaluations(
    request: ReproductionRequest, paper: Reproduction, artefacts: dict[str, Artefact], planned: Sequence[PlannedRun]
) -> Iterator[EvaluationRequest]:
    """Of the tiny model every run at half and at twice the steps; of published weights all under the protocol."""
    tasks = list(dict.fromkeys(task for artefact in artefacts.values() for task in artefact.tasks))
    out = request.out / "evals"
    common: dict[str, Any] = {"data": request.data, "device": request.device, "out": out}
    if request.mode == PUBLISHED:
        common |= {"protocol": paper.protocol, "items": request.items, "prompts": request.prompts}
        for task in tasks:
            evaluation_protocol(paper.protocol, task)
            yield EvaluationRequest(model=paper.base, tasks=[task], **common)
            for method in paper.checkpoints:
                yield EvaluationRequest(model="", checkpoint=method, tasks=[task], **common)
    if request.mode == TINY and any(artefact.kind == TABLE for artefact in artefacts.values()):
        items = {one.identity.task: one.resolved.config.evaluation.items for one in planned}
        for task in tasks:
            decodings = _steps(task, own=True)
            yield EvaluationRequest(model=TINY, tasks=[task], decodings=decodings, items=items[task], **common)
        for one in planned:
            task = one.identity.task
            if task in tasks and not _overridden(one) and (steps := _steps(task)):
                yield EvaluationRequest(model=one.folder, tasks=[task], decodings=steps, items=items[task], **common)


def _overridden(planned: PlannedRun) -> bool:
    """Whether the run belongs to an ablation."""
    changed = (key for key, source in planned.resolved.provenance.items() if source == COMMAND_LINE)
    return any(key.startswith("method.") for key in changed)


def _steps(task: str, *, own: bool = False) -> list[dict[str, int]]:
    """Half and twice the number of unmasking steps of the task's protocol, where a completion can have as many."""
    decoding: Decoding = evaluation_decoding(task, tiny=True)
    blocks = decoding.completion_length // decoding.block_length
    wanted = [decoding.num_steps // 2, *([decoding.num_steps] if own else []), decoding.num_steps * 2]
    return [{"num_steps": steps} for steps in wanted if blocks <= steps <= decoding.completion_length]


def _expected(planned: Sequence[PlannedRun]) -> tuple[float | None, float | None]:
    """FLOPs and seconds of the runs that are not finished, from finished ones of the same method and task."""
    measured: dict[tuple[str, str], EvalRecord] = {}
    for one in planned:
        if one.finished:
            lasts = [line for line in read_lines(one.folder / EVAL_FILE) if line.get("checkpoint") == "last"]
            measured[one.identity.method, one.identity.task] = EvalRecord.from_json(lasts[0])
    flops = seconds = 0.0
    for one in planned:
        if one.finished:
            continue
        known = measured.get((one.identity.method, one.identity.task))
        if known is None:
            return None, None
        flops, seconds = flops + known.flops_total, seconds + known.seconds
    return flops, seconds

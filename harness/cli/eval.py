"""harness eval: evaluate a model, or checkpoints of a run, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.app import documents
from harness.app.evaluate import EvaluationRequest, evaluate_all
from harness.cli.options.evaluating import evaluates
from harness.cli.options.lists import names, whole_numbers
from harness.cli.options.shared import Adapter, AdapterSubfolder, Json
from harness.cli.terminal.document import clear_output, show_document
from harness.cli.terminal.feedback import echo, progress_bar, say, warn
from harness.distributed.processes import is_main
from harness.records.run_folder import DEFAULT_EVALUATIONS

if TYPE_CHECKING:
    from harness.app.evaluations import Evaluated
    from harness.records.schema import EvalRecord

Model = Annotated[
    str,
    typer.Option(
        help="tiny, a folder, a hub id, a run (its last checkpoint), one of its checkpoints, or its name on --server."
    ),
]
AGREEMENT = "With a cache or a rule as threshold: evaluate exactly too, and tell what it changes."
UNKNOWN = "unknown"


@evaluates
def evaluate(
    task: Annotated[str, typer.Option(help="Task, or several: sudoku,countdown.")],
    named: Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="Instead of --model.")] = "",
    model: Model = "tiny",
    checkpoint: Annotated[str, typer.Option(help="A published one instead: egspo-sa/sudoku, or egspo-sa.")] = "",
    seed: Annotated[str, typer.Option(help="Seed of draws, or several: 0,1,2.")] = "0",
    checkpoints: Annotated[str, typer.Option(help="Of a run: last, or all that it kept.")] = "last",
    adapter: Adapter = "",
    adapter_subfolder: AdapterSubfolder = "",
    out: Annotated[Path, typer.Option(help="Folder for eval.jsonl and the samples.")] = DEFAULT_EVALUATIONS,
    agreement: Annotated[bool, typer.Option("--agreement/--no-agreement", help=AGREEMENT)] = True,
    as_json: Json = False,
    *,
    shared: dict[str, Any],
) -> None:
    """Evaluate a model on tasks: harness eval RUN_FOLDER --task sudoku. Lists make a grid.

    Every evaluation is a line of eval.jsonl, for harness report; one that is there already is skipped.
    """
    request = EvaluationRequest(
        model=named or model,
        tasks=names(task),
        checkpoint=checkpoint,
        seeds=whole_numbers("--seed", seed),
        checkpoints=checkpoints,
        adapter=adapter,
        adapter_subfolder=adapter_subfolder,
        out=out,
        agreement=agreement,
        **shared,
    )
    with clear_output(as_json), progress_bar("eval") as on_progress:
        results = list(evaluate_all(request, on_progress=on_progress, on_warning=warn))
    if as_json:
        show_document([documents.evaluation(done) for done in results])
    else:
        _show(results)


def _show(results: Sequence[Evaluated]) -> None:
    from harness.report.analysis.statistics import items_interval

    for done in results if is_main() else ():
        record = done.record
        if len(results) > 1:
            drawn = f", seed {record.seed}" if record.seed else ""
            echo(f"{_name(done)}, {record.decoding['completion_length']} tokens{drawn}:")
        for name, totals in record.metrics.items():
            interval = items_interval(totals)
            ceiling = f", perfect solver {record.ceiling[name]:.2%}" if name in record.ceiling else ""
            bounds = f"[{interval.low:.2%}, {interval.high:.2%}]" if interval else "[no items]"
            echo(f"{name:>14} {totals.value:7.2%}  {bounds}  n = {totals.n}{ceiling}")
        _show_agreement(record)
        if record.protocol:
            say(f"Protocol {record.protocol}; prompts: {record.prompts['published']}")
        known = "; it was there already (--fresh does it again)" if done.known else ""
        say(f"{_cost(record)}; in {done.folder}{known}")


def _cost(record: EvalRecord) -> str:
    """What it took, as far as a server tells."""
    nfe = UNKNOWN if record.nfe is None else f"{record.nfe:.1f}"
    rate = UNKNOWN if record.tokens_per_second is None else f"{record.tokens_per_second:,.0f}"
    return f"NFE {nfe}, {rate} tokens/s, {record.eval_seconds:.1f} s"


def _show_agreement(record: EvalRecord) -> None:
    """What the decoding changes, where that was recorded."""
    found = record.agreement
    if found is None:
        return
    from harness.report.chapters.agreement import difference_text, gap_text

    echo(f"{'as exact':>14} {found.tokens:7.2%} of tokens, {found.completions:.2%} of completions")
    echo(f"{'difference':>14} {difference_text(found)}; exact {found.exact_value:.2%}")
    echo(f"{'log-prob gap':>14} {gap_text(found)}")
    echo(f"{'cost':>14} {found.cost:7.2f} times the FLOPs of exact decoding")


def _name(done: Evaluated) -> str:
    """Task and checkpoint, as `sudoku, update 48`."""
    assert done.folder is not None, "the command line always writes"
    at = f", update {done.record.update}" if done.record.update else ""
    return f"{done.folder.parent.name}{at}"

"""harness compare: checkpoints under one protocol, their differences beside the noise of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.app import documents
from harness.app.compare import POINTS_FILE, TEXT_FILE, Comparison, ComparisonRequest, NoiseSettings
from harness.app.compare import compare as compare_checkpoints
from harness.app.evaluate import EvaluationRequest
from harness.cli.options.evaluating import evaluates
from harness.cli.options.lists import names, whole_numbers
from harness.cli.options.shared import Json
from harness.cli.terminal.document import clear_output, show_document
from harness.cli.terminal.feedback import progress_bar, say, warn
from harness.cli.terminal.tables import show_report_table
from harness.distributed.processes import is_main
from harness.records.run_folder import DEFAULT_COMPARISON, DEFAULT_EVALUATIONS

AGAINST = "Published checkpoints (egspo-sa, espo/sudoku), models, folders or runs, separated by commas."
MINE = "Your run or model; each of the others is compared with it, and without it all with each other."
NOISE_FOLDER = "noise"
"""Below --out: evaluations at other settings, which a report must not take for the ones that count."""
NOISE_BATCH_SIZES = "Batch sizes for --noise, which this implies; by default 1, or 8 beside --batch-size 1."
NOISE_DTYPES = "Dtypes for --noise, which this implies; by default float32,bfloat16."


@evaluates
def compare(
    task: Annotated[str, typer.Option(help="Task, or several: sudoku,countdown.")],
    against: Annotated[str, typer.Option(help=AGAINST)],
    mine: Annotated[str, typer.Option(help=MINE)] = "",
    noise: Annotated[bool, typer.Option("--noise", help="Measure what other batch sizes and dtypes change.")] = False,
    noise_batch_sizes: Annotated[str, typer.Option(help=NOISE_BATCH_SIZES)] = "",
    noise_dtypes: Annotated[str, typer.Option(help=NOISE_DTYPES)] = "",
    seed: Annotated[int, typer.Option(help="Seed of draws.")] = 0,
    evaluations: Annotated[Path, typer.Option(help="Folder of evaluations, as of harness eval.")] = DEFAULT_EVALUATIONS,
    out: Annotated[Path, typer.Option(help="Folder for the tables and what --noise evaluates.")] = DEFAULT_COMPARISON,
    as_json: Json = False,
    *,
    shared: dict[str, Any],
) -> None:
    """Compare checkpoints item by item: harness compare --task sudoku --against tiny --mine RUN_FOLDER.

    All are evaluated under one protocol. What harness eval did already is not done again.
    """
    first, *others = [*([mine] if mine else []), *names(against)]
    evaluation = EvaluationRequest(model=first, tasks=names(task), seeds=[seed], out=evaluations, **shared)
    measured = _noise(noise, noise_batch_sizes, noise_dtypes, out / NOISE_FOLDER)
    request = ComparisonRequest(evaluation=evaluation, against=others, all_pairs=not mine, noise=measured)
    with clear_output(as_json), progress_bar("compare") as on_progress:
        found = compare_checkpoints(request, on_progress=on_progress, on_warning=warn)
    if not is_main():
        return
    found.write(out)
    if as_json:
        files = [str(out / name) for name in (TEXT_FILE, POINTS_FILE)]
        show_document({**documents.comparison(found), "files": files, "evaluations_in": str(evaluations)})
    else:
        _show(found, f"In {out}: {TEXT_FILE}, {POINTS_FILE}; the evaluations in {evaluations}")


def _show(found: Comparison, places: str) -> None:
    for table in found.tables:
        show_report_table(table)
    say(places)


def _noise(wanted: bool, batch_sizes: str, dtypes: str, out: Path) -> NoiseSettings | None:
    chosen: dict[str, Any] = {}
    if batch_sizes:
        chosen["batch_sizes"] = whole_numbers("--noise-batch-sizes", batch_sizes)
    if dtypes:
        chosen["dtypes"] = names(dtypes)
    return NoiseSettings(out=out, **chosen) if wanted or chosen else None

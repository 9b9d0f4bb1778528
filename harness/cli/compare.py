"""harness compare: checkpoints under one protocol, their differences beside the noise of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import registry
from harness.cli.feedback import progress_bar, warn
from harness.cli.lists import names, whole_numbers
from harness.cli.options import (
    BatchSize,
    Data,
    Device,
    Dtype,
    FewShot,
    Fresh,
    IncludePath,
    Items,
    Lengths,
    Prompts,
    Protocol,
    Settings,
    Split,
    TrainData,
    UnsafeLocalExec,
)
from harness.cli.tables import show_report_table
from harness.config.resolve import parse_settings
from harness.distributed.processes import is_main
from harness.records.run_folder import DEFAULT_COMPARISON, DEFAULT_EVALUATIONS

if TYPE_CHECKING:
    from harness.app.compare import NoiseSettings

AGAINST = "Published checkpoints (egspo-sa, espo/sudoku), models, folders or runs, separated by commas."
MINE = "Your run or model; each of the others is compared with it, and without it all with each other."
NOISE_FOLDER = "noise"
"""Below --out: evaluations at other settings, which a report must not take for the ones that count."""
NOISE_BATCH_SIZES = "Batch sizes for --noise, which this implies; by default 1, or 8 beside --batch-size 1."
NOISE_DTYPES = "Dtypes for --noise, which this implies; by default float32,bfloat16."


def compare(
    task: Annotated[str, typer.Option(help="Task, or several: sudoku,countdown.")],
    against: Annotated[str, typer.Option(help=AGAINST)],
    mine: Annotated[str, typer.Option(help=MINE)] = "",
    noise: Annotated[bool, typer.Option("--noise", help="Measure what other batch sizes and dtypes change.")] = False,
    noise_batch_sizes: Annotated[str, typer.Option(help=NOISE_BATCH_SIZES)] = "",
    noise_dtypes: Annotated[str, typer.Option(help=NOISE_DTYPES)] = "",
    protocol: Protocol = "",
    length: Lengths = "",
    seed: Annotated[int, typer.Option(help="Seed of draws.")] = 0,
    data: Data = "",
    train_data: TrainData = "",
    prompts: Prompts = None,
    few_shot: FewShot = 0,
    items: Items = 0,
    split: Split = "test",
    batch_size: BatchSize = 64,
    settings: Settings = None,
    dtype: Dtype = "",
    device: Device = "auto",
    include_path: IncludePath = None,
    unsafe_local_exec: UnsafeLocalExec = False,
    evaluations: Annotated[Path, typer.Option(help="Folder of evaluations, as of harness eval.")] = DEFAULT_EVALUATIONS,
    out: Annotated[
        Path, typer.Option(help="Folder for the tables, and for what --noise evaluates.")
    ] = DEFAULT_COMPARISON,
    fresh: Fresh = False,
) -> None:
    """Compare checkpoints item by item: harness compare --task sudoku --against tiny --mine RUN_FOLDER.

    All are evaluated under one protocol, by paired exact tests adjusted for their number. With --noise every difference
    stands beside what batch size and dtype change on this machine. What harness eval did already is not done again.
    """
    from harness.app.compare import POINTS_FILE, TEXT_FILE, ComparisonRequest
    from harness.app.compare import compare as compare_checkpoints
    from harness.app.evaluate import EvaluationRequest

    for folder in include_path or []:
        registry.add_include_path(folder)
    first, *others = [*([mine] if mine else []), *names(against)]
    evaluation = EvaluationRequest(
        model=first,
        tasks=names(task),
        protocol=protocol,
        data=data,
        train_data=train_data,
        prompts=prompts,
        few_shot=few_shot,
        items=items,
        split=split,
        batch_size=batch_size,
        decodings=[parse_settings(settings or [])],
        lengths=whole_numbers("--length", length) if length else (),
        seeds=[seed],
        dtype=dtype,
        device=device,
        unsafe_local_exec=unsafe_local_exec,
        out=evaluations,
        fresh=fresh,
    )
    measured = _noise(noise, noise_batch_sizes, noise_dtypes, out / NOISE_FOLDER)
    request = ComparisonRequest(evaluation=evaluation, against=others, all_pairs=not mine, noise=measured)
    with progress_bar("compare") as on_progress:
        found = compare_checkpoints(request, on_progress=on_progress, on_warning=warn)
    if is_main():
        found.write(out)
        for table in found.tables:
            show_report_table(table)
        typer.echo(f"In {out}: {TEXT_FILE}, {POINTS_FILE}; the evaluations in {evaluations}")


def _noise(wanted: bool, batch_sizes: str, dtypes: str, out: Path) -> NoiseSettings | None:
    from harness.app.compare import NoiseSettings

    chosen: dict[str, Any] = {}
    if batch_sizes:
        chosen["batch_sizes"] = whole_numbers("--noise-batch-sizes", batch_sizes)
    if dtypes:
        chosen["dtypes"] = names(dtypes)
    return NoiseSettings(out=out, **chosen) if wanted or chosen else None

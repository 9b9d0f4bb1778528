"""harness bench: what this machine makes of a shape, beside what cannot be avoided."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.app.bench import USUAL, BenchRequest, PartResult, bench, describe
from harness.cli.options.shared import Device, PackWeights
from harness.cli.terminal.feedback import say
from harness.records.jsonl import write_atomic

if TYPE_CHECKING:
    from harness.bench.growth import Growth
    from harness.bench.timing import Measurement

TEXTS = ("What", "Floor", "Rollout", "Twice the")
"""Columns that are no numbers."""


def measure(
    part: Annotated[
        str, typer.Option(help="rollout, update, grading, startup, growth, or several with commas between them.")
    ] = ",".join(USUAL),
    shape: Annotated[
        str, typer.Option(help="Sizes of the random model: c256, c512, v32k, v126k, llada-8b ...")
    ] = "c256",
    device: Device = "auto",
    batch: Annotated[int, typer.Option(min=0, help="Rows; 0 is the shape's own.")] = 0,
    blocks: Annotated[int, typer.Option(min=0, help="Blocks to generate, the others being given; 0 is all.")] = 0,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each, in turn; medians are shown.")] = 3,
    temperature: Annotated[float, typer.Option(min=0, help="Of rollouts; at 0 other code has the same tokens.")] = 0.9,
    pack_weights: PackWeights = False,
    beside: Annotated[Path | None, typer.Option(help="A clone of Fast-dLLM or LLaDA to run beside.")] = None,
    beside_python: Annotated[str, typer.Option(help="The Python that runs it, with the packages it asks for.")] = "",
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Time rollouts, updates, grading and start-up beside their floors, on a model of random weights.

    The floor of a rollout or an update is the forward (and backward) passes that it cannot do without, with nothing
    sampled and no loss; on a CPU their seconds are the processor's. Other code runs in a process of its own, on the
    same weights and prompts.
    """
    request = BenchRequest(
        parts=tuple(part.split(",")),
        shape=shape,
        device=device,
        batch=batch,
        blocks=blocks,
        runs=runs,
        temperature=temperature,
        pack_weights=pack_weights,
        beside=beside,
        beside_python=beside_python,
    )
    request.check()
    record: dict[str, Any] = {**describe(request), "parts": {}}
    say(f"{record['device']}, shape {shape}: matrix products at {record['matmul FLOP/s'] / 1e12:.3g} TFLOP/s\n")
    for result in bench(request):
        show_part(result)
        record["parts"][result.part] = [{**asdict(row), "ratio": row.ratio} for row in result.rows]
        if out is not None:
            write_atomic(out, json.dumps(record, indent=2) + "\n")


def show_part(result: PartResult) -> None:
    """Prints the table of a part."""
    from harness.cli.terminal.tables import show_table

    lines = [_cells(row) for row in result.rows]
    used = [column for column in lines[0] if any(line[column] for line in lines)]
    cells = [[line[column] for column in used] for line in lines]
    show_table(result.part, used, cells, numeric=[column not in TEXTS for column in used])


def _cells(row: Measurement | Growth) -> dict[str, str]:
    """Column to cell, empty where there is nothing to say."""
    from harness.bench.growth import Growth

    if isinstance(row, Growth):
        return {
            "Rollout": row.kind,
            "Twice the": row.doubled,
            "Time": f"{row.seconds:.2f}",
            "Account": f"{row.flops:.2f}",
            "Time / account": f"{row.ratio:.2f}",
            "Account / torch's counter": f"{row.counted:.4f}",
        }
    return {
        "What": row.name,
        "Seconds": f"{row.typical:.3g}",
        "Per second": f"{row.amount / row.typical:,.3g} {row.unit}",
        "Passes": str(row.passes or ""),
        "ms/pass": f"{row.typical / row.passes * 1e3:.1f}" if row.passes else "",
        "Floor": row.floor,
        "Floor, s": f"{row.typical_floor:.3g}",
        "Floor / this": f"{row.ratio:.2f}",
        "Same tokens": "" if row.agreement is None else f"{row.agreement:.1%}",
    }

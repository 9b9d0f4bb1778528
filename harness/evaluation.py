"""Evaluation of a model on a fixed list of examples: greedy or sampled completions, scored, with their cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from harness.config import EvaluationConfig
from harness.data import sha256_of_text
from harness.diffusion.sampler import generate
from harness.models.adapter import DiffusionLM
from harness.records import MetricTotals
from harness.rollout import ALONE, Rollout, Shard
from harness.task import Example, Score, Task


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """samples: one dictionary per item, in the order of the examples. nfe: forward passes per completion."""

    samples: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, MetricTotals]
    ceiling: Mapping[str, float]
    items_sha256: str
    nfe: float
    flops: float
    seconds: float
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One item's completion. tokens: before the first end token. steps: taken, one forward pass each. seconds: of one
    process."""

    prompt: str
    text: str
    tokens: int
    steps: int
    seconds: float
    flops: float


def evaluate(
    model: DiffusionLM,
    task: Task,
    examples: Sequence[Example],
    config: EvaluationConfig,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Completes every example once and scores it. on_progress is told (items done, items in all)."""
    return judge(task, examples, complete(model, task, examples, config, on_progress=on_progress))


def complete(
    model: DiffusionLM,
    task: Task,
    examples: Sequence[Example],
    config: EvaluationConfig,
    *,
    shard: Shard = ALONE,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Completion]:
    """One completion of every example, in the order of the examples; several processes share the work.

    Batches are made of prompts of similar length; the draws of an item depend on its id alone, so neither the batch
    size, nor the order, nor the number of processes changes a completion.
    """
    prompts = [model.prompt_text(task, example) for example in examples]
    order = sorted(range(len(examples)), key=lambda index: len(prompts[index]))[shard.index :: shard.count]
    done: list[tuple[int, Completion]] = []
    for start in range(0, len(order), config.batch_size):
        batch = order[start : start + config.batch_size]
        seeds = torch.tensor([item_seed(examples[index].id) for index in batch])
        rollout = generate(model, model.encode_prompts([prompts[index] for index in batch]), config.decoding, seeds)
        done += zip(batch, _completions(model, [prompts[index] for index in batch], rollout), strict=True)
        on_progress(len(done) * shard.count, len(examples))
    return [completion for _, completion in sorted(shard.gather_items(done), key=lambda pair: pair[0])]


def judge(task: Task, examples: Sequence[Example], completions: Sequence[Completion]) -> Evaluation:
    """Scores completion i against example i and adds up what all of them cost."""
    scores = task.score(examples, [completion.text for completion in completions])
    seconds = sum(completion.seconds for completion in completions)
    return Evaluation(
        samples=[
            {
                "id": example.id,
                "prompt": completion.prompt,
                "text": completion.text,
                **_verdict(score),
                "tokens": completion.tokens,
                "steps": completion.steps,
                "forwards": completion.steps,
            }
            for example, completion, score in zip(examples, completions, scores, strict=True)
        ],
        metrics=totals(task, scores),
        ceiling=task.ceiling(examples),
        items_sha256=sha256_of_text([completion.prompt for completion in completions]),
        nfe=sum(completion.steps for completion in completions) / len(completions),
        flops=sum(completion.flops for completion in completions),
        seconds=seconds,
        tokens_per_second=sum(completion.tokens for completion in completions) / seconds,
    )


def totals(task: Task, scores: Sequence[Score]) -> dict[str, MetricTotals]:
    """Sums of every metric over the items."""
    return {
        name: MetricTotals.of((score.metrics[name].part, score.metrics[name].whole) for score in scores)
        for name in task.metrics
    }


def item_seed(example_id: str) -> int:
    """The seed of an item's draws: a 63-bit hash of its id."""
    return int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:8], "big") >> 1


def _completions(model: DiffusionLM, prompts: Sequence[str], rollout: Rollout) -> list[Completion]:
    """The completions of a batch; each has an even share of its seconds and FLOPs."""
    texts = model.decode(rollout.completion_ids_BC)
    tokens = model.completion_lengths(rollout.completion_ids_BC).tolist()
    return [
        Completion(
            prompt=prompt,
            text=text,
            tokens=count,
            steps=steps,
            seconds=rollout.seconds / len(prompts),
            flops=rollout.flops / len(prompts),
        )
        for prompt, text, count, steps in zip(prompts, texts, tokens, rollout.num_steps_B.tolist(), strict=True)
    ]


def _verdict(score: Score) -> dict[str, Any]:
    return {
        "extracted": score.extracted,
        "correct": score.correct,
        "reward": score.reward,
        "parts": dict(score.parts),
        "metrics": {name: asdict(ratio) for name, ratio in score.metrics.items()},
        "graders": {name: asdict(verdict) for name, verdict in score.verdicts.items()},
    }

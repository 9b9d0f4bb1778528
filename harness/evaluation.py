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
from harness.rollout import Rollout
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


def evaluate(
    model: DiffusionLM,
    task: Task,
    examples: Sequence[Example],
    config: EvaluationConfig,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Completes every example once and scores it. on_progress is told (items done, items in all).

    Batches are made of prompts of similar length; the draws of an item depend on its id alone, so neither the batch
    size nor the order changes a completion.
    """
    prompts = [model.prompt_text(task, example) for example in examples]
    order = sorted(range(len(examples)), key=lambda index: len(prompts[index]))
    texts = [""] * len(examples)
    costs: list[dict[str, Any]] = [{} for _ in examples]
    seconds = total_flops = 0.0
    for start in range(0, len(order), config.batch_size):
        batch = order[start : start + config.batch_size]
        seeds = torch.tensor([item_seed(examples[index].id) for index in batch])
        rollout = generate(model, model.encode_prompts([prompts[index] for index in batch]), config.decoding, seeds)
        seconds, total_flops = seconds + rollout.seconds, total_flops + rollout.flops
        for index, text, cost in zip(
            batch, model.decode(rollout.completion_ids_BC), _costs(model, rollout), strict=True
        ):
            texts[index], costs[index] = text, cost
        on_progress(start + len(batch), len(order))
    scores = task.score(examples, texts)
    rows = zip(examples, prompts, texts, scores, costs, strict=True)
    tokens = sum(cost["tokens"] for cost in costs)
    return Evaluation(
        samples=[
            {"id": example.id, "prompt": prompt, "text": text, **_verdict(score), **cost}
            for example, prompt, text, score, cost in rows
        ],
        metrics=totals(task, scores),
        ceiling=task.ceiling(examples),
        items_sha256=sha256_of_text(prompts),
        nfe=sum(cost["forwards"] for cost in costs) / len(costs),
        flops=total_flops,
        seconds=seconds,
        tokens_per_second=tokens / seconds,
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


def _costs(model: DiffusionLM, rollout: Rollout) -> list[dict[str, int]]:
    """Per row: completion tokens before the first end token, and steps taken (one forward pass each)."""
    tokens = model.completion_lengths(rollout.completion_ids_BC).tolist()
    steps = rollout.num_steps_B.tolist()
    return [{"tokens": count, "steps": taken, "forwards": taken} for count, taken in zip(tokens, steps, strict=True)]


def _verdict(score: Score) -> dict[str, Any]:
    return {
        "extracted": score.extracted,
        "correct": score.correct,
        "reward": score.reward,
        "parts": dict(score.parts),
        "metrics": {name: asdict(ratio) for name, ratio in score.metrics.items()},
        "graders": {name: asdict(verdict) for name, verdict in score.verdicts.items()},
    }

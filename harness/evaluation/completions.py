"""Completions of a fixed list of examples, greedy or sampled, with their cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from harness.config.tree import EvaluationConfig
from harness.diffusion.sampler import generate
from harness.distributed.shard import ALONE, Shard
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Rollout
from harness.task.base import Example, Task


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


def complete(
    model: DiffusionLM,
    task: Task,
    examples: Sequence[Example],
    config: EvaluationConfig,
    *,
    batch_size: int,
    shard: Shard = ALONE,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Completion]:
    """One completion of every example, in the order of the examples; several processes share the work.

    batch_size: prompts per forward pass. Batches are made of prompts of similar length; the draws of an item depend on
    its id alone, so neither the batch size, nor the order, nor the number of processes changes a completion.
    """
    prompts = [model.prompt_text(task, example) for example in examples]
    order = sorted(range(len(examples)), key=lambda index: len(prompts[index]))[shard.index :: shard.count]
    done: list[tuple[int, Completion]] = []
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        seeds = torch.tensor([item_seed(examples[index].id) for index in batch])
        rollout = generate(model, model.encode_prompts([prompts[index] for index in batch]), config.decoding, seeds)
        done += zip(batch, _completions(model, [prompts[index] for index in batch], rollout), strict=True)
        on_progress(len(done) * shard.count, len(examples))
    return [completion for _, completion in sorted(shard.gather_items(done), key=lambda pair: pair[0])]


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

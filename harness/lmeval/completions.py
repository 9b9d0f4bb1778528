"""Completions of many requests: grouped by decoding and padded length, sampled by the harness's own sampler.

Axes: B rows, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import Generation
from harness.evaluation.batches import BatchSize, padded_length
from harness.evaluation.completions import Completion, completed
from harness.models.diffusion_lm import DiffusionLM


@dataclass(frozen=True, kw_only=True)
class Order:
    """One completion to compute. seed: of its draws. max_tokens: its text is cut there."""

    key: str
    prompt_ids: tuple[int, ...]
    decoding: Decoding
    seed: int
    max_tokens: int


def complete(model: DiffusionLM, orders: Sequence[Order], batch_size: BatchSize) -> Iterator[tuple[Order, Completion]]:
    """Completes every order once, the longest prompts first, and yields each as its batch is done."""
    groups: dict[tuple[Decoding, int], list[Order]] = {}
    for order in orders:
        groups.setdefault((order.decoding, padded_length(len(order.prompt_ids))), []).append(order)
    for decoding, length in sorted(groups, key=lambda group: -(group[0].completion_length + group[1])):
        group = sorted(groups[decoding, length], key=lambda order: order.key)
        generation = Generation(
            model,
            model.pad_prompts([order.prompt_ids for order in group], length=length),
            decoding,
            torch.tensor([order.seed for order in group]),
            cuts=False,
        )
        limits = [order.max_tokens for order in group]
        for rows in generation.run(batch_size.rows, batch_size.fitting):
            for row, completion in completed(model, generation.rollout, rows, limits):
                yield group[row], completion

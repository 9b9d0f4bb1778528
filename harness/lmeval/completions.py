"""Completions of many requests: grouped by decoding and padded length, sampled by the harness's own sampler.

Axes: B rows, C completion tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.evaluation.batches import BatchSize, padded_length
from harness.evaluation.completions import Completion, completions_of
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
        yield from batch_size.run(group, functools.partial(_batch, model, decoding, length))


def _batch(model: DiffusionLM, decoding: Decoding, length: int, orders: Sequence[Order]) -> list[Completion]:
    prompts = model.pad_prompts([order.prompt_ids for order in orders], length=length)
    rollout = generate(model, prompts, decoding, torch.tensor([order.seed for order in orders]))
    return completions_of(model, rollout, [order.max_tokens for order in orders])

"""Generation on a model without memory: what lives at once, and FLOPs.

Axes of names: rows, columns (of the sequence), queries and keys of a pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import Generation
from harness.diffusion.schedule import block_diffusion_counts, block_lengths, reveal_counts
from harness.models import flops
from harness.models.attention import COMPLETION, FULL, Attention
from harness.models.diffusion_lm import DiffusionLM
from harness.planning.live_bytes import LiveBytes
from harness.planning.weightless import fake_mode, made_up_prompts
from harness.rollout import RolloutNeeds


@dataclass(frozen=True, kw_only=True)
class Traced:
    """bytes: the most that lived at once beyond what the model holds; logits: of these, tensors over the vocabulary.
    gradients: of these, those of the weights. saved: of an update, what its backward pass finds. flops: of all passes,
    on one process."""

    bytes: int
    logits: int
    flops: float
    gradients: int = 0
    saved: int = 0


class _EnoughError(Exception):
    """Ends a rollout after the pass that was asked for."""


def trace_rollout(
    model: DiffusionLM, decoding: Decoding, needs: RolloutNeeds, *, rows: int, prompt_length: int
) -> Traced:
    """Generation of `rows` completions at once: the bytes of its first step, when the most positions are masked; of a
    model that attends by blocks those of its prompts or of its last block, when it keeps the most keys and values."""
    # Whether rows stop early and what is sure enough is asked of values, which do not exist; in the first step it
    # changes nothing.
    unstopped = replace(decoding, eos_policy="run") if decoding.stops_early else decoding
    unstopped = replace(unstopped, threshold=0.0, factor=0.0, entropy_bound=0.0)
    passes = 2 if needs.reference_weight and model.reference is None else 1
    peak = _pass_bytes(model, unstopped, needs, rows=rows, prompt_length=prompt_length, until=passes)
    size = model.attention.block_length
    begin = _completion_begin(model.attention, prompt_length)
    before_last = (begin + decoding.completion_length) // size * size - size if size else 0
    if before_last > 0:
        steps = -(-decoding.num_steps // len(block_lengths(decoding)))
        last = replace(unstopped, completion_length=size, num_steps=steps)
        peak = max(peak, _pass_bytes(model, last, needs, rows=rows, prompt_length=before_last, first=2, until=2))
    spent = rollout_flops(
        model.shape, decoding, needs, rows=rows, prompt_length=prompt_length, attention=model.attention
    )
    return Traced(bytes=peak[0], logits=peak[1], flops=spent)


def _pass_bytes(
    model: DiffusionLM,
    decoding: Decoding,
    needs: RolloutNeeds,
    *,
    rows: int,
    prompt_length: int,
    first: int = 1,
    until: int,
) -> tuple[int, int]:
    """The most bytes that live from forward pass number `first` on until the one after `until`, and those of logits
    among them."""
    prompts = made_up_prompts(rows, prompt_length, vocabulary=model.shape.vocabulary)
    if model.attention.blocks_from == COMPLETION:
        prompts = model.pad_prompts(prompts.ids_BP.tolist())
    live = LiveBytes(vocabulary=model.shape.vocabulary)
    # Where blocks begin and what is masked in them has to have values, which nothing has that is made in a fake world.
    world = contextlib.nullcontext() if model.attention.block_length else fake_mode()
    with world, live, _passes(model, live, first, until), contextlib.suppress(_EnoughError):
        for _ in Generation(model, prompts, decoding, torch.arange(rows), needs=needs, cuts=False).run(rows):
            pass
    return live.peak, live.logits


@contextlib.contextmanager
def _passes(model: DiffusionLM, live: LiveBytes, first: int, until: int) -> Iterator[None]:
    """Forgets the peak before forward pass number `first` inside, and raises _EnoughError at the one after `until`."""
    made = 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made == first:
            live.forget_peak()
        if made > until:
            raise _EnoughError

    hook = model.predictor.transformer.model.register_forward_pre_hook(count)
    try:
        yield
    finally:
        hook.remove()


def rollout_flops(
    shape: flops.ModelShape,
    decoding: Decoding,
    needs: RolloutNeeds,
    *,
    rows: int,
    prompt_length: int,
    attention: Attention = FULL,
) -> float:
    """FLOPs of whole rollouts that no end token shortens: per step one pass, two under guidance, with the head at the
    masked positions of the block (under p2 at all of them), and of the blocks after it where every argmax is recorded;
    with a cache the passes after the first of a block are those of a part. Under a threshold or factor, the most: a
    token per step. A pass of the reference policy, without adapters, goes with each where it is sampled from too.
    attention: of a model that attends by blocks, whose prompts are all of `prompt_length` tokens."""
    passes = 1 + bool(decoding.guidance_scale)
    if attention.block_length:
        return passes * _by_blocks(shape, decoding, attention, rows=rows, prompt_length=prompt_length)
    length, spent, of_reference = prompt_length + decoding.completion_length, 0.0, 0.0
    if needs.reference_weight:
        plain = replace(needs, argmax=False, reference_weight=0.0)
        reference = replace(shape, lora_ranks={})
        of_reference = rollout_flops(reference, decoding, plain, rows=rows, prompt_length=prompt_length)
    blocks = block_lengths(decoding)
    for block, masked in enumerate(blocks):
        ahead, queries = sum(blocks[block:]), length
        beyond = ahead - masked if needs.argmax else 0
        later = {"none": length, "prefix": ahead, "dual": masked}[decoding.cache]
        for count in [1] * masked if decoding.adaptive else reveal_counts(decoding)[block]:
            positions = rows * (masked + beyond)
            if count:
                spent += flops.forward(shape, rows=rows, queries=queries, keys=length, head_positions=positions)
                queries = later
            masked -= 0 if decoding.remasks else count
    return spent * passes + of_reference


def _by_blocks(
    shape: flops.ModelShape, decoding: Decoding, attention: Attention, *, rows: int, prompt_length: int
) -> float:
    """FLOPs of a model that attends by blocks: its prompts' whole blocks in one pass, every block until nothing in it
    is masked, and once more to keep its keys and values, the last one excepted (samplers/block.py)."""
    size, spent = attention.block_length, 0.0
    start = _completion_begin(attention, prompt_length)
    first, width = start // size * size, start + decoding.completion_length
    if first:
        spent += flops.forward(shape, rows=rows, queries=first, keys=first, head_positions=0)
    for begin in range(first, width, size):
        end = min(begin + size, width)
        masked = end - max(begin, start)
        counts = block_diffusion_counts(decoding, end - begin if attention.blocks_from == COMPLETION else size)
        for count in [1] * masked if decoding.entropy_bound else counts:
            if masked > 0:
                spent += flops.forward(shape, rows=rows, queries=end - begin, keys=end, head_positions=rows * masked)
            masked -= count
        if end < width:
            spent += flops.forward(shape, rows=rows, queries=end - begin, keys=end, head_positions=0)
    return spent


def _completion_begin(attention: Attention, prompt_length: int) -> int:
    """The column after the prompts, which are padded to whole blocks where these begin with the completion."""
    return prompt_length + (-prompt_length % attention.block_length if attention.blocks_from == COMPLETION else 0)

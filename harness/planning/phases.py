"""The phases of training, run by the harness's own code on a model without memory: what lives at once, and FLOPs.

Nothing here knows the methods: their `draw`, `prepare` and `loss` are called as the training loop calls them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.config.tree import RunConfig
from harness.diffusion.sampler import Generation
from harness.diffusion.schedule import block_lengths, reveal_counts
from harness.distributed.shard import Shard
from harness.models import flops
from harness.models.diffusion_lm import DiffusionLM
from harness.models.memory import keep_no_activations
from harness.planning.live_bytes import LiveBytes
from harness.planning.weightless import fake_mode_of, made_up_prompts, made_up_rollout
from harness.randomness import stream
from harness.rl.method import LossPart, Method, Prepared
from harness.rollout import Rewards, RolloutNeeds, ScoredRollouts


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


class _NextStepError(Exception):
    """Ends a rollout at the forward pass of its second step."""


def trace_rollout(
    model: DiffusionLM, decoding: Decoding, needs: RolloutNeeds, *, rows: int, prompt_length: int
) -> Traced:
    """Generation of `rows` completions at once: the bytes of its first step, when the most positions are masked."""
    # Whether rows stop early and what is sure enough is asked of values, which do not exist; in the first step it
    # changes nothing.
    unstopped = replace(decoding, eos_policy="run") if decoding.stops_early else decoding
    unstopped = replace(unstopped, threshold=0.0, factor=0.0, entropy_bound=0.0)
    prompts = made_up_prompts(rows, prompt_length, vocabulary=model.shape.vocabulary)
    live = LiveBytes(vocabulary=model.shape.vocabulary)
    passes = 2 if needs.reference_weight and model.reference is None else 1
    with fake_mode_of(model), live, _passes(model, passes), contextlib.suppress(_NextStepError):
        for _ in Generation(model, prompts, unstopped, torch.arange(rows), needs=needs, cuts=False).run(rows):
            pass
    spent = rollout_flops(model.shape, decoding, needs, rows=rows, prompt_length=prompt_length)
    return Traced(bytes=live.peak, logits=live.logits, flops=spent)


def rollout_flops(
    shape: flops.ModelShape, decoding: Decoding, needs: RolloutNeeds, *, rows: int, prompt_length: int
) -> float:
    """FLOPs of whole rollouts that no end token shortens: per step one pass, two under guidance, with the head at the
    masked positions of the block (under p2 at all of them), and of the blocks after it where every argmax is recorded;
    with a cache the passes after the first of a block are those of a part. Under a threshold or factor, the most: a
    token per step. A pass of the reference policy goes with each where it is sampled from too."""
    length, passes, spent = prompt_length + decoding.completion_length, 1 + bool(decoding.guidance_scale), 0.0
    if needs.reference_weight:
        plain = replace(needs, argmax=False, reference_weight=0.0)
        reference = replace(shape, lora_ranks={})
        spent = rollout_flops(reference, decoding, plain, rows=rows, prompt_length=prompt_length)
    blocks = block_lengths(decoding)
    for block, masked in enumerate(blocks):
        ahead, queries = sum(blocks[block:]), length
        beyond = ahead - masked if needs.argmax else 0
        later = {"none": length, "prefix": ahead, "dual": masked}[decoding.cache]
        for count in [1] * masked if decoding.adaptive else reveal_counts(decoding)[block]:
            positions = rows * (masked + beyond)
            if count:
                one_pass = flops.forward(shape, rows=rows, queries=queries, keys=length, head_positions=positions)
                spent += passes * one_pass
                queries = later
            masked -= 0 if decoding.remasks else count
    return spent


def made_up_rollouts(
    config: RunConfig, needs: RolloutNeeds, *, prompt_length: int, vocabulary: int, processes: int
) -> ScoredRollouts:
    """The first process's part of a rollout nobody generated, with rewards nobody earned."""
    rows = config.train.batch_size // processes
    prompts = made_up_prompts(rows, prompt_length, vocabulary=vocabulary)
    return ScoredRollouts(
        rollout=made_up_rollout(prompts, config.rollout, needs, mask_id=vocabulary - 1),
        rewards=made_up_rewards(torch.arange(rows), prompts.ids_BP),
        group_size=config.train.group_size,
        shard=Shard(all_gather=lambda part: torch.cat([part] * processes), count=processes),
        micro_batch_rows=config.conventions.micro_batch_rows,
        accumulated_batches=config.conventions.accumulated_batches,
    )


def made_up_rewards(row_N: Tensor, ids_NC: Tensor) -> Rewards:
    """Rewards 0, 0.5, 1, 0 ... by row."""
    reward_N = (row_N % 3).double() / 2
    return Rewards(total_B=reward_N, parts={"correctness": reward_N})


def trace_prepare(method: Method, model: DiffusionLM, scored: ScoredRollouts) -> tuple[Prepared, Traced]:
    """Draws and preparation of one rollout's updates."""
    live = LiveBytes(vocabulary=model.shape.vocabulary)
    with live, model.meter.measure() as cost, torch.no_grad():
        draws = method.draw(scored, model, stream(0, "plan"))
        prepared = method.prepare(scored, model, made_up_rewards, draws)
    return prepared, Traced(bytes=live.peak, logits=live.logits, flops=cost.flops)


def trace_update(
    method: Method,
    model: DiffusionLM,
    prepared: Prepared,
    *,
    gradients: int,
    micro_batch_size: int,
    checkpointing: bool = False,
) -> Traced:
    """Forward and backward pass of one micro-batch; FLOPs of all updates of the rollout, without those of recomputed
    activations.

    gradients: bytes that a device holds of them. Where an update is a single micro-batch, they take the place of
    activations as these are given up.
    """
    parts = [part for update in prepared.updates for part in update.parts]
    micro_batch = next(parts[0].split(micro_batch_size))
    several = len(parts) > len(prepared.updates) or _rows(micro_batch) < _rows(parts[0])
    weights = [weight for weight in model.predictor.parameters() if weight.requires_grad]
    for weight in weights:
        weight.grad = torch.zeros_like(weight) if several else None
    live = LiveBytes(vocabulary=model.shape.vocabulary)
    with live, model.meter.measure() as cost, _training(model, checkpointing=checkpointing):
        loss = method.loss(model, micro_batch)[0]
        saved = live.alive
        loss.backward()
    made = 0 if several else sum(weight.nbytes for weight in weights)
    spent = cost.flops / _rows(micro_batch) * sum(map(_rows, parts))
    peak = max(saved, live.peak - made + gradients)
    return Traced(bytes=peak, logits=live.logits, gradients=gradients, saved=saved, flops=spent)


def _rows(part: LossPart) -> int:
    return sum(1 for _ in part.split(1))


@contextlib.contextmanager
def _training(model: DiffusionLM, *, checkpointing: bool) -> Iterator[None]:
    """As in an update: dropout on, and with `checkpointing` the blocks keep their inputs alone, from now on."""
    if checkpointing:
        keep_no_activations(model.predictor.transformer.model.layers)
    model.network.train()
    try:
        yield
    finally:
        model.network.eval()


@contextlib.contextmanager
def _passes(model: DiffusionLM, most: int) -> Iterator[None]:
    """Raises _NextStepError at the forward pass after so many inside."""
    made = 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made > most:
            raise _NextStepError

    hook = model.predictor.transformer.model.register_forward_pre_hook(count)
    try:
        yield
    finally:
        hook.remove()

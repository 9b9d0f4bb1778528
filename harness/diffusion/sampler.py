"""Semi-autoregressive iterative unmasking (LLaDA's generation), recorded as one Rollout whatever the sampler.

The completion is cut into blocks, finished from left to right. A step predicts every masked position of the active
block, samples a token for each, and reveals the ones that the remasking rule is surest of: a number that is known
before (samplers/lockstep.py), or all that are sure enough (samplers/adaptive.py). Models that attend by blocks have a
sampler of their own (samplers/block.py).
"""

from __future__ import annotations

import dataclasses
import time

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.samplers import adaptive, block, lockstep
from harness.diffusion.samplers.rows import Rows, leave_finished
from harness.diffusion.trace import blank_rollout
from harness.errors import UserError
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Prompts, Rollout, RolloutNeeds


@torch.no_grad()
def generate(
    model: DiffusionLM,
    prompts: Prompts,
    decoding: Decoding,
    seed_B: Tensor,
    *,
    needs: RolloutNeeds | None = None,
    length_B: Tensor | None = None,
) -> Rollout:
    """Completes every prompt row once.

    seed_B: one int64 seed per row; a row's draws depend on its seed, the step and the position alone, so batching never
    changes them. needs: what to record beyond the completion. length_B: a completion length per row, multiples of the
    block length up to decoding.completion_length; shorter rows leave after their last block.

    Raises UserError for lengths that are no such multiples, for a decoding that does not fit the model's blocks, where
    a support is asked for that has no bound, and where the most probable tokens of all positions are asked for of steps
    that do not compute them.
    """
    start, mask_id = time.perf_counter(), model.special.mask_id
    needs = needs or RolloutNeeds()
    check_blocks(model, decoding)
    _check(model, decoding, needs)
    rows = Rows.start(prompts, decoding, seed_B, length_B, mask_id)
    trace = blank_rollout(prompts, decoding, needs, mask_id=mask_id, attention=model.attention)
    sampler = block if model.attention.block_length else adaptive if decoding.adaptive else lockstep
    with model.meter.measure() as cost:
        if decoding.eos_policy == "stop-agrpo":
            rows = leave_finished(model, decoding, rows, trace, block_end=0)
        sampler.unmask(model, decoding, rows, trace)
    return dataclasses.replace(trace, seconds=time.perf_counter() - start, flops=cost.forward_flops)


def check_blocks(model: DiffusionLM, decoding: Decoding) -> None:
    """Raises UserError where the model attends by blocks, and the decoding does not fit them."""
    size = model.attention.block_length
    if not size:
        return
    blocks = f"Model '{model.name}' attends by blocks of {size} tokens"
    if decoding.block_length != size:
        raise UserError(f"{blocks}, but block_length={decoding.block_length}; set it to {size}.")
    if decoding.cache != "none":
        raise UserError(
            f"{blocks} and is always sampled with an exact key-value cache; set cache=none instead of {decoding.cache}."
        )
    if decoding.schedule == "dream":
        raise UserError(f"{blocks}, which schedule=dream does not support; choose even or dllm.")
    if decoding.eos_policy == "stop-agrpo":
        raise UserError(f"{blocks}, which eos_policy=stop-agrpo does not support; choose stop.")


def _check(model: DiffusionLM, decoding: Decoding, needs: RolloutNeeds) -> None:
    if needs.behaviour and decoding.truncated and not decoding.top_k:
        raise UserError(f"Recording the support of top_p={decoding.top_p} needs top_k too: it bounds the record.")
    if needs.argmax and (model.attention.block_length or not decoding.computes_all):
        raise UserError(
            "Greedy completions cannot be recorded while sampling with a cache, a threshold, a factor or an entropy "
            "bound, or from a model that attends by blocks; compute them afterwards (method.greedy=lazy)."
        )

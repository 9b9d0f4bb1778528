"""What follows a rollout, run by the harness's own code on a model without memory: what lives at once, and FLOPs.

Nothing here knows the methods: their `draw`, `prepare` and `loss` are called as the training loop calls them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from harness.config.tree import RunConfig
from harness.distributed.shard import Shard
from harness.models.attention import COMPLETION
from harness.models.diffusion_lm import DiffusionLM
from harness.planning.live_bytes import LiveBytes
from harness.planning.rollouts import Traced
from harness.planning.weightless import made_up_prompts, made_up_rollout
from harness.randomness import stream
from harness.rl.method import LossPart, Method, Prepared
from harness.rollout import Rewards, RolloutNeeds, ScoredRollouts


def made_up_rollouts(
    config: RunConfig, needs: RolloutNeeds, *, prompt_length: int, model: DiffusionLM, processes: int
) -> ScoredRollouts:
    """The first process's part of a rollout nobody generated, with rewards nobody earned."""
    rows = config.train.batch_size // processes
    prompts = made_up_prompts(rows, prompt_length, vocabulary=model.shape.vocabulary)
    if model.attention.blocks_from == COMPLETION:
        prompts = model.pad_prompts(prompts.ids_BP.tolist())
    return ScoredRollouts(
        rollout=made_up_rollout(
            prompts, config.rollout, needs, mask_id=model.special.mask_id, attention=model.attention
        ),
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


def trace_update(method: Method, model: DiffusionLM, prepared: Prepared, *, micro_batch_size: int) -> Traced:
    """Forward and backward pass of one micro-batch; FLOPs of all updates of the rollout, without those of recomputed
    activations.

    Its bytes are those beside the gradients of weights. Where an update is a single micro-batch, these take the place
    of activations as they are given up.
    """
    parts = [part for update in prepared.updates for part in update.parts]
    micro_batch = next(parts[0].split(micro_batch_size))
    several = len(parts) > len(prepared.updates) or _rows(micro_batch) < _rows(parts[0])
    weights = [weight for weight in model.predictor.parameters() if weight.requires_grad]
    for weight in weights:
        weight.grad = torch.zeros_like(weight) if several else None
    live = LiveBytes(vocabulary=model.shape.vocabulary)
    with live, model.meter.measure() as cost, _training(model):
        loss = method.loss(model, micro_batch)[0]
        saved = live.alive
        loss.backward()
    made = 0 if several else sum(weight.nbytes for weight in weights)
    spent = cost.flops / _rows(micro_batch) * sum(map(_rows, parts))
    return Traced(bytes=live.peak - made, logits=live.logits, saved=saved, flops=spent)


def trace_saved(method: Method, model: DiffusionLM, prepared: Prepared, *, micro_batch_size: int) -> int:
    """Bytes that the backward pass of one micro-batch finds."""
    micro_batch = next(prepared.updates[0].parts[0].split(micro_batch_size))
    live = LiveBytes(vocabulary=model.shape.vocabulary)
    with live, _training(model):
        loss = method.loss(model, micro_batch)[0]
        saved = live.alive
    del loss
    return saved


def _rows(part: LossPart) -> int:
    return sum(1 for _ in part.split(1))


@contextlib.contextmanager
def _training(model: DiffusionLM) -> Iterator[None]:
    """As in an update: dropout on."""
    model.network.train()
    try:
        yield
    finally:
        model.network.eval()

"""Masked-diffusion fine-tuning (LLaDA, arXiv 2502.09992, eq. 6): trains the tiny base models.

A row masks l of its C completion tokens, l stratified over the batch; its loss is the mean cross-entropy of the
masked tokens. That is the likelihood bound with the number of masks drawn exactly, which varies less than masking
each token with probability t and dividing by t. Prompts are never masked.

Axes: B rows, C completion, L = P + C, n masked positions, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config import OptimizerConfig
from harness.errors import UserError
from harness.models.adapter import DiffusionLM
from harness.randomness import stream, stream_seed
from harness.rl.optimizer import adamw, learning_rate
from harness.task import Demonstration, Task


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    """A fixed number of steps on fresh demonstrations: the same seed gives the same weights on the same machine."""

    steps: int = 1500
    batch_size: int = 128
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    beta2: float = 0.98
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class MaskedBatch:
    """tokens_BL: input with masks. clean_BL: what the masks hide. masked_BL: where they are. masked_count_B: how
    many."""

    tokens_BL: Tensor
    clean_BL: Tensor
    masked_BL: Tensor
    masked_count_B: Tensor


def train(
    model: DiffusionLM,
    task: Task,
    config: SftConfig,
    *,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """Trains all weights in place and returns the mean loss of the last 100 steps; on_step is told (step, loss)."""
    optimizer_config = OptimizerConfig(
        learning_rate=config.learning_rate,
        schedule="cosine",
        warmup_updates=config.warmup_steps,
        beta2=config.beta2,
        weight_decay=0.0,
    )
    optimizer = adamw(model.network, optimizer_config)
    text_rng = random.Random(stream_seed(config.seed, "demonstrations"))
    mask_rng = stream(config.seed, "masks")
    losses: list[float] = []
    model.network.train()
    for step in range(config.steps):
        batch = mask_batch(model, task.demonstrations(config.batch_size, text_rng), mask_rng)
        loss = masked_loss(model, batch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(optimizer_config, update=step, spent=step / config.steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        on_step(step + 1, losses[-1])
    model.network.eval()
    return sum(losses[-100:]) / len(losses[-100:])


def mask_batch(model: DiffusionLM, rows: Sequence[Demonstration], generator: torch.Generator) -> MaskedBatch:
    """Encodes demonstrations and masks their completions; shorter completions are filled up with end tokens, which
    count.

    Raises UserError where the prompts differ in length: the tiny models' prompts are of one length.
    """
    prompts = model.encode_prompts([row.prompt for row in rows])
    if prompts.mask_BP is not None:
        raise UserError("Demonstrations need prompts of one length.")
    encoded = [model.tokenizer.encode(row.completion) for row in rows]
    longest = max(len(ids) for ids in encoded)
    end_id = model.special.end_ids[0]
    completion_BC = torch.tensor([ids + [end_id] * (longest - len(ids)) for ids in encoded], device=model.device)
    masked_BC = draw_masks(len(rows), longest, generator).to(model.device)
    clean_BL, _ = prompts.with_completion(completion_BC)
    masked_BL = torch.cat([torch.zeros_like(prompts.ids_BP, dtype=torch.bool), masked_BC], 1)
    tokens_BL = torch.where(masked_BL, model.special.mask_id, clean_BL)
    return MaskedBatch(
        tokens_BL=tokens_BL,
        clean_BL=clean_BL,
        masked_BL=masked_BL,
        masked_count_B=masked_BC.sum(1),
    )


def draw_masks(num_rows: int, length: int, generator: torch.Generator) -> Tensor:
    """Masked positions (B, C), bool. Row b masks l of them, l on an even grid over 1..C with a random start."""
    start = torch.rand(1, generator=generator)
    share_B = (start + torch.arange(num_rows) / num_rows) % 1
    count_B = (share_B * length).long().clamp_max(length - 1) + 1
    rank_BC = torch.rand(num_rows, length, generator=generator).argsort(1).argsort(1)
    return rank_BC < count_B[:, None]


def masked_loss(model: DiffusionLM, batch: MaskedBatch) -> Tensor:
    """Mean over rows of the mean cross-entropy of their masked tokens; nats."""
    hidden_BLd = model.hidden(batch.tokens_BL, None)
    logits_nV = model.head(hidden_BLd[batch.masked_BL])
    cross_entropy_n = torch.nn.functional.cross_entropy(logits_nV, batch.clean_BL[batch.masked_BL], reduction="none")
    row_n = batch.masked_BL.nonzero()[:, 0]
    return (cross_entropy_n / batch.masked_count_B[row_n]).sum() / len(batch.masked_BL)

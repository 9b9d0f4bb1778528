"""AdamW as the published runs use it, and the learning-rate schedule over a budget."""

from __future__ import annotations

import math

import torch
from torch import nn

from harness.config.conventions import Conventions
from harness.config.tree import OptimizerConfig

OURS = Conventions()
IN_BLOCK = ".layers."


def adamw(network: nn.Module, config: OptimizerConfig, conventions: Conventions = OURS) -> torch.optim.AdamW:
    """AdamW over the trainable weights, of which those decay that the conventions name."""
    trainable = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    decays = {name: _decays(name, weight, conventions.weight_decay_on) for name, weight in trainable.items()}
    groups = [
        {"params": [trainable[name] for name in trainable if decays[name]], "weight_decay": config.weight_decay},
        {"params": [trainable[name] for name in trainable if not decays[name]], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
    )


def _decays(name: str, weight: nn.Parameter, which: str) -> bool:
    if weight.ndim > 1 or which == "matrices":
        return weight.ndim > 1
    return not name.endswith("bias") and (which == "all" or IN_BLOCK not in name)


def learning_rate(
    config: OptimizerConfig,
    conventions: Conventions = OURS,
    *,
    step: int,
    spent: float,
    spent_in_warmup: float = 0.0,
) -> float:
    """The rate of step number `step` (from 0) when the fraction `spent` of the budget is used up, and
    `spent_in_warmup` of it was when the warm-up ended."""
    done = step + 1 if conventions.warmup_start == "first" else step
    warmup = min(1.0, done / config.warmup_updates) if config.warmup_updates else 1.0
    if conventions.decay_from == "warmup":
        is_warm = step >= config.warmup_updates and spent_in_warmup < 1
        spent = (spent - spent_in_warmup) / (1 - spent_in_warmup) if is_warm else 0.0
    left = 1.0 - min(1.0, spent)
    match config.schedule:
        case "cosine":
            decay = 0.5 * (1 + math.cos(math.pi * (1 - left)))
        case "linear":
            decay = left
        case _:
            decay = 1.0
    return config.learning_rate * warmup * (config.min_lr_rate + (1 - config.min_lr_rate) * decay)

"""AdamW as the published runs use it, and the learning-rate schedule over a budget."""

from __future__ import annotations

import math

import torch
from torch import nn

from harness.config.tree import OptimizerConfig


def adamw(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trainable weights; weight decay on matrices alone, not on norms and biases."""
    trainable = [weight for weight in network.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in trainable if weight.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [weight for weight in trainable if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
    )


def learning_rate(config: OptimizerConfig, *, update: int, spent: float) -> float:
    """The rate of update number `update` (from 0) when the fraction `spent` of the budget is used up."""
    warmup = min(1.0, (update + 1) / config.warmup_updates) if config.warmup_updates else 1.0
    left = 1.0 - min(1.0, spent)
    match config.schedule:
        case "cosine":
            decay = 0.5 * (1 + math.cos(math.pi * (1 - left)))
        case "linear":
            decay = left
        case _:
            decay = 1.0
    return config.learning_rate * warmup * decay

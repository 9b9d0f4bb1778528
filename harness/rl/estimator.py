"""How a method's update estimates the policy gradient: what `harness diagnose` needs to know to check it.

A method's losses are means, the policy gradient is a sum over unmasking steps: `scale` says by what the loss is
multiplied to be an estimate of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import ScoredRollouts


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The enumerable task: C completion tokens in T = C steps, groups of G completions."""

    num_steps: int
    group_size: int

    @property
    def with_itself(self) -> float:
        """A group mean that holds the completion itself shrinks the gradient by 1 - 1 / G; this undoes it."""
        return self.group_size / (self.group_size - 1)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One outcome of `Method.draw`. probability: a number, or one per row (B,) where what rows add to the gradient
    depends on their own draws alone."""

    draws: Any
    probability: float | Tensor = 1.0


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """A method with options. method: a Method; the first of its updates is measured, every group as if it were a batch
    of its own.

    options, baseline: what tells it from its siblings, for tables. size: K or M, 0 where a method has neither.
    scale: the loss times this estimates minus the objective; None fits it, so that the mean estimate is as long as the
    gradient and its direction alone is judged.
    sampled: the draws of one update, `Method.draw` or the like; None where they are not random, or where the outcomes
    are those of whole groups. Groups come as micro-batches (`ScoredRollouts.micro_batch_rows`), and draws are to be
    spread over these. outcomes: every outcome of the draws, so that the mean is exact; without them, or where there are
    none of them for these rollouts, it too is sampled.
    ends_early: whether it is also measured where one of the tokens ends the completion. is_drawn: whether it stands for
    the method in the figure.
    """

    method: Any
    options: str = ""
    baseline: str = ""
    size: int = 0
    scale: float | None = None
    outcomes: Callable[[ScoredRollouts, DiffusionLM], Sequence[Outcome]] | None = None
    sampled: Callable[[ScoredRollouts, DiffusionLM, torch.Generator], Any] | None = None
    ends_early: bool = False
    is_drawn: bool = True

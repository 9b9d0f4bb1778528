"""What a method is: it turns scored rollouts into optimiser updates, and an update's parts into losses.

The trainer owns everything else: the loop, devices, accumulation, logging, checkpoints.

Axes: B rows, C completion, K selected steps; `_N` is any flat list of values.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.models.diffusion_lm import DiffusionLM
from harness.models.flops import ModelShape
from harness.rollout import Rewards, RolloutNeeds, ScoredRollouts

ScoreFunction = Callable[[Tensor, Tensor], Rewards]
"""(row_N, completion_ids_NC) -> rewards of those completions, each against the prompt of its row."""


@dataclass(frozen=True, kw_only=True)
class LossPart:
    """Tensors with one entry per row, enough for one forward and backward pass.

    Every subclass normalises its loss by constants over the whole update batch, so that `split` changes nothing.
    """

    def split(self, rows: int) -> Iterator[Self]:
        """Micro-batches of at most `rows` rows; 0 is all rows at once."""
        tensors = {
            item.name: value
            for item in dataclasses.fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        total = len(next(iter(tensors.values())))
        size = rows or total
        for start in range(0, total, size):
            yield dataclasses.replace(self, **{name: value[start : start + size] for name, value in tensors.items()})


@dataclass(frozen=True, kw_only=True)
class UpdateBatch:
    """One optimiser update: the gradient of the sum of its parts' losses."""

    parts: Sequence[LossPart]


@dataclass(frozen=True, kw_only=True)
class GreedyScores:
    """Greedy completions that were scored, at M states per row. step_BM: int64, -1 where a row has fewer; ids_BMC:
    int64; reward_BM: float64. forwards (rows times passes), flops: spent on generating them."""

    step_BM: Tensor
    ids_BMC: Tensor
    reward_BM: Tensor
    forwards: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A rollout made ready for training.

    updates: in order. forwards (rows times passes) and flops: spent on preparing. advantages: all of them, for the log.
    chosen_steps_BK: int64 or None, -1 where a row has fewer. greedy: what was scored at them, for the record.
    reward_calls: completions scored beyond the rollout's own.
    """

    updates: Sequence[UpdateBatch]
    advantages: Tensor
    forwards: int = 0
    flops: float = 0.0
    reward_calls: int = 0
    chosen_steps_BK: Tensor | None = None
    greedy: GreedyScores | None = None


@dataclass(frozen=True, kw_only=True)
class LossOutput:
    """loss: scalar with gradient. The rest is for the log, detached and flat: importance ratios, KL values (nats), and
    whether the lower or the upper clip bound was active. forwards and flops: of the forward and backward passes."""

    loss: Tensor
    ratio_N: Tensor
    kl_N: Tensor
    clipped_low_N: Tensor
    clipped_high_N: Tensor
    forwards: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A method with its options. Register a subclass with `@method("name")` in one leaf file."""

    Config: ClassVar[type]
    config: Any = field(default=None)

    @abstractmethod
    def check(self, decoding: Decoding) -> None:
        """Raises UserError where the options do not fit the rollout's decoding."""

    def needs(self, shape: ModelShape, decoding: Decoding, prompt_length: int) -> RolloutNeeds:
        """What the sampler has to record for this method."""
        return RolloutNeeds()

    @property
    def needs_reference(self) -> bool:
        """Whether a KL term asks for the reference policy."""
        return bool(getattr(self.config, "beta", 0.0))

    @abstractmethod
    def updates_per_rollout(self) -> int:
        """Optimiser updates that one rollout is used for."""

    @abstractmethod
    def prepare(
        self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, generator: torch.Generator
    ) -> Prepared:
        """Advantages, chosen steps, masks: everything that needs no gradient. All draws come from `generator`."""

    @abstractmethod
    def loss(self, policy: DiffusionLM, part: Any) -> LossOutput:
        """The loss of one (micro-batch of a) part, normalised over the whole update batch."""


def score_rows(score: ScoreFunction, ids_BKC: Tensor) -> Rewards:
    """Scores K completions per row; rewards have shape (B, K)."""
    rows, num_states, length = ids_BKC.shape
    row_N = torch.arange(rows, device=ids_BKC.device).repeat_interleave(num_states)
    return score(row_N, ids_BKC.reshape(-1, length)).reshape(rows, num_states)

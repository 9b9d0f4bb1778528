"""What a method is: `draw` (all its randomness), `prepare` (everything that needs no gradient), `loss`.

The loop owns everything else: devices, accumulation, the account of compute, logging, checkpoints.

Axes: B rows, C completion, K selected steps; `_N` is any flat list of values.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.config.learning import require_differences
from harness.config.tree import RunConfig
from harness.errors import UserError
from harness.models.diffusion_lm import DiffusionLM
from harness.models.flops import ModelShape
from harness.rl.estimator import Estimator, Setting
from harness.rollout import Rewards, RolloutNeeds, ScoredRollouts

ScoreFunction = Callable[[Tensor, Tensor], Rewards]
"""(row_N, completion_ids_NC) -> rewards of those completions, each against the prompt of its row."""

NOT_NEGATIVE = ("beta", "clip", "clip_low", "clip_high")
"""Options that mean the same in all methods: the weight of the KL term, and how far ratios may be from 1."""


@dataclass(frozen=True, kw_only=True)
class LossPart:
    """Tensors with one entry per row, enough for one forward and backward pass.

    Every subclass normalises its loss by constants over the whole update batch, so that `split` changes nothing.
    """

    def rows(self, index: slice | Tensor) -> Self:
        """Some of the rows."""
        return dataclasses.replace(self, **{name: value[index] for name, value in self._tensors().items()})

    @property
    def num_rows(self) -> int:
        """B."""
        return len(next(iter(self._tensors().values())))

    @property
    def sequences_per_row(self) -> int:
        """Inputs that the loss puts into the model per row."""
        return 1

    def split(self, sequences: int) -> Iterator[Self]:
        """Micro-batches of at most `sequences` sequences, but of a row at least; 0 is all rows at once."""
        total = self.num_rows
        size = max(1, sequences // self.sequences_per_row) if sequences else total
        for start in range(0, total, size):
            yield self.rows(slice(start, start + size))

    def _tensors(self) -> dict[str, Tensor]:
        return {
            item.name: value
            for item in dataclasses.fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }


@dataclass(frozen=True, kw_only=True)
class UpdateBatch:
    """One optimiser update: the gradient of the sum of its parts' losses."""

    parts: Sequence[LossPart]


@dataclass(frozen=True, kw_only=True)
class ChosenSteps:
    """For the record: the unmasking steps that an update uses. step_BK: int64, -1 where a row has fewer.

    greedy_ids_BKC, greedy_reward_BK: the greedy completions at these steps and what they earn, where a method scores
    them.
    """

    step_BK: Tensor
    greedy_ids_BKC: Tensor | None = None
    greedy_reward_BK: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A rollout made ready for training: its updates in order. advantages: all of them, for the log."""

    updates: Sequence[UpdateBatch]
    advantages: Tensor
    chosen: ChosenSteps | None = None


Loss = tuple[Tensor, Mapping[str, Tensor]]
"""A scalar with gradient, and named values for the log: detached and flat, of any length.

`ratio` (importance ratios), `kl` (nats), `clip_low` and `clip_high` (whether that bound was active) have columns of
their own in metrics.jsonl; any other name gets its mean.
"""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a method that has none."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A method with its options. Register a subclass with `@method("name")` in one leaf file.

    Config: the frozen dataclass of its options, all of which have defaults. takes_cached: whether it takes no old
    log-probability from a rollout that was made with a cache, or `exact_at` has computed it again. takes_adaptive:
    whether rows may have taken different numbers of steps. takes_blocks: whether the model may attend by blocks: the
    log-probabilities are those of a trajectory's states, or of masked tokens of several blocks with `clean_BL` given.
    compares: whether a completion teaches by how its reward differs from those of the other completions of its prompt,
    and by nothing else.
    """

    Config: ClassVar[type] = NoOptions
    takes_cached: ClassVar[bool] = False
    takes_adaptive: ClassVar[bool] = False
    takes_blocks: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    config: Any = field(default_factory=NoOptions)

    def check_record(self, decoding: Decoding) -> None:
        """Raises UserError for a decoding whose record of a rollout the method cannot take, and for options that no
        method can take."""
        for name in NOT_NEGATIVE:
            if (value := getattr(self.config, name, 0.0)) < 0:
                raise UserError(f"method.{name}={value} is negative; set it to 0 or above.")
        if decoding.cache != "none" and not self.takes_cached:
            raise UserError(
                f"rollout.cache={decoding.cache}: the method takes old log-probabilities from the rollout, and with a "
                "cache they are approximate; set it to none."
            )
        if decoding.remasks:
            raise UserError(
                "rollout.remasking=p2 masks written tokens again, so that a step has no state to train on; set it to "
                "low_confidence. p2 is for evaluation."
            )
        if decoding.adaptive and not self.takes_adaptive:
            raise UserError(
                "rollout.threshold, rollout.factor and rollout.entropy_bound give every completion a number of steps "
                "of its own, but the method draws from rollout.num_steps; set them to 0."
            )

    def check_learning(self, config: RunConfig) -> None:
        """Raises UserError for a run in which no completion could teach anything."""
        if self.compares:
            require_differences(config)

    def check_model(self, model: DiffusionLM) -> None:
        """Raises UserError for a model that the method cannot train."""
        if not self.takes_blocks:
            model.require_full_attention("the method")

    def check(self, decoding: Decoding) -> None:  # noqa: B027  (any options may be right)
        """Raises UserError where the options do not fit the rollout's decoding."""

    def needs(self, shape: ModelShape, decoding: Decoding, prompt_length: int) -> RolloutNeeds:
        """What the sampler has to record for this method."""
        return RolloutNeeds()

    @property
    def needs_reference(self) -> bool:
        """Whether the loss asks for the reference policy. By default where there is an option `beta`, the weight of the
        KL term, that is above 0."""
        return bool(getattr(self.config, "beta", 0.0) > 0)

    @property
    def updates_per_step(self) -> int:
        """Optimiser updates that make one training step: what the learning rate's schedule, budget.updates and
        evaluation.every count."""
        return 1

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Any:
        """All random draws that the updates need, from `generator`: steps, masks. They are all that `prepare` gets, so
        that given draws give the same updates."""
        return None

    @abstractmethod
    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Any) -> Prepared:
        """Advantages, old log-probabilities, states: everything that needs no gradient. Called without one."""

    @abstractmethod
    def loss(self, policy: DiffusionLM, part: Any) -> Loss:
        """The loss of one (micro-batch of a) part, normalised over the whole update batch, and values for the log."""

    @classmethod
    def estimators(cls, setting: Setting) -> Sequence[Estimator]:
        """The variants that `harness diagnose` compares with the exact gradient; by default the method as it is."""
        method = cls(config=cls.Config())
        return [Estimator(method=method, sampled=None if cls.draw is Method.draw else method.draw)]


def score_rows(score: ScoreFunction, ids_BKC: Tensor) -> Rewards:
    """Scores K completions per row; rewards have shape (B, K)."""
    rows, num_states, length = ids_BKC.shape
    row_N = torch.arange(rows, device=ids_BKC.device).repeat_interleave(num_states)
    return score(row_N, ids_BKC.reshape(-1, length)).reshape(rows, num_states)

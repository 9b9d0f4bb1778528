"""From completions to rewards: decode, score with the task, or draw at random for the control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from harness.distributed.shard import Shard
from harness.evaluation.beside import Scoring
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import stream
from harness.rollout import Rewards
from harness.task.base import Example, Reward, Task


class CountedScores:
    """A score function that knows how often it was asked, and fails in all processes or in none. calls: completions
    scored so far."""

    def __init__(self, score: RandomRewards | TaskRewards, shard: Shard) -> None:
        self.calls = 0
        self._score, self._shard = score, shard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        if isinstance(self._score, TaskRewards):
            self._score.scoring.__exit__(*raised)

    def expect(self, row_N: Tensor, completion_ids_NC: Tensor) -> None:
        """Says that these will be asked for, so that their scoring may begin."""
        if isinstance(self._score, TaskRewards):
            self._score.expect(row_N, completion_ids_NC)

    def __call__(self, row_N: Tensor, completion_ids_NC: Tensor) -> Rewards:
        """Rewards (N,)."""
        self.calls += len(row_N)
        with self._shard.together():
            return self._score(row_N, completion_ids_NC)


class TaskRewards:
    """Scores completions against the examples of one rollout's rows; a text that occurs twice is scored once.

    past_end: the text after the first end token counts too.
    """

    def __init__(self, task: Task, model: DiffusionLM, examples: Sequence[Example], *, past_end: bool = False) -> None:
        self.task = task
        self.model = model
        self.examples = examples
        self.past_end = past_end
        self.scoring = Scoring[tuple[str, str], Reward](task, task.rewards)

    def __call__(self, row_N: Tensor, completion_ids_NC: Tensor) -> Rewards:
        """Rewards (N,) of completion n against the example of row row_N[n]."""
        keys = self.expect(row_N, completion_ids_NC)
        known = self.scoring.results()
        return to_rewards([known[key] for key in keys], self.model.device)

    def expect(self, row_N: Tensor, completion_ids_NC: Tensor) -> list[tuple[str, str]]:
        """Begins to score them where other processes do that; returns id and text of each."""
        texts = self.model.decode(completion_ids_NC, past_end=self.past_end)
        asked = [(self.examples[row], text) for row, text in zip(row_N.tolist(), texts, strict=True)]
        keys = [(example.id, text) for example, text in asked]
        self.scoring.add((key, *pair) for key, pair in zip(keys, asked, strict=True))
        return keys


class RandomRewards:
    """The control: uniform rewards in [0, 1) that know nothing of the completion. What still improves is not
    learning."""

    def __init__(self, seed: int, iteration: int, device: torch.device, shard: Shard) -> None:
        self.generator = stream(seed, "random reward", iteration)
        self.device = device
        self.shard = shard

    def __call__(self, row_N: Tensor, completion_ids_NC: Tensor) -> Rewards:
        """Random rewards (N,)."""
        drawn = torch.rand(len(row_N) * self.shard.count, generator=self.generator, dtype=torch.float64)
        reward_N = self.shard.mine(drawn).to(self.device)
        return Rewards(total_B=reward_N, parts={"correctness": reward_N})


def to_rewards(rewards: Sequence[Reward], device: torch.device) -> Rewards:
    """Rewards as tensors (N,), float64."""
    names = rewards[0].parts
    return Rewards(
        total_B=_tensor([reward.total for reward in rewards], device),
        parts={name: _tensor([reward.parts[name] for reward in rewards], device) for name in names},
    )


def _tensor(values: list[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)

"""From training examples to scored rollouts. Every draw comes from a stream named after the seed and the iteration."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from harness.config.tree import Execution, RunConfig
from harness.diffusion.sampler import Generation
from harness.distributed.shard import Shard
from harness.errors import UserError
from harness.models.adapters import check_mergeable, merged
from harness.models.diffusion_lm import DiffusionLM
from harness.models.memory import ROLLOUT
from harness.randomness import row_seeds, stream
from harness.rl.merging import deviation, masked_logprob
from harness.rl.method import Method
from harness.rl.rewards import CountedScores, RandomRewards, TaskRewards
from harness.rollout import Rollout
from harness.task.base import Example, Task


class Collector:
    """Makes this process's part of each rollout. merging: how far merged adapters moved the log-probabilities of the
    last one, for its records."""

    def __init__(
        self,
        config: RunConfig,
        execution: Execution,
        *,
        method: Method,
        task: Task,
        model: DiffusionLM,
        train: Sequence[Example],
        shard: Shard,
    ) -> None:
        self.config, self.execution, self.method, self.task, self.model = config, execution, method, task, model
        self.train, self.shard = train, shard
        self.merging: dict[str, float] = {}
        if execution.merge_adapters:
            check_mergeable(model, "leave execution.merge_adapters false")

    def examples(self, iteration: int) -> list[Example]:
        """The example of each of this process's rows; epochs are shuffled, one after another."""
        prompts = self.config.train.batch_size // self.config.train.group_size
        first, count = iteration * prompts * self.config.conventions.prompt_stride, len(self.train)
        chosen = [self._shuffled(place // count)[place % count] for place in range(first, first + prompts)]
        rows = torch.tensor(chosen).repeat_interleave(self.config.train.group_size)
        return [self.train[index] for index in self.shard.mine(rows).tolist()]

    def rollout(
        self,
        examples: Sequence[Example],
        iteration: int,
        expect: Callable[[Tensor, Tensor], object] = lambda row_N, completion_ids_NC: None,
    ) -> Rollout:
        """A completion of every example by the present policy, in the mode that the network is in. expect: is told the
        rows that are finished and their completions, as soon as they are."""
        texts = [self.model.prompt_text(self.task, example) for example in examples]
        prompts = self.model.encode_prompts(
            texts,
            max_length=self.config.train.max_prompt_length,
            attended_padding=self.config.conventions.attended_padding,
        )
        generator = stream(self.config.seed, "rollout", iteration)
        seed_B = self.shard.mine(row_seeds(self.config.train.batch_size, generator))
        needs = self.method.needs(self.model.shape, self.config.rollout, prompts.ids_BP.shape[1])
        if needs.reference_weight and self.execution.merge_adapters:
            raise UserError(
                "Merged adapters leave no reference policy to sample from; set execution.merge_adapters=false."
            )
        # All prompts stay as wide as the longest: FLOPs, by which budgets and learning rates go, are then the same
        # whatever fits into a batch.
        generation = Generation(self.model, prompts, self.config.rollout, seed_B, needs=needs, cuts=False)
        batch_size = self.execution.rollout_batch_size or len(examples)

        def complete_all() -> Rollout:
            with self.model.in_step():
                for rows in generation.run(batch_size, functools.partial(self.model.memory.fitting, ROLLOUT)):
                    row_N = torch.tensor(rows)
                    expect(row_N, generation.rollout.completion_ids_BC[row_N])
            return generation.rollout

        return self._merged(complete_all) if self.execution.merge_adapters else complete_all()

    def _merged(self, complete_all: Callable[[], Rollout]) -> Rollout:
        """A rollout with the adapters merged into the weights."""
        with merged(self.model):
            rollout = complete_all()
            merged_N = masked_logprob(self.model, rollout, self.shard)
        self.merging = deviation(merged_N, masked_logprob(self.model, rollout, self.shard), self.shard)
        return rollout

    def score_function(self, examples: Sequence[Example], iteration: int) -> CountedScores:
        """Rewards of completions of these rows: the task's, or random ones for the control."""
        if self.config.reward == "random":
            random = RandomRewards(self.config.seed, iteration, self.model.device, self.shard)
            return CountedScores(random, self.shard)
        past_end = self.config.conventions.reward_text == "all"
        return CountedScores(TaskRewards(self.task, self.model, examples, past_end=past_end), self.shard)

    def _shuffled(self, epoch: int) -> list[int]:
        generator = stream(self.config.seed, "order", epoch)
        return torch.randperm(len(self.train), generator=generator).tolist()

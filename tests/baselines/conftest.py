"""Rollouts of the small random model with rewards, whole or in shards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.distributed.shard import Shard
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, stream
from harness.rollout import Rewards, ScoredRollouts

GROUP_SIZE = 4
PROMPTS = ("12+3=", "7*8=", "hello world:")
DECODING = Decoding(completion_length=12, block_length=6, num_steps=6, temperature=1.0, eos_policy="run")
REWARDS = torch.tensor([1.0, 0.0, 0.5, 0.25, 0.0, 0.0, 2.0, 0.0, 0.3, 0.6, 0.1, 0.9])


class Lockstep:
    """All-gather between threads, one per shard: every call waits for the others."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.rows: list[Tensor | None] = [None] * count
        self.barrier = threading.Barrier(count, timeout=60)

    def shard(self, index: int) -> Shard:
        def all_gather(rows: Tensor) -> Tensor:
            self.rows[index] = rows
            self.barrier.wait()
            joined = torch.cat([part for part in self.rows if part is not None])
            self.barrier.wait()
            return joined

        return Shard(all_gather=all_gather, index=index, count=self.count)

    def run(self, work: Callable[[int], None]) -> None:
        """work(0), work(1), .. at the same time; raises what one of them raised."""
        raised: list[BaseException] = []

        def guarded(index: int) -> None:
            try:
                work(index)
            except BaseException as error:
                raised.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=guarded, args=(index,)) for index in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if raised:
            raise raised[0]


def scored_rows(model: DiffusionLM, rows: slice, shard: Shard, decoding: Decoding = DECODING) -> ScoredRollouts:
    """Those rows of the global batch; prompts are padded to the longest among them."""
    texts: Sequence[str] = [text for text in PROMPTS for _ in range(GROUP_SIZE)][rows]
    seed_B = row_seeds(len(REWARDS), stream(0, "rows"))[rows]
    rollout = generate(model, model.encode_prompts(texts), decoding, seed_B)
    rewards = Rewards(total_B=REWARDS[rows].clone(), parts={"correctness": REWARDS[rows].clone()})
    return ScoredRollouts(rollout=rollout, rewards=rewards, group_size=GROUP_SIZE, shard=shard)


@pytest.fixture
def scored(random_model: DiffusionLM) -> ScoredRollouts:
    """Three prompts of different lengths, four completions each."""
    return scored_rows(random_model, slice(None), Shard())


@pytest.fixture
def shards(random_model: DiffusionLM) -> Callable[[int], tuple[Lockstep, list[ScoredRollouts]]]:
    """The same batch cut into `count` shards, a group lying across two where it does not divide."""

    def cut(count: int) -> tuple[Lockstep, list[ScoredRollouts]]:
        lockstep, size = Lockstep(count), len(REWARDS) // count
        parts = [
            scored_rows(random_model, slice(index * size, (index + 1) * size), lockstep.shard(index))
            for index in range(count)
        ]
        return lockstep, parts

    return cut


@pytest.fixture
def score() -> Callable[[Tensor, Tensor], Rewards]:
    """Rewards of greedy completions, where a method asks for them: a hash of the ids."""

    def rewards(row_N: Tensor, completion_ids_NC: Tensor) -> Rewards:
        total_N = (completion_ids_NC.sum(1) % 7) / 7
        return Rewards(total_B=total_N, parts={"correctness": total_N})

    return rewards

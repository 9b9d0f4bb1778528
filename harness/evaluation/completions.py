"""Completions of prompts, greedy or sampled, with their cost."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.distributed.shard import ALONE, Shard
from harness.models.diffusion_lm import DiffusionLM
from harness.models.memory import EVALUATION
from harness.rollout import Rollout
from harness.task.base import Example


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One completion. tokens: before the first end token. steps: unmasking steps taken. forwards: forward passes of its
    row. seconds, flops: its even share of the batch's, on one process."""

    ids: tuple[int, ...]
    text: str
    tokens: int
    steps: int
    forwards: int
    seconds: float
    flops: float

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Completion:
        """Reads what `dataclasses.asdict` wrote as JSON."""
        return cls(**{**values, "ids": tuple(values["ids"])})


def complete(
    model: DiffusionLM,
    examples: Sequence[Example],
    prompts: Sequence[str],
    decoding: Decoding,
    *,
    batch_size: int,
    shard: Shard = ALONE,
    seed: int = 0,
    known: Collection[int] = (),
) -> Iterator[list[tuple[int, Completion]]]:
    """One completion of every prompt, batch by batch, each with the number of its example; several processes share the
    work, and `gathered` joins it.

    batch_size: prompts per forward pass. known: numbers of examples that are left out. Batches are made of prompts of
    similar length; the draws of an item depend on its id and the seed alone, so neither the batch size, nor the order,
    nor the number of processes changes a completion.
    """
    missing = (index for index in range(len(prompts)) if index not in known)
    order = sorted(missing, key=lambda index: len(prompts[index]))[shard.index :: shard.count]

    def batch(places: slice) -> list[tuple[int, Completion]]:
        indices = order[places]
        seed_B = torch.tensor([item_seed(examples[index].id, seed) for index in indices])
        rollout = generate(model, model.encode_prompts([prompts[index] for index in indices]), decoding, seed_B)
        return list(zip(indices, completions_of(model, rollout), strict=True))

    with model.in_step():
        yield from model.memory.pieces(EVALUATION, len(order), batch_size, batch)


def gathered(done: list[tuple[int, Completion]], shard: Shard) -> list[Completion]:
    """The completions of all processes in the order of the examples."""
    return [completion for _, completion in sorted(shard.gather_items(done), key=lambda pair: pair[0])]


def completions_of(model: DiffusionLM, rollout: Rollout, limits: Sequence[int] | None = None) -> list[Completion]:
    """The completions of a rollout, each cut to its limit in tokens where there are limits."""
    assert rollout.forwards_B is not None
    rows = rollout.num_rows
    columns = zip(
        rollout.completion_ids_BC.tolist(),
        model.completion_lengths(rollout.completion_ids_BC).tolist(),
        limits or [rollout.completion_length] * rows,
        rollout.num_steps_B.tolist(),
        rollout.forwards_B.tolist(),
        strict=True,
    )
    return [
        Completion(
            ids=tuple(ids[:limit]),
            text=model.tokenizer.decode(ids[: min(end, limit)]),
            tokens=min(end, limit),
            steps=steps,
            forwards=forwards,
            seconds=rollout.seconds / rows,
            flops=rollout.flops / rows,
        )
        for ids, end, limit, steps, forwards in columns
    ]


def item_seed(example_id: str, seed: int = 0) -> int:
    """The seed of an item's draws: a 63-bit hash of its id and, where it is not 0, of the evaluation's seed."""
    text = f"{seed}:{example_id}" if seed else example_id
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

"""Completions of prompts, greedy or sampled, with their cost."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import Generation
from harness.distributed.shard import ALONE, Shard
from harness.models.diffusion_lm import DiffusionLM
from harness.models.memory import EVALUATION
from harness.rollout import Rollout
from harness.task.base import Example


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One completion. tokens: before the first end token. steps: unmasking steps taken. forwards: forward passes of its
    row. seconds, flops: its even share of its batches', on one process."""

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

    @property
    def counts(self) -> dict[str, Any]:
        """What a sample says of it beside its text."""
        return {"tokens": self.tokens, "steps": self.steps, "forwards": self.forwards}


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
    """One completion of every prompt, as they are done, each with the number of its example; several processes share
    the work, and `gathered` joins it.

    batch_size: prompts per forward pass. known: numbers of examples that are left out. Batches are made of prompts of
    similar length; the draws of an item depend on its id and the seed alone, so neither the batch size, nor the order,
    nor the number of processes changes a completion.
    """
    missing = (index for index in range(len(prompts)) if index not in known)
    mine = sorted(missing, key=lambda index: len(prompts[index]))[shard.index :: shard.count]
    with model.in_step():
        if not mine:
            return
        encoded = model.encode_prompts([prompts[index] for index in mine])
        seed_B = torch.tensor([item_seed(examples[index].id, seed) for index in mine])
        generation = Generation(model, encoded, decoding, seed_B)
        for rows in generation.run(batch_size, functools.partial(model.memory.fitting, EVALUATION)):
            yield [(mine[row], completion) for row, completion in completed(model, generation.rollout, rows)]


def to_score(examples: Sequence[Example], done: Iterable[tuple[int, Completion]]) -> Iterator[tuple[int, Example, str]]:
    """What there is to score of completions, each with the number of its example, which is its key."""
    return ((index, examples[index], completion.text) for index, completion in done)


def gathered(done: list[tuple[int, Completion]], shard: Shard) -> list[Completion]:
    """The completions of all processes in the order of the examples."""
    return [completion for _, completion in sorted(shard.gather_items(done), key=lambda pair: pair[0])]


def completed(
    model: DiffusionLM, rollout: Rollout, rows: Sequence[int], limits: Sequence[int] | None = None
) -> list[tuple[int, Completion]]:
    """The completions of rows of a rollout, each with its row and cut to its limit in tokens where there are limits,
    one for every row of the rollout."""
    index_B = torch.tensor(rows, device=rollout.completion_ids_BC.device)
    ids_BC = rollout.completion_ids_BC[index_B]
    spent = (rollout.num_steps_B, rollout.forwards_B, rollout.seconds_B, rollout.flops_B)
    columns = zip(
        rows,
        ids_BC.tolist(),
        model.completion_lengths(ids_BC).tolist(),
        *(values_B[index_B].tolist() for values_B in spent if values_B is not None),
        strict=True,
    )
    found = []
    for row, ids, end, steps, forwards, seconds, flops in columns:
        limit = limits[row] if limits else len(ids)
        tokens = min(end, limit)
        completion = Completion(
            ids=tuple(ids[:limit]),
            text=model.tokenizer.decode(ids[:tokens]),
            tokens=tokens,
            steps=steps,
            forwards=forwards,
            seconds=seconds,
            flops=flops,
        )
        found.append((row, completion))
    return found


def item_seed(example_id: str, seed: int = 0) -> int:
    """The seed of an item's draws: a 63-bit hash of its id and, where it is not 0, of the evaluation's seed."""
    text = f"{seed}:{example_id}" if seed else example_id
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

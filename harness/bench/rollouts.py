"""Rollouts by the exact sampler, with key/value caches and with a threshold, beside the forward passes that they cannot
do without and, where there is one, beside other code of the same kind."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.bench.beside import Beside
from harness.bench.shapes import BenchShape
from harness.bench.timing import Measurement, in_turn, timed_alone
from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.diffusion.samplers.passes import BlockPasses
from harness.diffusion.samplers.rows import Rows
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Prompts, Rollout

KINDS: Mapping[str, dict[str, Any]] = {
    "exact": {},
    "prefix": {"cache": "prefix"},
    "dual": {"cache": "dual"},
    "threshold": {"threshold": 0.9},
}
"""What differs in their decoding. Random weights are never sure: with the threshold a pass reveals one token."""


def measure_rollouts(
    model: DiffusionLM, prompts: Prompts, shape: BenchShape, *, temperature: float, runs: int, beside: Beside | None
) -> Iterator[Measurement]:
    """Whole rollouts of each kind, `runs` of them in turn with their floor."""
    for name, options in KINDS.items():
        decoding = dataclasses.replace(decoding_of(shape, temperature), **options)
        yield from _measure(model, prompts, name, decoding, runs, beside)


def decoding_of(shape: BenchShape, temperature: float) -> Decoding:
    """The exact rollout of a shape; no row ends early."""
    return Decoding(
        completion_length=shape.completion,
        block_length=shape.block,
        num_steps=shape.steps,
        temperature=temperature,
        eos_policy="run",
    )


def _measure(
    model: DiffusionLM, prompts: Prompts, name: str, decoding: Decoding, runs: int, beside: Beside | None
) -> Iterator[Measurement]:
    seeds = torch.arange(len(prompts.ids_BP))
    rollout = generate(model, prompts, decoding, seeds)
    passes = passes_per_block(rollout, decoding)
    device = str(model.device)
    contenders = {
        "floor": lambda: timed_alone(lambda: bare_passes(model, prompts, decoding, passes), device),
        "ours": lambda: timed_alone(lambda: generate(model, prompts, decoding, seeds), device),
    }
    if beside and beside.has(name):
        contenders["beside"] = lambda: beside.seconds(name, decoding)
    seconds = in_turn(contenders, runs)
    made = functools.partial(Measurement, unit="tokens", amount=float(rollout.completion_ids_BC.numel()))
    floor, ours = seconds["floor"], seconds["ours"]
    yield made(name=name, seconds=ours, floor="bare forward", floor_seconds=floor, passes=sum(passes))
    if beside and "beside" in seconds:
        theirs = beside.last
        alike = torch.tensor(theirs.completion) == rollout.completion_ids_BC.cpu()
        yield made(
            name=f"{name}, {beside.title}",
            seconds=seconds["beside"],
            floor=f"our {name}",
            floor_seconds=ours,
            passes=theirs.passes,
            agreement=None if decoding.temperature else alike.double().mean().item(),
        )


def passes_per_block(rollout: Rollout, decoding: Decoding) -> list[int]:
    """How many forward passes each block took: as many as its slowest row had steps in it."""
    blocks = rollout.unmask_step_BC.split(decoding.block_length, dim=1)
    return [max(len(steps_n.unique()) for steps_n in steps_Bn) for steps_Bn in blocks]


@torch.no_grad()
def bare_passes(model: DiffusionLM, prompts: Prompts, decoding: Decoding, passes: Sequence[int]) -> None:
    """Trunk and head on the active block, passes[k] times in block k, with the cache of the decoding; nothing is
    sampled."""
    row_B = torch.arange(len(prompts.ids_BP), device=model.device)
    blank_BC = torch.full((len(row_B), decoding.completion_length), model.special.mask_id, device=model.device)
    given_BC = torch.zeros_like(blank_BC, dtype=torch.bool)
    rows = Rows(row_B, *prompts.with_completion(blank_BC), row_B, None, given_BC, prompts.ids_BP.shape[1], block=0)
    for number, count in enumerate(passes):
        begin = rows.prompt_length + number * decoding.block_length
        end = begin + decoding.block_length
        of_block = BlockPasses(model, rows, decoding, begin=begin, end=end)
        for _ in range(count):
            hidden_Bqd, predicted = of_block.hidden()
            model.head(_of_block(hidden_Bqd, begin - predicted, decoding.block_length).flatten(0, 1))


def _of_block(hidden_Bqd: Tensor, first: int, length: int) -> Tensor:
    """The columns that predict the block. A model that predicts the next token leaves the first out in a part."""
    return hidden_Bqd[:, max(first, 0) : first + length]

"""Completions of prompts of mixed length of which half end early: three ways to make batches, in turn, in one run.

Kept: batches in the order of the prompts, padded to the longest of the batch, in which finished rows stay. Apart:
batches of prompts of like length, which finished rows leave. Anew: as evaluations and rollouts do it, with the batch
made anew for every block.

    python bench/batching.py                    200 prompts of 8 to 120 tokens, 64 tokens in blocks of 8, batch 8
    python bench/batching.py --device cuda --shape llada-1b

Every second prompt's completion has end tokens alone from its second block on. The times are the processor's on a CPU,
so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from harness.bench.shapes import SHAPES, BenchShape, make_model
from harness.config.decoding import Decoding
from harness.diffusion.sampler import Generation, generate
from harness.models.diffusion_lm import DiffusionLM
from harness.planning.device import synchronise

SMALL = BenchShape(
    name="small", hidden=128, layers=2, heads=4, intermediate=344, vocabulary=1024, completion=64, block=8, steps=16
)
SHORTEST, LONGEST = 8, 120
MARKER = 1
"""The first token of prompts that end early, and of no others."""


def mixed_prompts(shape: BenchShape, count: int) -> list[list[int]]:
    """Prompts of every length between the shortest and the longest, in a random order; every second one is marked."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (count,), generator=generator).tolist()
    bodies = [torch.randint(2, shape.vocabulary - 1, (length - 1,), generator=generator).tolist() for length in lengths]
    return [[MARKER if number % 2 else 2, *body] for number, body in enumerate(bodies)]


def end_early(model: DiffusionLM, shape: BenchShape) -> None:
    """Has the model predict end tokens alone from the second block of the marked prompts on."""
    real, ends = model.predictor.hidden, model.special.end_ids[0]
    end_d = 1e3 * model.predictor.transformer.lm_head.weight[ends].detach()
    ended = shape.completion - shape.block

    def hidden(tokens_BL: Tensor, mask_BL: Tensor | None, clean_BL: Tensor | None = None) -> Tensor:
        states_BLd = real(tokens_BL, mask_BL, clean_BL)
        states_BLd[(tokens_BL[:, : -shape.completion] == MARKER).any(1), -ended:] = end_d
        return states_BLd

    model.predictor.hidden = hidden  # type: ignore[method-assign]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """One way to complete all prompts. forwards: rows times passes of the last time."""

    run: Callable[[], Iterator[Tensor]]
    seconds: list[float] = dataclasses.field(default_factory=list)
    forwards: list[int] = dataclasses.field(default_factory=list)


def ways(model: DiffusionLM, prompts: Sequence[Sequence[int]], decoding: Decoding, batch: int) -> dict[str, Way]:
    """The three ways, each yielding the forward passes of the rows of a batch."""
    staying = dataclasses.replace(decoding, eos_policy="run")
    by_length = sorted(prompts, key=len)

    def batches(prompts: Sequence[Sequence[int]], decoding: Decoding) -> Iterator[Tensor]:
        for start in range(0, len(prompts), batch):
            rows = model.pad_prompts(prompts[start : start + batch])
            rollout = generate(model, rows, decoding, torch.arange(start, start + len(rows.ids_BP)))
            assert rollout.forwards_B is not None
            yield rollout.forwards_B

    def anew() -> Iterator[Tensor]:
        generation = Generation(model, model.pad_prompts(prompts), decoding, torch.arange(len(prompts)))
        for _ in generation.run(batch):
            pass
        assert generation.rollout.forwards_B is not None
        yield generation.rollout.forwards_B

    return {
        "kept": Way(run=lambda: batches(prompts, staying)),
        "apart": Way(run=lambda: batches(by_length, decoding)),
        "anew": Way(run=anew),
    }


def measure(way: Way, device: str) -> None:
    """One time all prompts."""
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    synchronise(device)
    start = clock()
    way.forwards.append(sum(int(forwards_B.sum()) for forwards_B in way.run()))
    synchronise(device)
    way.seconds.append(clock() - start)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default=SMALL.name, choices=[SMALL.name, *SHAPES])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    shape = {**SHAPES, SMALL.name: SMALL}[chosen.shape]
    model, _ = make_model(shape, chosen.device)
    end_early(model, shape)
    decoding = Decoding(
        completion_length=shape.completion, block_length=shape.block, num_steps=shape.steps, temperature=0.9
    )
    prompts = mixed_prompts(shape, chosen.prompts)
    measured = ways(model, prompts, decoding, chosen.batch)
    for way in ways(model, prompts[: chosen.batch], decoding, chosen.batch).values():
        measure(way, chosen.device)
    for number in range(chosen.runs):
        in_turn = list(measured.values())
        for way in reversed(in_turn) if number % 2 else in_turn:
            measure(way, chosen.device)
    print(f"{shape.name} on {chosen.device}: {chosen.prompts} prompts, batch {chosen.batch}, {shape.steps} steps")
    for name, way in measured.items():
        kept = statistics.median(one / own for one, own in zip(measured["kept"].seconds, way.seconds, strict=True))
        seconds, forwards = statistics.median(way.seconds), way.forwards[-1]
        print(f"  {name:7s}{seconds:9.2f} s {forwards:9,} passes of a row  kept / this = {kept:.2f}", flush=True)


if __name__ == "__main__":
    main()

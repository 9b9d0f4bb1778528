"""How the cost of rollouts grows: with twice the rows, and with twice the tokens, beside what the account says; and the
account beside torch's own counter."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.bench.rollouts import decoding_of
from harness.bench.shapes import BenchShape, made_up_ids
from harness.bench.timing import in_turn, timed_alone
from harness.config.decoding import CACHES, Decoding
from harness.diffusion.sampler import generate
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Prompts, Rollout

EXACT, BLOCK_CAUSAL = "exact", "block-causal"
BLOCKS = 2
TEMPERATURE = 0.9


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Twice as many `doubled`, in a rollout of a kind.

    seconds, flops: how many times more they take, measured (median of the runs' ratios) and by the account. counted:
    the account / torch's counter of FLOPs, of the rollout that was doubled.
    """

    kind: str
    doubled: str
    seconds: float
    flops: float
    counted: float

    @property
    def ratio(self) -> float:
        """Time / account: 1 where time grows as the account says."""
        return self.seconds / self.flops


def measure_growth(model: DiffusionLM, block_model: DiffusionLM, shape: BenchShape, *, runs: int) -> Iterator[Growth]:
    """Rollouts of two blocks, of twice the rows, and of four blocks, of each kind, `runs` of them in turn. block_model:
    the same model where attention goes by blocks of the shape."""
    plain = shape.with_completion(BLOCKS * shape.block)
    sizes = {
        "plain": plain,
        "rows": plain.with_sizes(batch=2 * plain.batch),
        "tokens": shape.with_completion(2 * BLOCKS * shape.block),
    }
    kinds = [(EXACT if cache == "none" else cache, model, cache) for cache in CACHES]
    for kind, policy, cache in [*kinds, (BLOCK_CAUSAL, block_model, "none")]:
        rollouts = {name: _Sized(policy, size, cache) for name, size in sizes.items()}
        flops = {name: rollout.generate().flops for name, rollout in rollouts.items()}
        counted = flops["plain"] / rollouts["plain"].counted_flops()
        seconds = in_turn({name: rollout.seconds for name, rollout in rollouts.items()}, runs)
        for doubled in ("rows", "tokens"):
            pairs = zip(seconds[doubled], seconds["plain"], strict=True)
            yield Growth(
                kind=kind,
                doubled=doubled,
                seconds=statistics.median(more / less for more, less in pairs),
                flops=flops[doubled] / flops["plain"],
                counted=counted,
            )


class _Sized:
    """A rollout of the model at a shape's sizes."""

    def __init__(self, model: DiffusionLM, shape: BenchShape, cache: str) -> None:
        self.model = model
        self.prompts = Prompts(ids_BP=made_up_ids(shape).to(model.device), mask_BP=None)
        self.decoding: Decoding = dataclasses.replace(decoding_of(shape, TEMPERATURE), cache=cache)

    def generate(self) -> Rollout:
        return generate(self.model, self.prompts, self.decoding, torch.arange(len(self.prompts.ids_BP)))

    def seconds(self) -> float:
        return timed_alone(self.generate, str(self.model.device))

    def counted_flops(self) -> int:
        """As torch counts them; plain matrix products in attention, because it knows no fused kernel of a CPU."""
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            self.generate()
        total: int = counter.get_total_flops()
        return total

"""How near an approximate decoding comes to exact decoding: token by token, and in log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.config.decoding import Decoding
from harness.diffusion.exact_record import exact_at
from harness.diffusion.sampler import generate
from harness.distributed.shard import Shard
from harness.evaluation.completions import item_seed
from harness.models.diffusion_lm import DiffusionLM
from harness.models.memory import EVALUATION
from harness.task.base import Example


@dataclass(frozen=True, kw_only=True)
class TokenAgreement:
    """tokens: share of equal tokens. completions: share of completions that are the same."""

    tokens: float
    completions: float


def token_agreement(ours: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> TokenAgreement:
    """Of the same items' completions, each up to its end: a token counts as equal where the same stands in the same
    place of the other, and what one has beyond the end of the other as another."""
    pairs = [(list(first), list(second)) for first, second in zip(ours, exact, strict=True)]
    compared = sum(max(len(first), len(second)) for first, second in pairs)
    equal = sum(one == other for first, second in pairs for one, other in zip(first, second, strict=False))
    return TokenAgreement(
        tokens=equal / compared if compared else 1.0,
        completions=sum(first == second for first, second in pairs) / len(pairs),
    )


@dataclass(frozen=True, kw_only=True)
class LogprobGap:
    """Of |recorded log-probability - that of a whole pass in the same state| over so many tokens, nats."""

    mean: float
    largest: float
    tokens: int


def logprob_gap(
    model: DiffusionLM,
    examples: Sequence[Example],
    prompts: Sequence[str],
    decoding: Decoding,
    *,
    batch_size: int,
    seed: int,
    shard: Shard,
) -> LogprobGap:
    """The gap over all tokens of the examples' completions, which are generated anew, as the evaluation did, and scored
    by one whole pass for each of their steps. Several processes share the examples."""
    mine = range(len(examples))[shard.index :: shard.count]

    def gaps(places: slice) -> list[float]:
        indices = mine[places]
        seed_B = torch.tensor([item_seed(examples[index].id, seed) for index in indices])
        rollout = generate(model, model.encode_prompts([prompts[index] for index in indices]), decoding, seed_B)
        step_T = torch.arange(int(rollout.num_steps_B.max()), device=model.device)
        exact = exact_at(rollout, model, step_T.expand(len(indices), -1))
        was_sampled_BC = rollout.unmask_step_BC < rollout.num_steps
        found: list[float] = (rollout.logprob_BC - exact.logprob_BC).abs()[was_sampled_BC].tolist()
        return found

    with model.in_step():
        own = [gap for part in model.memory.pieces(EVALUATION, len(mine), batch_size, gaps) for gap in part]
    found = shard.gather_items(own)
    return LogprobGap(mean=math.fsum(found) / len(found), largest=max(found), tokens=len(found))

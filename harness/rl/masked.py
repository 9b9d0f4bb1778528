"""Completions seen through masks: inputs, and the log-probabilities of the completion's tokens given them. All that
estimators from random masks share; which masks, and what becomes of the log-probabilities, is a method's own.

Axes: B rows, D inputs per row, N = B * D; P prompt, C completion, L = P + C; X micro-batches.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from harness.diffusion.elbo import mean_masked_logprob
from harness.diffusion.guidance import guided_logits
from harness.diffusion.logprob import chosen_logprob, recomputed, without_gradient
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import uniforms
from harness.rl.method import LossPart
from harness.rollout import Rollout, ScoredRollouts

PROMPT_DRAW = 0


@dataclass(frozen=True, kw_only=True)
class MaskedInputs(LossPart):
    """D masked inputs per row. target_BC: the completion. at_once: inputs per forward pass, 0 for all."""

    tokens_BDL: Tensor
    mask_BL: Tensor | None
    target_BC: Tensor
    at_once: int = 0

    @property
    def sequences_per_row(self) -> int:
        """D."""
        return self.tokens_BDL.shape[1]

    def split(self, sequences: int) -> Iterator[Self]:
        """As every part; a row with more than `sequences` inputs takes them in turn."""
        for part in super().split(sequences):
            yield dataclasses.replace(part, at_once=sequences)


def masked_inputs(rollout: Rollout, is_masked_BDC: Tensor, is_masked_BDP: Tensor | None = None) -> Tensor:
    """Every masked copy of prompt and completion (B, D, L); without is_masked_BDP the prompt is whole."""
    copies = is_masked_BDC.shape[1]
    prompt_BDP = rollout.prompts.ids_BP[:, None].expand(-1, copies, -1)
    if is_masked_BDP is not None:
        prompt_BDP = prompt_BDP.masked_fill(is_masked_BDP, rollout.mask_id)
    completion_BDC = torch.where(is_masked_BDC, rollout.mask_id, rollout.completion_ids_BC[:, None])
    return torch.cat([prompt_BDP, completion_BDC], 2)


def inputs_of(rollout: Rollout, is_masked_BDC: Tensor, is_masked_BDP: Tensor | None = None) -> dict[str, Any]:
    """The fields of MaskedInputs."""
    return {
        "tokens_BDL": masked_inputs(rollout, is_masked_BDC, is_masked_BDP),
        "mask_BL": attended(rollout),
        "target_BC": rollout.completion_ids_BC,
    }


def new_logprob(policy: DiffusionLM, part: MaskedInputs, *, guidance_scale: float = 0.0) -> Tensor:
    """Log-probabilities (B, D, C) of the completion's tokens under `policy`, nats, with their gradient."""
    scored = functools.partial(input_logprob, policy, guidance_scale=guidance_scale)
    rows = _flat(part.tokens_BDL, part.mask_BL, part.target_BC)
    return recomputed(policy, scored, *rows, at_once=part.at_once).view(*part.tokens_BDL.shape[:2], -1)


def reference_logprob(policy: DiffusionLM, part: MaskedInputs, *, guidance_scale: float = 0.0) -> Tensor:
    """The same (B, D, C) under the reference policy, without gradient."""
    with torch.no_grad(), policy.reference_policy():
        return new_logprob(policy, part, guidance_scale=guidance_scale)


def old_logprob(
    policy: DiffusionLM,
    rollout: Rollout,
    tokens_BDL: Tensor,
    *,
    guidance_scale: float = 0.0,
    kept_BC: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The same (B, D, C) while the policy is still the one that sampled, some inputs at a time; and the attention
    mask_BL of prompt and completion. kept_BC: as in `attended`."""
    mask_BL = attended(rollout, kept_BC)
    logprob_NC = without_gradient(
        policy,
        functools.partial(input_logprob, policy, guidance_scale=guidance_scale),
        *_flat(tokens_BDL, mask_BL, rollout.completion_ids_BC),
        positions=rollout.completion_length,
        together=tokens_BDL.shape[1],
    )
    return logprob_NC.view(*tokens_BDL.shape[:2], -1), mask_BL


def input_logprob(
    policy: DiffusionLM, tokens_NL: Tensor, mask_NL: Tensor | None, target_NC: Tensor, *, guidance_scale: float = 0.0
) -> Tensor:
    """Log-probabilities (N, C) of the completions' tokens given masked inputs, nats. guidance_scale: of classifier-free
    guidance, whose blind input has the whole prompt masked; 0 for none."""
    length = target_NC.shape[1]
    if not guidance_scale:
        clean_NL = torch.cat([tokens_NL[:, :-length], target_NC], 1)
        return chosen_logprob(policy.completion_logits(tokens_NL, mask_NL, length, clean_NL), target_NC)
    place_L = torch.arange(tokens_NL.shape[1], device=tokens_NL.device)
    is_context_L = place_L < len(place_L) - length
    position_NC = place_L[~is_context_L].expand_as(target_NC)
    logits_NCV = guided_logits(policy, tokens_NL, mask_NL, position_NC, is_context=is_context_L, scale=guidance_scale)
    return chosen_logprob(logits_NCV, target_NC)


def prompt_mask(rollout: Rollout, seed_B: Tensor, update: int, probability: float) -> Tensor:
    """The prompt tokens masked in an inner update, each with that probability, bool (B, P); never padding.

    Positions are counted from the prompt's end, so that padding changes no draw.
    """
    ids_BP, mask_BP = rollout.prompts.ids_BP, rollout.prompts.mask_BP
    from_end_P = torch.arange(ids_BP.shape[1] - 1, -1, -1, device=ids_BP.device)
    uniform_BP = uniforms(seed_B.to(ids_BP.device), update, from_end_P.expand_as(ids_BP), PROMPT_DRAW)
    is_masked_BP = uniform_BP < probability
    return is_masked_BP if mask_BP is None else is_masked_BP & mask_BP


def masks_at_drawn_rates(seed_B: Tensor, steps: range, length: int, *, least: float, most: float, kind: int) -> Tensor:
    """A mask for each of the steps, bool (B, D, C): its rate is uniform between `least` and `most`, and every token is
    masked with it. kind: the draw of rates; the next is that of tokens."""
    place_BC = torch.arange(length, device=seed_B.device).expand(len(seed_B), -1)
    masks = []
    for step in steps:
        rate_B1 = least + (most - least) * uniforms(seed_B, step, place_BC[:, :1], kind)
        masks.append(uniforms(seed_B, step, place_BC, kind + 1) < rate_B1)
    return torch.stack(masks, 1)


def masked_elbo(policy: DiffusionLM, rollout: Rollout, is_masked_BDC: Tensor) -> Tensor:
    """ELBO (B,), nats, of the policy that sampled or its reference: the mean over inputs of the mean masked token times
    the number of tokens."""
    logprob_BDC, _ = old_logprob(policy, rollout, masked_inputs(rollout, is_masked_BDC))
    return mean_masked_logprob(logprob_BDC, is_masked_BDC) * logprob_BDC.shape[2]


def until_first_end(is_end_BC: Tensor) -> Tensor:
    """True up to and including the first end token (B, C)."""
    return is_end_BC.cumsum(1) - is_end_BC.long() == 0


def token_counts(counted_BC: Tensor, scored: ScoredRollouts) -> Tensor:
    """Counted tokens of each micro-batch of the global batch (X,)."""
    count_B = scored.shard.gather(counted_BC.sum(1))
    return torch.stack([part_B.sum() for part_B in count_B.split(scored.micro_batches)])


def row_weights(count_X: Tensor, scored: ScoredRollouts) -> Tensor:
    """The weight of each of this process's rows against the sum of the counts (B,), float64: the loss is then the mean
    of what the micro-batches have, each over its own count."""
    weight_X = count_X.sum().double() / len(count_X) / count_X
    return scored.shard.mine(weight_X.repeat_interleave(torch.tensor(scored.micro_batches, device=weight_X.device)))


def _flat(tokens_BDL: Tensor, mask_BL: Tensor | None, target_BC: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Rows of inputs (N, ..)."""
    copies = tokens_BDL.shape[1]
    mask_NL = None if mask_BL is None else mask_BL.repeat_interleave(copies, 0)
    return tokens_BDL.flatten(0, 1), mask_NL, target_BC.repeat_interleave(copies, 0)


def attended(rollout: Rollout, kept_BC: Tensor | None = None) -> Tensor | None:
    """The attention mask_BL of prompt and completion. kept_BC: the tokens of the completion that the model sees, by
    default all; what is not kept is as if rows ended before it."""
    tokens_BL, mask_BL = rollout.prompts.with_completion(rollout.completion_ids_BC)
    if kept_BC is None or bool(kept_BC.all()):
        return mask_BL
    mask_BL = torch.ones_like(tokens_BL, dtype=torch.bool) if mask_BL is None else mask_BL
    return torch.cat([mask_BL[:, : -kept_BC.shape[1]], kept_BC], 1)

"""Every outcome of the laws that methods draw from, for `harness diagnose`: few where a completion has three tokens.

What is made of draws is linear in them where the ratio is 1, so one draw at a time is as good as all of them together.

Axes: B rows, U = 1 inner updates, D inputs or M draws per row; C completion, P prompt, L = P + C; T steps; X outcomes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from harness.models.diffusion_lm import DiffusionLM
from harness.rl import step_selection
from harness.rl.estimator import Outcome
from harness.rl.masked import until_first_end
from harness.rollout import ScoredRollouts


def masks_of_count(length: int, count: int) -> list[Tensor]:
    """All masks (C,) of `count` among `length` tokens."""
    chosen = itertools.combinations(range(length), count)
    return [torch.tensor([place in places for place in range(length)]) for places in chosen]


def masks_at_two_rates(length: int, least: float, most: float) -> Iterator[tuple[float, Tensor, float]]:
    """Rates, masks (C,) and their probabilities, where the rate is uniform between `least` and `most` and every token
    is masked with it: all masks at the two rates of Gauss and Legendre, which integrate exactly what is of degree 3 in
    the rate at most."""
    middle, spread = (most + least) / 2, (most - least) / 12**0.5
    masks = list(itertools.product((False, True), repeat=length))
    for rate, mask in itertools.product((middle - spread, middle + spread), masks):
        yield rate, torch.tensor(mask), rate ** sum(mask) * (1 - rate) ** (length - sum(mask)) / 2


def every_mask(added: int, scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """All masks of a row (B, 1, 1, C); every count is equally likely, and so are the masks of a count. added: draws
    that an update adds up."""
    rows, length = scored.rollout.completion_ids_BC.shape
    return [
        Outcome(
            draws=torch.tensor(mask).expand(rows, 1, 1, -1),
            probability=added / (length + 1) / math.comb(length, sum(mask)),
        )
        for mask in itertools.product((False, True), repeat=length)
    ]


def every_denoised_mask(least: float, in_pairs: bool, scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """All masks at rates between `least` and 1, for the loss (B, U, D, C), where they are alone or with their
    complements, and for the weights (B, D, C): the probability of a mask is of degree C in the rate."""
    rows, length = scored.rollout.completion_ids_BC.shape
    outcomes = []
    for _, mask_C, probability in masks_at_two_rates(length, least, 1.0):
        mask_BDC = mask_C.expand(rows, 1, -1)
        loss_BDC = torch.cat([mask_BDC, ~mask_BDC], 1) if in_pairs else mask_BDC
        outcomes.append(Outcome(draws=(loss_BDC[:, None], mask_BDC), probability=probability))
    return outcomes


def every_pair_of_blocks(share: float, scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """All pairs of inputs (B, U, 2, L) that mask a block of one token and all after it, with all that may be masked
    before these, each token with the probability `share`."""
    length = scored.rollout.completion_length
    text_B1 = until_first_end(policy.is_end(scored.rollout.completion_ids_BC)).sum(1, keepdim=True)
    prompt_BP = torch.zeros_like(scored.rollout.prompts.ids_BP, dtype=torch.bool)
    places, pairs = torch.arange(length), list(itertools.combinations(range(length), 2))
    # The last token is no token before a block.
    earlier_XDC = torch.tensor(list(itertools.product((False, True), repeat=2 * (length - 1)))).view(-1, 2, length - 1)
    outcomes = []
    for pair, chosen_DC in itertools.product(pairs, earlier_XDC):
        masked_BDC = places >= torch.tensor(pair)[:, None] % text_B1[:, None]
        masked_BDC = masked_BDC | torch.nn.functional.pad(chosen_DC, (0, 1))
        probability = torch.where(chosen_DC, share, 1 - share).double().prod().item() / len(pairs)
        masks_BDL = torch.cat([prompt_BP[:, None].expand(-1, 2, -1), masked_BDC], 2)
        outcomes.append(Outcome(draws=masks_BDL[:, None], probability=probability))
    return outcomes


def every_uniform(scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """Uniforms (B, 1) that meet every step of rows of 1, 2, .. T steps equally often."""
    number = math.lcm(*range(1, scored.rollout.num_steps + 1))
    size = (scored.rollout.num_rows, 1)
    points = [torch.full(size, (index + 0.5) / number, dtype=torch.float64) for index in range(number)]
    return [Outcome(draws=uniform_B1, probability=1 / number) for uniform_B1 in points]


def every_weighed_step(scored: ScoredRollouts, policy: DiffusionLM) -> list[Outcome]:
    """A uniform (B, 1) inside each step's share of the CDF of entropy importance sampling, with its probability."""
    rollout = scored.rollout
    probability_BT = step_selection.draw_probabilities(rollout, policy.is_end(rollout.completion_ids_BC))
    middle_BT = probability_BT.cumsum(1) - probability_BT / 2
    columns = zip(middle_BT.split(1, dim=1), probability_BT.unbind(1), strict=True)
    return [Outcome(draws=middle_B1.contiguous(), probability=probability_B) for middle_B1, probability_B in columns]

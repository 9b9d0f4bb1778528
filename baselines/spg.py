"""SPG: the sandwiched policy gradient, which bounds a completion's log-likelihood from both sides (arXiv 2510.09541).

This is EGSPO with: a likelihood per completion instead of one per step, bounded from randomly masked completions; no
ratio and no clip. Where the advantage is positive a lower bound (ELBO) is raised, where it is negative an upper bound
(EUBO), or a mixture of both, is lowered: what is lowered below its true value was no reason to raise others. The masks
are those of block-wise decoding: one block in part, all after it, what is before it seldom.

Axes: B rows, prompt-major in groups of G; P prompt, C completion, L = P + C; U inner updates; D masked inputs per row
(num_t); X micro-batches; K blocks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.elbo import masks_of_parts, mean_masked_logprob, mean_upper_bound, uniform_counts
from harness.errors import UserError, require_choices, require_positive, require_shares
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, uniforms
from harness.registry import method
from harness.rl.advantages import centred_rewards
from harness.rl.estimator import Estimator, Setting
from harness.rl.masked import (
    MaskedInputs,
    inputs_of,
    new_logprob,
    prompt_mask,
    row_weights,
    token_counts,
    until_first_end,
)
from harness.rl.method import Loss, Method, Prepared, ScoreFunction, UpdateBatch
from harness.rl.outcomes import every_pair_of_blocks
from harness.rollout import ScoredRollouts

CHOICES = {
    "logp_estimation": ("mix", "elbo", "eubo", "zero"),
    "forward_type": ("block_random", "random", "block_all", "all"),
}
BLOCK_DRAW, COUNT_DRAW, PLACE_DRAW, EARLIER_DRAW = 1, 2, 3, 4  # prompt_mask has 0
FIXED_SEED = 42


@dataclass(frozen=True, kw_only=True)
class SpgConfig:
    """Options of SPG; the published values stand in the `paper` recipes.

    inner_updates: mu, optimiser updates per rollout, each with its own masks. logp_estimation: what is lowered where
    the advantage is not positive: the mixture, either bound, or nothing (zero). mix_weight: omega, the share of the
    EUBO in the mixture. eubo_beta: the order of the EUBO.
    forward_type: a random part of a block and all after it (block_random), a random part of the text (random), a block
    and all after it (block_all), or the whole completion (all). num_t: inputs per row. min_t, max_t: bounds of the
    share that a random part may have; it is always a token at least. block_length: of block_random and block_all;
    divides the completion. p_mask_prompt: probability that a token of the prompt, or of a block before, is masked too;
    0 is the published code's use_mask_prompt=false. random_masking: without it every update of the run draws the same
    masks. guidance_scale: of classifier-free guidance in the log-probabilities, 0 for none. beta: SPG has no KL term.
    """

    inner_updates: int = 4
    logp_estimation: str = "mix"
    mix_weight: float = 0.5
    eubo_beta: float = 1.5
    forward_type: str = "block_random"
    num_t: int = 2
    min_t: float = 0.0
    max_t: float = 1.0
    block_length: int = 4
    p_mask_prompt: float = 0.15
    random_masking: bool = True
    guidance_scale: float = 0.0
    beta: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Bounded(MaskedInputs):
    """One inner update. is_scored_BDC: masked, and not after the first end token; length_B: tokens up to that one;
    normaliser: their number in the global batch; weight_B: 1, unless micro-batches are normalised apart."""

    is_scored_BDC: Tensor
    length_B: Tensor
    advantage_B: Tensor
    weight_B: Tensor
    normaliser: float


@method("spg", title="SPG", colour="#882255", ablations=("logp_estimation", "forward_type", "num_t"))
@dataclass(frozen=True, kw_only=True)
class Spg(Method):
    """SPG."""

    Config: ClassVar[type] = SpgConfig
    takes_cached: ClassVar[bool] = True
    takes_adaptive: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = False  # tokens of the prompt are masked, which such a model has never seen
    compares: ClassVar[bool] = True
    config: SpgConfig = field(default_factory=SpgConfig)

    def check(self, decoding: Decoding) -> None:
        """Raises UserError for options outside their range, or at odds with each other or with the completion."""
        config = self.config
        require_choices("method", config, CHOICES)
        for name in ("inner_updates", "eubo_beta", "num_t", "block_length"):
            require_positive("method", **{name: getattr(config, name)})
        for name in ("mix_weight", "p_mask_prompt", "min_t", "max_t"):
            require_shares("method", **{name: getattr(config, name)})
        if config.min_t > config.max_t:
            raise UserError(f"method.min_t={config.min_t} exceeds method.max_t={config.max_t}; lower it.")
        if config.beta:
            raise UserError(f"method.beta={config.beta}: SPG has no KL term; set it to 0.")
        blocks, rest = divmod(decoding.completion_length, config.block_length)
        if config.forward_type.startswith("block") and rest:
            raise UserError(
                f"method.block_length={config.block_length} does not divide rollout.completion_length="
                f"{decoding.completion_length}; choose a divisor."
            )
        most = {"random": config.num_t, "all": 1}.get(config.forward_type, blocks)
        if config.num_t > most:
            raise UserError(
                f"method.num_t={config.num_t} inputs per row would repeat themselves: method.forward_type="
                f"{config.forward_type} with method.block_length={config.block_length} has {most} of them; lower it."
            )

    def draw(self, scored: ScoredRollouts, policy: DiffusionLM, generator: torch.Generator) -> Tensor:
        """What is masked in each input of each inner update, bool (B, U, D, L)."""
        config, rollout = self.config, scored.rollout
        source = generator if config.random_masking else torch.Generator().manual_seed(FIXED_SEED)
        seed_B = scored.shard.mine(row_seeds(scored.global_rows, source)).to(policy.device)
        text_B = until_first_end(policy.is_end(rollout.completion_ids_BC)).sum(1)

        def mask(update: int, index: int) -> Tensor:
            is_masked_BP = prompt_mask(rollout, seed_B, update * config.num_t + index, config.p_mask_prompt)
            is_masked_BC = completion_mask(text_B, rollout.completion_length, seed_B, update, index, config)
            return torch.cat([is_masked_BP, is_masked_BC], 1)

        updates = range(config.inner_updates) if config.random_masking else [0] * config.inner_updates
        masks = [torch.stack([mask(update, index) for index in range(config.num_t)], 1) for update in updates]
        return torch.stack(masks, 1)

    def prepare(self, scored: ScoredRollouts, policy: DiffusionLM, score: ScoreFunction, draws: Tensor) -> Prepared:
        """One update per inner update's masks; draws: bool (B, U, D, L)."""
        advantage_B = centred_rewards(scored)
        counted_BC = until_first_end(policy.is_end(scored.rollout.completion_ids_BC))
        count_X = token_counts(counted_BC, scored)
        length, dtype = scored.rollout.completion_length, scored.rollout.logprob_BC.dtype
        parts = [
            Bounded(
                **inputs_of(scored.rollout, is_masked_BDL[..., -length:], is_masked_BDL[..., :-length]),
                is_scored_BDC=is_masked_BDL[..., -length:] & counted_BC[:, None],
                length_B=counted_BC.sum(1),
                advantage_B=advantage_B.to(dtype),
                weight_B=row_weights(count_X, scored).to(dtype),
                normaliser=float(count_X.sum()),
            )
            for is_masked_BDL in draws.unbind(1)
        ]
        return Prepared(updates=[UpdateBatch(parts=[part]) for part in parts], advantages=advantage_B)

    def loss(self, policy: DiffusionLM, part: Bounded) -> Loss:
        """The bounds of every completion, weighted by advantage and length."""
        logprob_BDC = new_logprob(policy, part, guidance_scale=self.config.guidance_scale)
        lower_B = mean_masked_logprob(logprob_BDC, part.is_scored_BDC)
        upper_B = mean_upper_bound(logprob_BDC, part.is_scored_BDC, part.length_B, self.config.eubo_beta)
        value_B = row_value(lower_B, upper_B, part.advantage_B, self.config)
        bounds = {"elbo": lower_B.detach(), "eubo": upper_B.detach(), "eubo_below_elbo": (upper_B < lower_B).detach()}
        return weighted_loss(value_B, part), bounds

    @classmethod
    def estimators(cls, setting: Setting) -> list[Estimator]:
        """Every kind of bound, with two inputs a row that mask blocks of one token."""
        one_update = functools.partial(SpgConfig, inner_updates=1, block_length=1)
        kinds = {kind: one_update(logp_estimation=kind) for kind in CHOICES["logp_estimation"]}
        return [
            Estimator(
                method=cls(config=config),
                options=kind,
                baseline="group mean",
                size=config.num_t,
                outcomes=functools.partial(every_pair_of_blocks, config.p_mask_prompt),
                sampled=cls(config=config).draw,
                ends_early=kind == "mix",
                is_drawn=kind == "mix",
            )
            for kind, config in kinds.items()
        ]


def completion_mask(text_B: Tensor, length: int, seed_B: Tensor, update: int, index: int, config: SpgConfig) -> Tensor:
    """What an input masks of `length` tokens, the first text_B of them text, bool (B, C); a row with fewer blocks of
    text than inputs takes some of them again."""
    size = config.block_length if config.forward_type.startswith("block") else length
    step = update * config.num_t + index
    place_BC = torch.arange(length, device=seed_B.device).expand(len(seed_B), -1)
    order_BK = uniforms(seed_B, update, place_BC[:, : length // size], BLOCK_DRAW).argsort(1)
    start_B = order_BK[:, index % order_BK.shape[1]] % ((text_B - 1) // size + 1) * size
    inside_B = (text_B - start_B).clamp_max(size)
    count_B = inside_B
    if config.forward_type.endswith("random"):
        uniform_B1 = uniforms(seed_B, step, place_BC[:, :1], COUNT_DRAW)
        count_B = uniform_counts(inside_B, config.min_t, config.max_t, uniform_B1[:, 0])
    part_BC = masks_of_parts(start_B, inside_B, count_B, uniforms(seed_B, step, place_BC, PLACE_DRAW))
    is_chosen_BC = uniforms(seed_B, step, place_BC, EARLIER_DRAW) < config.p_mask_prompt
    return part_BC | (is_chosen_BC & (place_BC < start_B[:, None]))


def row_value(lower_B: Tensor, upper_B: Tensor, advantage_B: Tensor, config: SpgConfig) -> Tensor:
    """What stands for the log-likelihood (B,): the lower bound for a positive advantage, else `logp_estimation`."""
    share = {"elbo": 0.0, "eubo": 1.0, "zero": 0.0}.get(config.logp_estimation, config.mix_weight)
    other_B = torch.lerp(lower_B, upper_B, share) * (config.logp_estimation != "zero")
    return torch.where(advantage_B > 0, lower_B, other_B)


def weighted_loss(value_B: Tensor, part: Bounded) -> Tensor:
    """-A times the bound times the number of tokens, weighted, summed and divided by the number of all tokens."""
    return -(part.advantage_B * value_B * part.length_B * part.weight_B).sum() / part.normaliser

"""How completions are generated, as plain values. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.errors import UserError, require_choice, require_positive

REMASKING = ("low_confidence", "random", "entropy", "topk_margin", "maskgit_plus", "sequential", "p2")
RANKINGS = ("untempered", "behaviour")
SCHEDULES = ("even", "dream", "dllm")
CACHES = ("none", "prefix", "dual")
YOUNGER = {"cache": "none", "threshold": 0.0, "factor": 0.0, "entropy_bound": 0.0}
"""Options that the first records of evaluations did not have, with the value that changes nothing."""
EOS_POLICIES = ("stop", "stop-agrpo", "run", "forbid", "defer", "forbid-defer")
CHOICES = {
    "remasking": REMASKING,
    "ranking": RANKINGS,
    "schedule": SCHEDULES,
    "eos_policy": EOS_POLICIES,
    "cache": CACHES,
}


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How completions are generated.

    completion_length: C, tokens. block_length: tokens per semi-autoregressive block; divides C. A model that attends by
    blocks has a block_length of its own. num_steps: T, unmasking steps over the whole completion; of a model that
    attends by blocks a row may take other steps than the next (harness/diffusion/samplers/block.py). schedule: reveal
    evenly, by Dream's time steps, or by dllm's rounding, with which the last block may be shorter than the others.

    cache: what later passes of a block take from its first, over the whole sequence, instead of computing it again
    (Fast-dLLM): with prefix the keys and values of what is before the block, with dual of all but the block; both are
    approximations. threshold: a step reveals every token of the block whose probability reaches it, at least the
    surest, whatever num_steps is; 0 for none. factor: a step reveals every token whose probability, of rank r, reaches
    1 - factor / (r + 1), at least the surest, whatever num_steps is; 0 for none. entropy_bound: a step reveals the
    tokens of lowest entropy whose entropies sum to less than so many nats (EB-Sampler, arXiv 2505.24857); 0 for none.

    temperature: 0 is greedy. top_k: the draw is among so many of the most probable tokens, 0 for all. top_p: the draw
    is among the most probable tokens that together have this share of the tempered distribution, 1 for all.
    top_p_keeps_crossing: whether the token that crosses p stays (AGRPO drops it). guidance_scale: s of classifier-free
    guidance, uncond + (s + 1) (cond - uncond), 0 for none.

    remasking: the masked position that is revealed next has the most probable sampled token (low_confidence), the
    lowest entropy, the widest margin between its two best tokens (topk_margin), is any (random), or is the first
    (sequential); maskgit_plus is Dream's name for low_confidence. p2 ranks as low_confidence does, but all positions of
    the block at every step, and masks written ones again (Open-dCoder); for evaluation alone. ranking: whether the
    position is chosen by the untempered distribution or by the behaviour, the tempered and truncated one.

    eos_policy: stop leaves rows whose block came out as end tokens alone and fills them, and of a model that attends by
    blocks rows whose block holds one; stop-agrpo also asks this of the prompt's last block_length tokens before the
    first block; run never stops; forbid never generates the first end token; defer reveals end tokens last;
    forbid-defer does both.
    """

    completion_length: int = 16
    block_length: int = 16
    num_steps: int = 8
    schedule: str = "even"
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    top_p_keeps_crossing: bool = True
    guidance_scale: float = 0.0
    remasking: str = "low_confidence"
    ranking: str = "untempered"
    eos_policy: str = "stop"
    cache: str = "none"
    threshold: float = 0.0
    factor: float = 0.0
    entropy_bound: float = 0.0

    @property
    def truncated(self) -> bool:
        """Whether tokens are left out of the draw."""
        return self.top_k > 0 or self.top_p < 1

    @property
    def stops_early(self) -> bool:
        """Whether rows can leave the batch before their last step."""
        return self.eos_policy in ("stop", "stop-agrpo")

    @property
    def forbids_end(self) -> bool:
        """Whether the first end token is never generated."""
        return self.eos_policy in ("forbid", "forbid-defer")

    @property
    def adaptive(self) -> bool:
        """Whether a step reveals as many tokens as are sure enough, so that the number of steps is not known before."""
        return self.asks_probability or self.entropy_bound > 0

    @property
    def asks_probability(self) -> bool:
        """Whether what is sure enough is a matter of the probability of the token."""
        return self.threshold > 0 or self.factor > 0

    @property
    def computes_all(self) -> bool:
        """Whether every step computes every masked position, at the same step in all rows, and writes for good."""
        return self.cache == "none" and not self.adaptive and not self.remasks

    @property
    def remasks(self) -> bool:
        """Whether a token that is written may be masked again."""
        return self.remasking == "p2"

    @property
    def is_approximate(self) -> bool:
        """Whether completions may differ from those of `exact`."""
        return self.cache != "none" or self.adaptive

    @property
    def exact(self) -> Decoding:
        """The same without cache, threshold, factor and entropy bound: a whole pass for each of num_steps steps.
        Dream's schedule has no blocks then."""
        block_length = self.completion_length if self.schedule == "dream" else self.block_length
        return replace(self, block_length=block_length, cache="none", threshold=0.0, factor=0.0, entropy_bound=0.0)

    def to_record(self) -> dict[str, Any]:
        """Plain values for the record of an evaluation. What is younger than the first records stands there where it is
        used, so that an evaluation keeps its name."""
        unused = {name for name, value in YOUNGER.items() if getattr(self, name) == value}
        return {name: value for name, value in asdict(self).items() if name not in unused}

    def at_length(self, length: int) -> Decoding:
        """The decoding at another completion length, with as many tokens per step; a block is at most the whole.

        Raises UserError where the number of steps would not be whole.
        """
        steps, rest = divmod(self.num_steps * length, self.completion_length)
        if rest or length < 1:
            raise UserError(
                f"Completion length {length} does not go with {self.num_steps} steps for {self.completion_length} "
                "tokens: the number of steps would not be whole."
            )
        return replace(self, completion_length=length, num_steps=steps, block_length=min(self.block_length, length))

    def require_unguided(self, title: str) -> None:
        """Raises UserError for guided rollouts. title: of a method that takes old log-probabilities from the record."""
        if self.guidance_scale:
            raise UserError(
                f"rollout.guidance_scale={self.guidance_scale}: {title}'s log-probabilities are unguided, so its "
                "importance ratios would be wrong; set it to 0."
            )

    def check(self, section: str) -> None:
        """Raises UserError for values outside their range or at odds with each other."""
        sizes = {"completion_length": self.completion_length, "block_length": self.block_length}
        require_positive(section, num_steps=self.num_steps, **sizes)
        for name, choices in CHOICES.items():
            require_choice(f"{section}.{name}", getattr(self, name), choices)
        self._check_lengths(section)
        if self.temperature < 0:
            raise UserError(f"{section}.temperature={self.temperature} is negative; 0 is greedy, 1 samples the model.")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise UserError(
                f"{section}.top_k={self.top_k} must be 0 (none) or more, and {section}.top_p={self.top_p} above 0 and "
                "at most 1 (none)."
            )
        if self.guidance_scale < 0:
            raise UserError(f"{section}.guidance_scale={self.guidance_scale} is negative; 0 is no guidance.")
        self._check_parallel(section)

    def _check_parallel(self, section: str) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserError(f"{section}.threshold={self.threshold} must be a probability from 0 (none) to 1.")
        if self.factor < 0:
            raise UserError(f"{section}.factor={self.factor} is negative; 0 is none.")
        if self.entropy_bound < 0:
            raise UserError(f"{section}.entropy_bound={self.entropy_bound} is negative; 0 is none.")
        rules = [name for name in ("threshold", "factor", "entropy_bound") if getattr(self, name)]
        if len(rules) > 1:
            first, second = (f"{section}.{name}" for name in rules[:2])
            raise UserError(f"{first} and {second} are two rules for the same; set one of them to 0.")
        if self.entropy_bound and self.remasking != "entropy":
            raise UserError(
                f"{section}.entropy_bound={self.entropy_bound} goes by entropy; set {section}.remasking=entropy."
            )
        if self.asks_probability and self.remasking not in ("low_confidence", "maskgit_plus"):
            raise UserError(
                f"{section}.remasking={self.remasking} does not go with {section}.threshold or {section}.factor, which "
                "ask for the probability of the token; set it to low_confidence."
            )
        if self.guidance_scale and not self.computes_all:
            raise UserError(
                f"{section}.guidance_scale={self.guidance_scale} does not go with {section}.cache, .threshold, "
                ".factor, .entropy_bound or .remasking=p2; set it to 0."
            )
        if self.remasks and (self.cache != "none" or self.schedule != "even"):
            raise UserError(
                f"{section}.remasking=p2 has no cache and a schedule of its own; set {section}.cache=none and "
                f"{section}.schedule=even."
            )

    def _check_lengths(self, section: str) -> None:
        if self.schedule == "dream" and self.cache == "none" and self.block_length != self.completion_length:
            raise UserError(
                f"{section}.schedule=dream has no blocks without a cache; set {section}.block_length="
                f"{self.completion_length}, the completion length."
            )
        if self.schedule != "dllm" and self.completion_length % self.block_length:
            raise UserError(
                f"{section}.block_length={self.block_length} does not divide {section}.completion_length="
                f"{self.completion_length}; choose a divisor."
            )
        blocks = -(-self.completion_length // self.block_length)
        # The other schedules know steps that reveal nothing, and make no pass for them.
        if self.num_steps < blocks or (self.num_steps > self.completion_length and self.schedule == "even"):
            raise UserError(
                f"{section}.num_steps={self.num_steps} must lie between the number of blocks ({blocks}) and the "
                f"completion length ({self.completion_length})."
            )

"""How completions are generated, as plain values. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.errors import UserError, require_choice, require_positive

REMASKING = ("low_confidence", "random", "entropy", "topk_margin", "maskgit_plus")
RANKINGS = ("untempered", "behaviour")
SCHEDULES = ("even", "dream")
EOS_POLICIES = ("stop", "stop-agrpo", "run", "forbid", "defer", "forbid-defer")


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How completions are generated.

    completion_length: C, tokens. block_length: tokens per semi-autoregressive block; divides C. num_steps: T,
    unmasking steps over the whole completion. schedule: reveal evenly, or by Dream's time steps.

    temperature: 0 is greedy. top_k, top_p: truncate the tempered distribution, 0 and 1 for none; top_p_keeps_crossing
    says whether the token that crosses p stays (AGRPO drops it). guidance_scale: s of classifier-free guidance,
    uncond + (s + 1) (cond - uncond), 0 for none.

    remasking: the masked position that is revealed next has the most probable sampled token (low_confidence), the
    lowest entropy, the widest margin between its two best tokens (topk_margin), or is any (random); maskgit_plus is
    Dream's name for low_confidence. ranking: whether that is asked of the untempered or of the sampled, tempered and
    truncated distribution.

    eos_policy: stop leaves rows whose block came out as end tokens alone and fills them; stop-agrpo also asks this of
    the prompt's last block_length tokens before the first block; run never stops; forbid never generates the first
    end token; defer reveals end tokens last; forbid-defer does both.
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

    @property
    def truncated(self) -> bool:
        """Whether tokens are left out of the draw."""
        return self.top_k > 0 or self.top_p < 1

    @property
    def stops_early(self) -> bool:
        """Whether rows can leave the batch before their last step."""
        return self.eos_policy in ("stop", "stop-agrpo")

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

    def check(self, section: str) -> None:
        """Raises UserError for values outside their range or at odds with each other."""
        sizes = {"completion_length": self.completion_length, "block_length": self.block_length}
        require_positive(section, num_steps=self.num_steps, **sizes)
        for name, choices in {
            "remasking": REMASKING,
            "ranking": RANKINGS,
            "schedule": SCHEDULES,
            "eos_policy": EOS_POLICIES,
        }.items():
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

    def _check_lengths(self, section: str) -> None:
        if self.schedule == "dream" and self.block_length != self.completion_length:
            raise UserError(
                f"{section}.schedule=dream has no blocks; set {section}.block_length={self.completion_length}, the "
                "completion length."
            )
        if self.completion_length % self.block_length:
            raise UserError(
                f"{section}.block_length={self.block_length} does not divide {section}.completion_length="
                f"{self.completion_length}; choose a divisor."
            )
        blocks = self.completion_length // self.block_length
        if not blocks <= self.num_steps <= self.completion_length:
            raise UserError(
                f"{section}.num_steps={self.num_steps} must lie between the number of blocks ({blocks}) and the "
                f"completion length ({self.completion_length})."
            )

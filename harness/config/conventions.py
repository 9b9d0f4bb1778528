"""Where published training code does otherwise than this harness, as one record: ours by default, theirs in the `paper`
recipes. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UserError, require_choice, require_positive

CHOICES = {
    "warmup_start": ("first", "zero"),
    "decay_from": ("start", "warmup"),
    "weight_decay_on": ("matrices", "all", "not-block-norms"),
    "reward_text": ("until-end", "all"),
    "end_tokens": ("turn-and-text", "text"),
}


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What no paper states and every code decides. What belongs to one method is among that method's options.

    warmup_start: the first of W warm-up updates has the rate lr / W (first) or 0 (zero). decay_from: a cosine or linear
    schedule falls from the start of the run, or from the end of the warm-up.

    weight_decay_on: matrices alone; all weights but biases, as transformers up to 4.52 does with LLaDA; or of these not
    the norms inside blocks, as transformers 4.57 does.

    reward_text: training rewards are those of the completion up to its first end token, or of all of its text, final
    and greedy completions alike. end_tokens: both the end of a turn and the end of the text end a completion, or that
    of the text alone.

    dropout_in_rollouts: dropout stays on while generating and for old log-probabilities; the ratios then have its noise
    on both sides.

    attended_padding: prompts are padded to the longest of so many successive rows and the pads are attended to; 0 masks
    all pads.

    micro_batch_rows: rows that one device of the published run had in a forward-backward pass: within so many
    successive rows d1, SPG, coupled-GRPO, d2-StepMerge and BGPO count tokens, JustGRPO counts rows with an advantage,
    wd1 and DMPO take softmaxes, and AGRPO, ESPO and GDSD spread their draws; 0 is the global batch.
    accumulated_batches: the micro-batches that an update accumulated per device: micro-batch j of the global batch is
    the one of pass j modulo this number. d1 gives each pass masks of its own, coupled-GRPO with method.repeat_masks the
    same, JustGRPO adds the passes up, AGRPO with method.stepping=per-draw steps in the last pass.

    prompt_stride: of so many batches of prompts the first is used, the others are left out.
    """

    warmup_start: str = "first"
    decay_from: str = "start"
    weight_decay_on: str = "matrices"
    reward_text: str = "until-end"
    end_tokens: str = "turn-and-text"
    dropout_in_rollouts: bool = False
    attended_padding: int = 0
    micro_batch_rows: int = 0
    accumulated_batches: int = 1
    prompt_stride: int = 1

    @property
    def kept_together(self) -> list[int]:
        """Numbers of successive rows that a process has to have whole: a micro-batch of every pass, and rows that are
        padded alike."""
        rows = self.micro_batch_rows * self.accumulated_batches
        return [size for size in (rows if self.accumulated_batches > 1 else 0, self.attended_padding) if size]

    def check(self, batch_size: int) -> None:
        """Raises UserError for values outside their range or at odds with the rows of a rollout."""
        for name, choices in CHOICES.items():
            require_choice(f"conventions.{name}", getattr(self, name), choices)
        sizes = {"accumulated_batches": self.accumulated_batches, "prompt_stride": self.prompt_stride}
        require_positive("conventions", **sizes)
        if self.accumulated_batches > 1 and not self.micro_batch_rows:
            raise UserError(
                f"conventions.accumulated_batches={self.accumulated_batches} needs conventions.micro_batch_rows, the "
                "rows of each of these batches."
            )
        for name, size in {
            "attended_padding": self.attended_padding,
            "micro_batch_rows": self.micro_batch_rows,
            "micro_batch_rows times conventions.accumulated_batches": self.micro_batch_rows * self.accumulated_batches,
        }.items():
            if size < 0 or (size and batch_size % size):
                raise UserError(f"conventions.{name} is {size}, which does not divide train.batch_size={batch_size}.")

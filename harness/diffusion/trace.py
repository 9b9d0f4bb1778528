"""What generation records while it runs: one buffer per field of Rollout, written in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config import Decoding
from harness.rollout import Prompts, Rollout


@dataclass(kw_only=True)
class Trace:
    """Buffers for all rows of a batch; the fields are those of Rollout."""

    completion_BC: Tensor
    unmask_step_BC: Tensor
    logprob_BC: Tensor
    entropy_BC: Tensor
    num_steps_B: Tensor
    argmax_BTC: Tensor | None
    forwards: int = 0
    flops: float = 0.0

    @classmethod
    def empty(cls, prompts: Prompts, decoding: Decoding, *, mask_id: int, record_argmax: bool) -> Trace:
        """Nothing revealed yet."""
        rows, steps, device = prompts.ids_BP.shape[0], decoding.num_steps, prompts.ids_BP.device
        size_BC = (rows, decoding.completion_length)
        argmax_BTC = None
        if record_argmax:
            argmax_BTC = torch.zeros(rows, steps, decoding.completion_length, dtype=torch.int32, device=device)
        return cls(
            completion_BC=torch.full(size_BC, mask_id, device=device),
            unmask_step_BC=torch.full(size_BC, steps, dtype=torch.int16, device=device),
            logprob_BC=torch.zeros(size_BC, device=device),
            entropy_BC=torch.zeros(size_BC, device=device),
            num_steps_B=torch.full((rows,), steps, dtype=torch.int16, device=device),
            argmax_BTC=argmax_BTC,
        )

    def reveal(
        self, rows_B: Tensor, step: int, position_Bk: Tensor, *, token: Tensor, logprob: Tensor, entropy: Tensor
    ) -> None:
        """Records the tokens (B, k) that `step` writes at `position_Bk` of the batch rows `rows_B`."""
        place = (rows_B[:, None], position_Bk)
        self.completion_BC[place] = token
        self.unmask_step_BC[place] = step
        self.logprob_BC[place] = logprob
        self.entropy_BC[place] = entropy

    def stop(self, rows_b: Tensor, step: int, from_position: int, filler: int) -> None:
        """Fills the rest of the batch rows `rows_b` from `from_position` on; they took `step` steps."""
        self.completion_BC[rows_b, from_position:] = filler
        self.num_steps_B[rows_b] = step

    def rollout(self, prompts: Prompts, *, num_steps: int, mask_id: int, seconds: float) -> Rollout:
        """The finished record."""
        return Rollout(
            prompts=prompts,
            completion_ids_BC=self.completion_BC,
            unmask_step_BC=self.unmask_step_BC,
            logprob_BC=self.logprob_BC,
            entropy_BC=self.entropy_BC,
            num_steps_B=self.num_steps_B,
            num_steps=num_steps,
            mask_id=mask_id,
            argmax_BTC=self.argmax_BTC,
            forwards=self.forwards,
            flops=self.flops,
            seconds=seconds,
        )

"""What generation records while it runs: one buffer per field of Rollout, written in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.proposal import Behaviour
from harness.rollout import Prompts, Rollout, RolloutNeeds


@dataclass(kw_only=True)
class Trace:
    """Buffers for all rows of a batch; the fields are those of Rollout."""

    completion_BC: Tensor
    unmask_step_BC: Tensor
    logprob_BC: Tensor
    entropy_BC: Tensor
    num_steps_B: Tensor
    forwards_B: Tensor
    argmax_BTC: Tensor | None = None
    behaviour_logprob_BC: Tensor | None = None
    behaviour_entropy_BC: Tensor | None = None
    support_ids_BCk: Tensor | None = None

    @classmethod
    def empty(cls, prompts: Prompts, decoding: Decoding, needs: RolloutNeeds, *, mask_id: int) -> Trace:
        """Nothing revealed yet."""
        rows, steps, length = prompts.ids_BP.shape[0], decoding.num_steps, decoding.completion_length
        device = prompts.ids_BP.device
        trace = cls(
            completion_BC=torch.full((rows, length), mask_id, device=device),
            unmask_step_BC=torch.full((rows, length), steps, dtype=torch.int16, device=device),
            logprob_BC=torch.zeros(rows, length, device=device),
            entropy_BC=torch.zeros(rows, length, device=device),
            num_steps_B=torch.full((rows,), steps, dtype=torch.int16, device=device),
            forwards_B=torch.zeros(rows, dtype=torch.int32, device=device),
        )
        if needs.argmax:
            trace.argmax_BTC = torch.zeros(rows, steps, length, dtype=torch.int32, device=device)
        if needs.behaviour:
            trace.behaviour_logprob_BC = torch.zeros_like(trace.logprob_BC)
            trace.behaviour_entropy_BC = torch.zeros_like(trace.logprob_BC)
            if decoding.truncated:
                size = (rows, length, decoding.top_k + 1)
                trace.support_ids_BCk = torch.full(size, -1, dtype=torch.int32, device=device)
        return trace

    def reveal(
        self, rows_B: Tensor, step: int, position_Bk: Tensor, *, token: Tensor, logprob: Tensor, entropy: Tensor
    ) -> None:
        """Records the tokens (B, k) that `step` writes at `position_Bk` of the batch rows `rows_B`."""
        place = (rows_B[:, None], position_Bk)
        self.completion_BC[place] = token
        self.unmask_step_BC[place] = step
        self.logprob_BC[place] = logprob
        self.entropy_BC[place] = entropy

    def reveal_behaviour(self, rows_B: Tensor, position_Bk: Tensor, behaviour: Behaviour, chosen_Bk: Tensor) -> None:
        """Records the behaviour distribution of the same tokens; chosen_Bk: their rows in `behaviour`."""
        if self.behaviour_logprob_BC is None or self.behaviour_entropy_BC is None:
            return
        place = (rows_B[:, None], position_Bk)
        self.behaviour_logprob_BC[place] = behaviour.logprob_N[chosen_Bk]
        self.behaviour_entropy_BC[place] = behaviour.entropy_N[chosen_Bk]
        if self.support_ids_BCk is not None and behaviour.ids_Nk is not None:
            self.support_ids_BCk[place] = behaviour.ids_Nk[chosen_Bk].to(torch.int32)

    def stop(self, rows_b: Tensor, step: int, from_position: int, filler: int) -> None:
        """Fills the rest of the batch rows `rows_b` from `from_position` on; they took `step` steps."""
        self.completion_BC[rows_b, from_position:] = filler
        self.num_steps_B[rows_b] = step

    def rollout(self, prompts: Prompts, decoding: Decoding, *, mask_id: int, seconds: float, flops: float) -> Rollout:
        """The finished record."""
        recorded = {name: value for name, value in vars(self).items() if name != "completion_BC"}
        return Rollout(
            prompts=prompts,
            completion_ids_BC=self.completion_BC,
            num_steps=decoding.num_steps,
            # Greedy decoding is asked of the untempered distribution.
            temperature=decoding.temperature or 1.0,
            mask_id=mask_id,
            seconds=seconds,
            flops=flops,
            **recorded,
        )

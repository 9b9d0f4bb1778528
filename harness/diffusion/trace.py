"""What generation records while it runs: a Rollout whose tensors are written in place."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.proposal import Proposal
from harness.diffusion.schedule import most_steps
from harness.models.attention import FULL, Attention
from harness.rollout import GIVEN, Prompts, Rollout, RolloutNeeds


def blank_rollout(
    prompts: Prompts,
    decoding: Decoding,
    needs: RolloutNeeds,
    *,
    mask_id: int,
    attention: Attention = FULL,
    given_BC: Tensor | None = None,
) -> Rollout:
    """Nothing revealed yet, in no step. given_BC: as in Generation."""
    rows, steps, length = prompts.ids_BP.shape[0], most_steps(decoding, attention), decoding.completion_length
    device = prompts.ids_BP.device

    def zeros(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(size, dtype=dtype, device=device)

    completion_BC = torch.full((rows, length), mask_id, device=device)
    if given_BC is not None:
        completion_BC.copy_(given_BC)
    unmask_step_BC = torch.where(completion_BC == mask_id, steps, GIVEN).to(torch.int16)
    support_size = (rows, length, decoding.top_k + 1)
    return Rollout(
        prompts=prompts,
        completion_ids_BC=completion_BC,
        unmask_step_BC=unmask_step_BC,
        logprob_BC=zeros(rows, length),
        entropy_BC=zeros(rows, length),
        num_steps_B=zeros(rows, dtype=torch.int16),
        num_steps=steps,
        mask_id=mask_id,
        argmax_BTC=zeros(rows, steps, length, dtype=torch.int32) if needs.argmax else None,
        behaviour_logprob_BC=zeros(rows, length) if needs.behaviour else None,
        behaviour_entropy_BC=zeros(rows, length) if needs.behaviour else None,
        support_ids_BCk=zeros(*support_size, dtype=torch.int32) - 1 if needs.behaviour and decoding.truncated else None,
        # Greedy decoding is asked of the untempered distribution.
        temperature=decoding.temperature or 1.0,
        reference_weight=needs.reference_weight,
        is_exact=decoding.cache == "none",
        forwards_B=zeros(rows, dtype=torch.int32),
        flops_B=zeros(rows, dtype=torch.float64),
        seconds_B=zeros(rows, dtype=torch.float64),
    )


def reveal(
    trace: Rollout,
    place: tuple[Tensor, Tensor],
    step: int | Tensor,
    *,
    proposal: Proposal,
    chosen: Tensor,
    entropy: Tensor,
) -> None:
    """Records the tokens that `step` writes. place: row of the batch and position of each; chosen: its place in the
    proposal."""
    trace.completion_ids_BC[place] = proposal.token_N[chosen]
    trace.unmask_step_BC[place] = step if isinstance(step, int) else step.to(trace.unmask_step_BC.dtype)
    trace.logprob_BC[place] = proposal.logprob_N[chosen].to(trace.logprob_BC.dtype)
    trace.entropy_BC[place] = entropy.to(trace.entropy_BC.dtype)
    behaviour = proposal.behaviour
    if behaviour is None or trace.behaviour_logprob_BC is None or trace.behaviour_entropy_BC is None:
        return
    trace.behaviour_logprob_BC[place] = behaviour.logprob_N[chosen].to(trace.logprob_BC.dtype)
    trace.behaviour_entropy_BC[place] = behaviour.entropy_N[chosen].to(trace.entropy_BC.dtype)
    if trace.support_ids_BCk is not None and behaviour.ids_Nk is not None:
        trace.support_ids_BCk[place] = behaviour.ids_Nk[chosen].to(torch.int32)


def stop(trace: Rollout, rows_b: Tensor, from_position: int | Tensor, filler: int) -> None:
    """Fills the rest of the batch rows `rows_b`, what is given there too, from `from_position` on, the same for all or
    one per row (b,)."""
    first_b1 = torch.as_tensor(from_position, device=rows_b.device).expand(len(rows_b))[:, None]
    is_rest_bC = torch.arange(trace.completion_length, device=rows_b.device) >= first_b1
    trace.completion_ids_BC[rows_b] = trace.completion_ids_BC[rows_b].masked_fill(is_rest_bC, filler)
    trace.unmask_step_BC[rows_b] = trace.unmask_step_BC[rows_b].masked_fill(is_rest_bC, trace.num_steps)

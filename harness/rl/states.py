"""States of completions: what stood there before some of its tokens were written, and the tokens that are asked of it.

A state is a sequence of its own, and a part is a flat list of states, so that micro-batches cut a completion's states
apart. Of a state it keeps which tokens are masked; the sequence is made when it is put into the model.

Axes: B rows of the rollout, C completion, P prompt, L = P + C; N states; n tokens asked of a state.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.diffusion.logprob import behaviour_logprob, without_gradient
from harness.models.diffusion_lm import DiffusionLM
from harness.rl.token_level import TokenTerms
from harness.rollout import Rollout, ScoredRollouts


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Prompts and completions that states are made of: tokens_BL, of which the prompt may be masked in part, their
    attention mask_BL, and the token that masks."""

    tokens_BL: Tensor
    mask_BL: Tensor | None
    mask_id: int


@dataclass(frozen=True, kw_only=True)
class States(TokenTerms):
    """row_N: the completion of a state. position_Nn: the tokens asked of it, places in the completion; of those that
    fill a row up, `counted_Nn` is False. temperature: that the logits are divided by."""

    sequences: Sequences
    row_N: Tensor
    is_masked_NC: Tensor
    position_Nn: Tensor
    temperature: float = 1.0

    def filled_up(self, number: int) -> States:
        """So many states, the further ones of weight 0 and with no token counted."""
        missing = number - self.num_rows
        filled: dict[str, Any] = {
            name: torch.cat([value, value.new_zeros(missing, *value.shape[1:])])
            for name, value in self._tensors().items()
        }
        return dataclasses.replace(self, **filled)

    def of_dtype(self, dtype: torch.dtype, **changes: Any) -> States:
        """With advantages and weights of that dtype."""
        numbers: dict[str, Any] = {"advantage_N": self.advantage_N.to(dtype), "weight_N": self.weight_N.to(dtype)}
        return dataclasses.replace(self, **numbers, **changes)


def sequences_of(rollout: Rollout, is_masked_BP: Tensor | None = None) -> Sequences:
    """Of a rollout; is_masked_BP: the prompt tokens that are masked in all states, None for none."""
    tokens_BL, mask_BL = rollout.prompts.with_completion(rollout.completion_ids_BC)
    if is_masked_BP is not None:
        prompt_BP = rollout.prompts.ids_BP.masked_fill(is_masked_BP, rollout.mask_id)
        tokens_BL = torch.cat([prompt_BP, rollout.completion_ids_BC], 1)
    return Sequences(tokens_BL=tokens_BL, mask_BL=mask_BL, mask_id=rollout.mask_id)


def positions_of(is_target_NC: Tensor) -> tuple[Tensor, Tensor]:
    """position_Nn, in rising order, and counted_Nn, which is False where a state has fewer targets than n."""
    width = max(1, int(is_target_NC.sum(1).max())) if len(is_target_NC) else 1
    position_Nn = is_target_NC.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
    return position_Nn, is_target_NC.gather(1, position_Nn)


def make_states(
    sequences: Sequences, row_N: Tensor, is_masked_NC: Tensor, is_target_NC: Tensor, advantage_B: Tensor, **terms: Any
) -> States:
    """States whose old log-probabilities are not known yet and whose weights are 1; terms: further fields."""
    position_Nn, counted_Nn = positions_of(is_target_NC)
    return States(
        sequences=sequences,
        row_N=row_N,
        is_masked_NC=is_masked_NC,
        position_Nn=position_Nn,
        counted_Nn=counted_Nn,
        old_logprob_Nn=torch.zeros(position_Nn.shape, device=row_N.device),
        advantage_N=advantage_B[row_N],
        weight_N=torch.ones(len(row_N), device=row_N.device, dtype=torch.float64),
        **terms,
    )


def state_tokens(part: States) -> Tensor:
    """The states as sequences (N, L)."""
    clean_NL = part.sequences.tokens_BL[part.row_N]
    length = part.is_masked_NC.shape[1]
    masked_NC = clean_NL[:, -length:].masked_fill(part.is_masked_NC, part.sequences.mask_id)
    return torch.cat([clean_NL[:, :-length], masked_NC], 1)


def state_logprob(policy: DiffusionLM, part: States) -> Tensor:
    """Log-probabilities (N, n) of the tokens asked, nats, with their gradient."""
    clean_NL = part.sequences.tokens_BL[part.row_N]
    in_sequence_Nn = part.position_Nn + clean_NL.shape[1] - part.is_masked_NC.shape[1]
    mask_NL = None if part.sequences.mask_BL is None else part.sequences.mask_BL[part.row_N]
    logits_NnV = policy.logits(state_tokens(part), mask_NL, in_sequence_Nn, clean_NL)
    target_Nn = clean_NL.gather(1, in_sequence_Nn)
    return behaviour_logprob(logits_NnV, target_Nn, temperature=part.temperature, support_Bnk=None)


def reference_logprob(policy: DiffusionLM, part: States) -> Tensor:
    """The same (N, n) under the reference policy, without gradient."""
    with torch.no_grad(), policy.reference_policy():
        return state_logprob(policy, part)


def with_old_logprob(policy: DiffusionLM, part: States) -> States:
    """The part with the log-probabilities of `policy`, which is still the one that sampled, some states at a time."""

    def score(index_N: Tensor) -> Tensor:
        return state_logprob(policy, part.rows(index_N))

    index_N = torch.arange(part.num_rows, device=part.row_N.device)
    with policy.in_step():
        old_Nn = part.old_logprob_Nn
        if part.num_rows:
            old_Nn = without_gradient(policy, score, index_N, positions=old_Nn.shape[1])
    return part.of_dtype(old_Nn.dtype, old_logprob_Nn=old_Nn)


def as_many_everywhere(part: States, scored: ScoredRollouts) -> States:
    """The part with empty states, as many as the process with the most states has more: all then make the same passes,
    and one at least."""
    counts_X = scored.shard.gather(torch.tensor([part.num_rows], device=part.row_N.device))
    return part.filled_up(max(1, int(counts_X.max())))


def shares(row_N: Tensor, first_B: Tensor, total: int, updates: int) -> tuple[Tensor, list[int]]:
    """The update of every state (N,), and how many of the `total` states of all processes each has: equal shares, in
    order. States come row by row; first_B: how many there are in all processes before those of a row."""
    place_N = torch.arange(len(row_N), device=row_N.device) - torch.searchsorted(row_N, row_N)
    update_N = (first_B[row_N] + place_N) * updates // max(1, total)
    starts = [-(-update * total // updates) for update in range(updates + 1)]
    return update_N, [end - start for start, end in itertools.pairwise(starts)]

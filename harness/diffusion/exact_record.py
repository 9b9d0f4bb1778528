"""Log-probabilities and entropies of a cached rollout as whole forward passes have them.

Cached keys and values are those of an earlier state, so what a cached pass says of a token is not what the policy says
of it in the same state, and no importance ratio may be taken to it.

Axes: B rows, C completion, L sequence, K chosen steps, n revealed positions, N of all rows, F fields, V vocabulary.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from harness.diffusion.logprob import behaviour_entropy, behaviour_logprob, without_gradient
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Rollout

UNTEMPERED = ("logprob_BC", "entropy_BC")
BEHAVIOUR = ("behaviour_logprob_BC", "behaviour_entropy_BC")


def exact_at(rollout: Rollout, policy: DiffusionLM, step_BK: Tensor) -> Rollout:
    """The same with what the steps step_BK revealed scored by `policy`, one whole forward pass per step and row; -1 is
    no step. A rollout that is exact already stays as it is.

    The record of other steps stays approximate, and so does that by which the steps were chosen. A support stays the
    one that was sampled from.
    """
    if rollout.is_exact:
        return rollout
    names = UNTEMPERED if rollout.behaviour_logprob_BC is None else UNTEMPERED + BEHAVIOUR
    columns = {name: getattr(rollout, name).clone() for name in names}
    for step_B in step_BK.unbind(1):
        revealed = rollout.revealed_positions(step_B)
        row_N, place_N = revealed.is_revealed_Bn.nonzero(as_tuple=True)
        position_N = revealed.position_Bn[row_N, place_N]
        scores_BnF = _scores(rollout, policy, step_B.clamp_min(0), revealed.position_Bn)
        for name, value_Bn in zip(names, scores_BnF.unbind(-1), strict=True):
            columns[name][row_N, position_N] = value_Bn[row_N, place_N].to(columns[name].dtype)
    return dataclasses.replace(rollout, **columns)


def _scores(rollout: Rollout, policy: DiffusionLM, step_B: Tensor, position_Bn: Tensor) -> Tensor:
    """Log-probability and entropy, nats, of those tokens of the completion in the state before step_B, then those of
    the tempered and truncated distribution where the rollout has recorded them (B, n, F)."""
    tokens_BL, mask_BL = rollout.state_at(step_B)
    target_Bn = rollout.completion_ids_BC.gather(1, position_Bn)
    distributions = 1 if rollout.behaviour_logprob_BC is None else 2

    def score(
        tokens_BL: Tensor, mask_BL: Tensor | None, position_Bn: Tensor, target_Bn: Tensor, support_Bnk: Tensor | None
    ) -> Tensor:
        logits_BnV = policy.logits(tokens_BL, mask_BL, position_Bn)
        fields = [
            measure(logits_BnV, target_Bn, temperature=temperature, support_Bnk=kept_Bnk)
            for temperature, kept_Bnk in [(1.0, None), (rollout.temperature, support_Bnk)][:distributions]
            for measure in (behaviour_logprob, behaviour_entropy)
        ]
        return torch.stack(fields, -1)

    in_sequence_Bn = position_Bn + tokens_BL.shape[1] - rollout.completion_length
    rows = (tokens_BL, mask_BL, in_sequence_Bn, target_Bn, rollout.support_at(position_Bn))
    return without_gradient(policy, score, *rows, positions=position_Bn.shape[1])

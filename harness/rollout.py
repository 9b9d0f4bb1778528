"""Tensor records of generation. A whole trajectory is kept as (completion, unmask_step), never as copies of the
sequence.

Axes: B rows (completions, prompt-major), P prompt tokens, C completion tokens, L = P + C, T steps, K selected steps,
n positions that one step reveals, k tokens of a support.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.distributed.shard import ALONE, Shard

GIVEN = -1
"""The step of tokens that were there before the first."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Left-padded prompts. ids_BP int64; mask_BP bool, True on real tokens, or None where nothing is padded."""

    ids_BP: Tensor
    mask_BP: Tensor | None

    def rows(self, index: slice | Tensor) -> Prompts:
        """Some of the rows."""
        return Prompts(ids_BP=self.ids_BP[index], mask_BP=None if self.mask_BP is None else self.mask_BP[index])

    @property
    def lengths(self) -> list[int]:
        """Columns of each row from the first that is no padding on."""
        rows, width = self.ids_BP.shape
        if self.mask_BP is None:
            return [width] * rows
        return (width - self.mask_BP.int().argmax(1)).tolist()

    def cut(self, lengths: Sequence[int]) -> Prompts:
        """The same without the columns that are padding in all rows, which have these lengths."""
        width = max(lengths)
        mask_BP = None if self.mask_BP is None or min(lengths) == width else self.mask_BP[:, -width:]
        return Prompts(ids_BP=self.ids_BP[:, -width:], mask_BP=mask_BP)

    def with_completion(self, completion_BC: Tensor) -> tuple[Tensor, Tensor | None]:
        """tokens_BL and the attention mask_BL (None where nothing is padded) of prompt and completion together."""
        tokens_BL = torch.cat([self.ids_BP, completion_BC], 1)
        if self.mask_BP is None:
            return tokens_BL, None
        return tokens_BL, torch.cat([self.mask_BP, torch.ones_like(completion_BC, dtype=torch.bool)], 1)


@dataclass(frozen=True, kw_only=True)
class Revealed:
    """What one step per row reveals: position_Bn, places in the completion; is_revealed_Bn, False where a row has fewer
    than n; target_Bn, the tokens there."""

    position_Bn: Tensor
    is_revealed_Bn: Tensor
    target_Bn: Tensor


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Completions and how they came about.

    completion_ids_BC: int64, no mask token left.
    unmask_step_BC: int16, the step that revealed the token, under p2 the last that did; T for filler after an early
    stop, which no step has revealed, and -1 for a given token. logprob_BC, entropy_BC: float32, nats, of the
    untempered whole-vocabulary softmax at the moment of unmasking; 0 on filler and on given tokens.
    num_steps_B: int16, steps the row took, T without an early stop. num_steps: T; under a threshold or factor the most
    steps that a row may take. mask_id: the mask token.
    argmax_BTC: int32, on request: the most probable token of every position that was masked at the step.
    behaviour_logprob_BC, behaviour_entropy_BC: float32, on request, nats: as logprob_BC and entropy_BC, but of the
    tempered and truncated distribution that was sampled. support_ids_BCk: int32, the tokens that truncation kept,
    padded with -1; None where nothing is truncated. temperature: of that distribution. reference_weight: of the
    reference policy in its logits; logprob_BC and entropy_BC are the policy's own.
    is_exact: whether logprob_BC, entropy_BC and the behaviour fields are those of whole forward passes; after a
    generation with cached keys and values they are approximate.
    forwards_B: int32, forward passes of each row, guidance included. flops_B, seconds_B: float64, its even share of the
    FLOPs and the wall time of its batches.
    """

    prompts: Prompts
    completion_ids_BC: Tensor
    unmask_step_BC: Tensor
    logprob_BC: Tensor
    entropy_BC: Tensor
    num_steps_B: Tensor
    num_steps: int
    mask_id: int
    argmax_BTC: Tensor | None = None
    behaviour_logprob_BC: Tensor | None = None
    behaviour_entropy_BC: Tensor | None = None
    support_ids_BCk: Tensor | None = None
    temperature: float = 1.0
    reference_weight: float = 0.0
    is_exact: bool = True
    forwards_B: Tensor | None = None
    flops_B: Tensor | None = None
    seconds_B: Tensor | None = None

    @property
    def num_rows(self) -> int:
        """B."""
        return self.completion_ids_BC.shape[0]

    @property
    def completion_length(self) -> int:
        """C."""
        return self.completion_ids_BC.shape[1]

    @property
    def flops(self) -> float:
        """Of the whole generation; 0 where it was not recorded."""
        return 0.0 if self.flops_B is None else self.flops_B.sum().item()

    @property
    def sampled_logprob_BC(self) -> Tensor:
        """Log-probabilities under what was sampled; without record the model itself was, at temperature 1."""
        assert self.behaviour_logprob_BC is not None or self.temperature == 1
        return self.logprob_BC if self.behaviour_logprob_BC is None else self.behaviour_logprob_BC

    @property
    def sampled_entropy_BC(self) -> Tensor:
        """Entropies of what was sampled."""
        return self.entropy_BC if self.behaviour_entropy_BC is None else self.behaviour_entropy_BC

    def support_at(self, position_Bn: Tensor) -> Tensor | None:
        """The tokens (B, n, k) that truncation kept at those places of the completion; None where nothing was."""
        if self.support_ids_BCk is None:
            return None
        width = self.support_ids_BCk.shape[2]
        return self.support_ids_BCk.gather(1, position_Bn[:, :, None].expand(-1, -1, width))

    def completion_at(self, step_B: Tensor) -> Tensor:
        """State s of the completion (B, C): what the model saw before reveal s, later positions masked. step_B:
        (B,)."""
        hidden_BC = (self.unmask_step_BC >= step_B[:, None]) & ~self.given_BC
        return torch.where(hidden_BC, self.mask_id, self.completion_ids_BC)

    def state_at(self, step_B: Tensor) -> tuple[Tensor, Tensor | None]:
        """tokens_BL of state s, and its attention mask."""
        return self.prompts.with_completion(self.completion_at(step_B))

    @property
    def given_BC(self) -> Tensor:
        """Where a token was given (B, C)."""
        return self.unmask_step_BC == GIVEN

    def revealed_at(self, step_B: Tensor) -> Tensor:
        """U_s as a bool mask (B, C): the positions that step s revealed; none where s is -1."""
        return (self.unmask_step_BC == step_B[:, None]) & ~self.given_BC

    def revealed_positions(self, step_B: Tensor) -> Revealed:
        """U_s of every row, in rising order of position."""
        revealed_BC = self.revealed_at(step_B)
        width = max(1, int(revealed_BC.sum(1).max()))
        position_Bn = revealed_BC.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
        return Revealed(
            position_Bn=position_Bn,
            is_revealed_Bn=revealed_BC.gather(1, position_Bn),
            target_Bn=self.completion_ids_BC.gather(1, position_Bn),
        )


@dataclass(frozen=True, kw_only=True)
class RolloutNeeds:
    """What is recorded beyond the completion. argmax: argmax_BTC. behaviour: the behaviour fields.

    reference_weight: w, where completions are to be sampled from (1 - w) logits of the policy + w logits of the
    reference policy, neither of them normalised; 0 for the policy alone.
    """

    argmax: bool = False
    behaviour: bool = False
    reference_weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """Rewards of B completions, float64. total_B: weighted sum; parts: name to unweighted (B,), `correctness` the
    answer's own."""

    total_B: Tensor
    parts: Mapping[str, Tensor]

    @property
    def unweighted_total_B(self) -> Tensor:
        """Sum of all parts with weight 1."""
        return torch.stack(list(self.parts.values())).sum(0)

    def reshape(self, *shape: int) -> Rewards:
        """The same rewards in another shape, for example (B, K)."""
        parts = {name: part.reshape(*shape) for name, part in self.parts.items()}
        return dataclasses.replace(self, total_B=self.total_B.reshape(*shape), parts=parts)


@dataclass(frozen=True, kw_only=True)
class ScoredRollouts:
    """A rollout and its rewards. Over the global batch, rows b*G .. b*G+G-1 are the group of prompt b.

    micro_batch_rows, accumulated_batches: as in Conventions.
    """

    rollout: Rollout
    rewards: Rewards
    group_size: int
    shard: Shard = ALONE
    micro_batch_rows: int = 0
    accumulated_batches: int = 1

    @property
    def global_rows(self) -> int:
        """Rows over all processes."""
        return self.rollout.num_rows * self.shard.count

    @property
    def micro_batches(self) -> list[int]:
        """The rows of each micro-batch of the global batch."""
        size = self.micro_batch_rows or self.global_rows
        return [size] * (self.global_rows // size)

    @property
    def pass_B(self) -> Tensor:
        """Which of the accumulated passes each of this process's rows belongs to (B,)."""
        row_B = torch.arange(self.global_rows, device=self.rollout.completion_ids_BC.device)
        return self.shard.mine(row_B // self.micro_batches[0] % self.accumulated_batches)

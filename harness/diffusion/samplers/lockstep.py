"""Steps of a fixed size: all rows keep step, so the device is never asked for a value inside a block.

Axes: B rows, P prompt, C completion, L = P + C, n masked positions of the active block, N = B * n, V vocabulary, T
steps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import categorical
from harness.diffusion.proposal import Proposal, propose
from harness.diffusion.remasking import split_by_confidence
from harness.diffusion.samplers.passes import BlockPasses, States
from harness.diffusion.samplers.rows import ORDER_DRAW, TOKEN_DRAW, Rows
from harness.diffusion.schedule import block_bounds, reveal_counts
from harness.diffusion.trace import reveal
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import uniforms
from harness.rollout import Rollout

HEAD_CHUNK = 4096


def unmask(model: DiffusionLM, decoding: Decoding, rows: Rows, trace: Rollout) -> None:
    """Reveals the block that the rows are at. What rows have spent is recorded at its end, so that a block that did not
    fit into the memory can be made again."""
    assert trace.forwards_B is not None
    counts = reveal_counts(decoding)
    first, end = block_bounds(decoding, rows.block)
    step = sum(map(len, counts[: rows.block]))
    masked_Bn = torch.arange(first, end, device=model.device).repeat(len(rows), 1)
    offset = rows.prompt_length
    passes = BlockPasses(model, rows, decoding, begin=offset + first, end=offset + end)
    with model.meter.measure() as cost:
        for count in counts[rows.block]:
            if count:
                masked_Bn = _Step(model, decoding, rows, trace, passes, masked_Bn, step, end).reveal(count)
            step += 1
    trace.forwards_B[rows.index_B] += cost.forwards // len(rows)
    trace.num_steps_B[rows.index_B] = step


@dataclass
class _Step:
    """One unmasking step on the masked positions masked_Bn of the block that ends at block_end."""

    model: DiffusionLM
    decoding: Decoding
    rows: Rows
    trace: Rollout
    passes: BlockPasses
    masked_Bn: Tensor
    step: int
    block_end: int

    def reveal(self, count: int) -> Tensor:
        """Writes `count` tokens per row and their record; returns the positions still masked (B, n - count)."""
        first_comes_first = self.passes.first_comes_first
        states = self.passes.states()
        logits_NV = states.logits(self._row_B1, self.rows.prompt_length + self.masked_Bn)
        proposal = self._propose(logits_NV)
        if self.trace.argmax_BTC is not None:
            self._record_argmax(self.trace.argmax_BTC, logits_NV, states)
        confidence_Bn = proposal.confidence_N.view(self.masked_Bn.shape)
        if first_comes_first:
            confidence_Bn[:, 0] = torch.inf
        revealed_Bk, rest = split_by_confidence(confidence_Bn, count)
        self._write(proposal, logits_NV, revealed_Bk)
        return self.masked_Bn.gather(1, rest)

    @property
    def _row_B1(self) -> Tensor:
        return torch.arange(len(self.rows), device=self.masked_Bn.device)[:, None]

    def _propose(self, logits_NV: Tensor) -> Proposal:
        """A token per masked position; of a mixture with the reference policy where that is asked for, with the
        policy's own log-probability."""
        weight = self.trace.reference_weight
        proposal = propose(
            self._mixed(logits_NV, weight) if weight else logits_NV,
            self.decoding,
            self.model.special,
            token_uniform_N=self._uniforms(TOKEN_DRAW) if self.decoding.temperature else None,
            order_uniform_N=self._uniforms(ORDER_DRAW) if self.decoding.remasking == "random" else None,
            record_behaviour=self.trace.behaviour_logprob_BC is not None,
        )
        if not weight:
            return proposal
        end_id = self.model.special.end_ids[0]
        end_logit_N = categorical.forbid(logits_NV, end_id) if self.decoding.forbids_end else None
        chosen_N = logits_NV.gather(1, proposal.token_N[:, None])[:, 0]
        proposal = dataclasses.replace(proposal, logprob_N=chosen_N - logits_NV.logsumexp(1))
        if end_logit_N is not None:
            logits_NV[:, end_id] = end_logit_N
        return proposal

    def _mixed(self, logits_NV: Tensor, weight: float) -> Tensor:
        """(1 - weight) logits of the policy + weight logits of the reference policy, by a pass of its own."""
        with self.model.reference_policy():
            reference = self.passes.states()
            reference_NV = reference.logits(self._row_B1, self.rows.prompt_length + self.masked_Bn)
        return torch.lerp(logits_NV, reference_NV, weight)

    def _uniforms(self, kind: int) -> Tensor:
        return uniforms(self.rows.seed_B, self.step, self.masked_Bn, kind).flatten()

    def _write(self, proposal: Proposal, logits_NV: Tensor, revealed_Bk: Tensor) -> None:
        """Writes the revealed tokens into the rows and the trace."""
        row_start_B1 = torch.arange(0, logits_NV.shape[0], self.masked_Bn.shape[1], device=revealed_Bk.device)[:, None]
        chosen_Bk = row_start_B1 + revealed_Bk
        position_Bk = self.masked_Bn.gather(1, revealed_Bk)
        self.rows.tokens_BL.scatter_(1, self.rows.prompt_length + position_Bk, proposal.token_N[chosen_Bk])
        reveal(
            self.trace,
            (self.rows.index_B[:, None], position_Bk),
            self.step,
            proposal=proposal,
            chosen=chosen_Bk,
            entropy=categorical.entropy(logits_NV[chosen_Bk.flatten()]).view(chosen_Bk.shape),
        )

    def _record_argmax(self, argmax_BTC: Tensor, logits_NV: Tensor, states: States) -> None:
        """The most probable token at every masked position: from the block's logits, and in chunks beyond the block."""
        best_Bn = best_tokens(logits_NV, self.model.special.mask_id).view(self.masked_Bn.shape)
        argmax_BTC[self.rows.index_B[:, None], self.step, self.masked_Bn] = best_Bn.to(torch.int32)
        rows, length = self.rows.tokens_BL.shape
        first, at_once = self.rows.prompt_length + self.block_end, max(1, HEAD_CHUNK // rows)
        for start in range(first, length, at_once):
            places = torch.arange(start, min(start + at_once, length), device=best_Bn.device)
            chunk_NV = states.logits(self._row_B1, places[None, :])
            best = best_tokens(chunk_NV, self.model.special.mask_id).view(rows, -1)
            columns = (places - self.rows.prompt_length)[None, :]
            argmax_BTC[self.rows.index_B[:, None], self.step, columns] = best.to(torch.int32)


def best_tokens(logits_NV: Tensor, mask_id: int) -> Tensor:
    """The most probable token (N,) that is not the mask token; the logits are left as they came."""
    mask_logit_N = categorical.forbid(logits_NV, mask_id)
    best_N = categorical.most_probable(logits_NV)
    logits_NV[:, mask_id] = mask_logit_N
    return best_N

"""The only sampler: semi-autoregressive iterative unmasking (LLaDA's generation), recorded as one Rollout.

The completion is cut into blocks, finished from left to right. A step predicts every masked position of the active
block, samples a token for each, and reveals the ones that the remasking rule is surest of. All rows keep step, so the
loop never asks the device for a value; only the end of a block does, to see which rows are finished.

Axes: B rows, P prompt, C completion, L = P + C, n masked positions of the active block, N = B * n, V vocabulary, T
steps."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import categorical
from harness.diffusion.guidance import guide
from harness.diffusion.proposal import Proposal, propose
from harness.diffusion.remasking import split_by_confidence
from harness.diffusion.schedule import reveal_counts
from harness.diffusion.trace import blank_rollout, reveal, stop
from harness.errors import UserError
from harness.models.diffusion_lm import DiffusionLM, gather_positions
from harness.randomness import uniforms
from harness.rollout import Prompts, Rollout, RolloutNeeds

TOKEN_DRAW, ORDER_DRAW = 0, 1
HEAD_CHUNK = 4096


@torch.no_grad()
def generate(
    model: DiffusionLM,
    prompts: Prompts,
    decoding: Decoding,
    seed_B: Tensor,
    *,
    needs: RolloutNeeds | None = None,
    length_B: Tensor | None = None,
) -> Rollout:
    """Completes every prompt row once.

    seed_B: one int64 seed per row; a row's draws depend on its seed, the step and the position alone, so batching never
    changes them. needs: what to record beyond the completion. length_B: a completion length per row, multiples of the
    block length up to decoding.completion_length; shorter rows leave after their last block.

    Raises UserError for lengths that are no such multiples, and where a support is asked for that has no bound.
    """
    start, needs, mask_id = time.perf_counter(), needs or RolloutNeeds(), model.special.mask_id
    if needs.behaviour and decoding.truncated and not decoding.top_k:
        raise UserError(f"Recording the support of top_p={decoding.top_p} needs top_k too: it bounds the record.")
    rows = _Rows.start(prompts, decoding, seed_B, length_B, mask_id)
    trace = blank_rollout(prompts, decoding, needs, mask_id=mask_id)
    with model.meter.measure() as cost:
        _unmask(model, decoding, rows, trace)
    return dataclasses.replace(trace, seconds=time.perf_counter() - start, flops=cost.forward_flops)


def _unmask(model: DiffusionLM, decoding: Decoding, rows: _Rows, trace: Rollout) -> None:
    """Block after block until every row is finished."""
    if decoding.eos_policy == "stop-agrpo":
        rows = _leave_finished(model, decoding, rows, trace, block_end=0, step=0)
    assert trace.forwards_B is not None
    step = 0
    for block, counts in enumerate(reveal_counts(decoding)):
        if not len(rows.index_B):
            break
        first, end = block * decoding.block_length, (block + 1) * decoding.block_length
        masked_Bn = torch.arange(first, end, device=model.device).repeat(len(rows.index_B), 1)
        for count in counts:
            if count:
                with model.meter.measure() as cost:
                    masked_Bn = _Step(model, decoding, rows, trace, masked_Bn, step, end).reveal(count)
                trace.forwards_B[rows.index_B] += cost.forwards // len(rows.index_B)
            step += 1
        if end < decoding.completion_length:
            rows = _leave_finished(model, decoding, rows, trace, block_end=end, step=step)


@dataclass
class _Rows:
    """The rows still being computed. index_B: their place in the batch; tokens_BL is written in place."""

    index_B: Tensor
    tokens_BL: Tensor
    mask_BL: Tensor | None
    seed_B: Tensor
    length_B: Tensor | None
    prompt_length: int

    @classmethod
    def start(
        cls, prompts: Prompts, decoding: Decoding, seed_B: Tensor, length_B: Tensor | None, mask_id: int
    ) -> _Rows:
        (rows, prompt_length), device = prompts.ids_BP.shape, prompts.ids_BP.device
        blank_BC = torch.full((rows, decoding.completion_length), mask_id, device=device)
        tokens_BL, mask_BL = prompts.with_completion(blank_BC)
        if length_B is not None:
            length_B = length_B.to(device)
            wrong = (length_B % decoding.block_length != 0) | (length_B < 1) | (length_B > decoding.completion_length)
            if wrong.any():
                raise UserError(
                    f"Completion lengths {length_B[wrong].tolist()} must be multiples of block_length="
                    f"{decoding.block_length} up to completion_length={decoding.completion_length}."
                )
            places_L = torch.arange(tokens_BL.shape[1], device=device)
            inside_BL = places_L < prompt_length + length_B[:, None]
            mask_BL = inside_BL if mask_BL is None else mask_BL & inside_BL
        return cls(torch.arange(rows, device=device), tokens_BL, mask_BL, seed_B.to(device), length_B, prompt_length)

    def keep(self, rows_b: Tensor) -> _Rows:
        """Those rows alone."""
        mask_BL = None if self.mask_BL is None else self.mask_BL[rows_b]
        length_B = None if self.length_B is None else self.length_B[rows_b]
        return _Rows(
            self.index_B[rows_b], self.tokens_BL[rows_b], mask_BL, self.seed_B[rows_b], length_B, self.prompt_length
        )


@dataclass
class _Step:
    """One unmasking step on the masked positions masked_Bn of the block that ends at block_end."""

    model: DiffusionLM
    decoding: Decoding
    rows: _Rows
    trace: Rollout
    masked_Bn: Tensor
    step: int
    block_end: int

    def reveal(self, count: int) -> Tensor:
        """Writes `count` tokens per row and their record; returns the positions still masked (B, n - count)."""
        hidden_BLd, unconditional_BLd = self._hidden()
        logits_NV = self._logits(hidden_BLd, unconditional_BLd, self.rows.prompt_length + self.masked_Bn)
        proposal = propose(
            logits_NV,
            self.decoding,
            self.model.special,
            token_uniform_N=self._uniforms(TOKEN_DRAW) if self.decoding.temperature else None,
            order_uniform_N=self._uniforms(ORDER_DRAW) if self.decoding.remasking == "random" else None,
            record_behaviour=self.trace.behaviour_logprob_BC is not None,
        )
        if self.trace.argmax_BTC is not None:
            self._record_argmax(self.trace.argmax_BTC, logits_NV, hidden_BLd, unconditional_BLd)
        revealed_Bk, rest = split_by_confidence(proposal.confidence_N.view(self.masked_Bn.shape), count)
        self._write(proposal, logits_NV, revealed_Bk)
        return self.masked_Bn.gather(1, rest)

    def _hidden(self) -> tuple[Tensor, Tensor | None]:
        """Hidden states (B, L, d), and with guidance those of the same rows with the prompt masked."""
        tokens_BL, mask_BL = self.rows.tokens_BL, self.rows.mask_BL
        if not self.decoding.guidance_scale:
            return self.model.hidden(tokens_BL, mask_BL), None
        is_prompt_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device) < self.rows.prompt_length
        blind_BL = torch.where(is_prompt_L, self.model.special.mask_id, tokens_BL)
        both_mask = None if mask_BL is None else torch.cat([mask_BL, mask_BL])
        seen, blind = self.model.hidden(torch.cat([tokens_BL, blind_BL]), both_mask).chunk(2)
        return seen, blind

    def _logits(self, hidden_BLd: Tensor, unconditional_BLd: Tensor | None, position_Bn: Tensor) -> Tensor:
        """Logits (N, V), float32 or wider, at those positions of the sequence; guided where that is asked for."""
        logits_NV = self.model.head(gather_positions(hidden_BLd, position_Bn).flatten(0, 1))
        if unconditional_BLd is None:
            return logits_NV
        blind_NV = self.model.head(gather_positions(unconditional_BLd, position_Bn).flatten(0, 1))
        return guide(logits_NV, blind_NV, self.decoding.guidance_scale)

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
            self.rows.index_B,
            self.step,
            position_Bk,
            proposal=proposal,
            chosen_Bk=chosen_Bk,
            entropy_Bk=categorical.entropy(logits_NV[chosen_Bk.flatten()]).view(chosen_Bk.shape),
        )

    def _record_argmax(
        self, argmax_BTC: Tensor, logits_NV: Tensor, hidden_BLd: Tensor, unconditional_BLd: Tensor | None
    ) -> None:
        """The most probable token at every masked position: from the block's logits, and in chunks beyond the block."""
        best_Bn = best_tokens(logits_NV, self.model.special.mask_id).view(self.masked_Bn.shape)
        argmax_BTC[self.rows.index_B[:, None], self.step, self.masked_Bn] = best_Bn.to(torch.int32)
        rows, length = self.rows.tokens_BL.shape
        beyond = torch.arange(self.rows.prompt_length + self.block_end, length, device=best_Bn.device)
        for places in beyond.split(max(1, HEAD_CHUNK // rows)):
            chunk_NV = self._logits(hidden_BLd, unconditional_BLd, places.expand(rows, -1))
            best = best_tokens(chunk_NV, self.model.special.mask_id).view(rows, -1)
            columns = (places - self.rows.prompt_length)[None, :]
            argmax_BTC[self.rows.index_B[:, None], self.step, columns] = best.to(torch.int32)


def best_tokens(logits_NV: Tensor, mask_id: int) -> Tensor:
    """The most probable token (N,) that is not the mask token; the logits are left as they came."""
    mask_logit_N = categorical.forbid(logits_NV, mask_id)
    best_N = logits_NV.argmax(1)
    logits_NV[:, mask_id] = mask_logit_N
    return best_N


def _leave_finished(
    model: DiffusionLM, decoding: Decoding, rows: _Rows, trace: Rollout, *, block_end: int, step: int
) -> _Rows:
    """Rows that have reached their length, or whose last block is all end tokens, leave; the rest of them is filled
    up."""
    finished_B = torch.zeros(len(rows.index_B), dtype=torch.bool, device=rows.tokens_BL.device)
    if decoding.stops_early:
        # For a block longer than the prompt, stop-agrpo looks at no token at all, which counts as finished: as
        # published.
        place = rows.prompt_length + block_end
        finished_B |= model.is_end(rows.tokens_BL[:, place - decoding.block_length : place]).all(1)
    if rows.length_B is not None:
        finished_B |= rows.length_B <= block_end
    if not finished_B.any():
        return rows
    stop(trace, rows.index_B[finished_B], step, block_end, model.special.end_ids[0])
    return rows.keep((~finished_B).nonzero()[:, 0])

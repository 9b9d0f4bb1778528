"""Block diffusion (SDAR, arXiv 2510.06303; BD3-LM, arXiv 2503.09573): no token sees the blocks after its own, so the
keys and values of finished blocks are kept, and a pass computes the active block alone; what it gives is exact.

The whole blocks of the prompts are stored first. A block is computed until nothing in it is masked, and stored by one
more pass before the next begins. Rows are laid out so that they are all at the same block: where blocks are counted
from the first token of the sequence, a row's first block may begin with the last tokens of its prompt, and its last
block may be short. Rows take steps of their own, as in samplers/adaptive.py.

Axes: B rows, P prompt, C completion, L = P + C as rollouts have it, W columns as they are laid out here, q columns of a
pass, n positions of the active block, N masked ones of all rows, d hidden width, V vocabulary.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.guidance import guide
from harness.diffusion.remasking import sure_enough
from harness.diffusion.samplers.rows import Rows
from harness.diffusion.samplers.surest import ActiveBlock, reveal_surest
from harness.diffusion.schedule import block_diffusion_counts
from harness.diffusion.trace import stop
from harness.errors import UserError
from harness.models.attention import COMPLETION
from harness.models.diffusion_lm import DiffusionLM
from harness.models.key_values import KeyValueCache
from harness.rollout import Rollout


def unmask(model: DiffusionLM, decoding: Decoding, rows: Rows, trace: Rollout) -> None:
    """Block after block until every row is finished. What rows have spent is counted from nothing, so that rows that
    did not fit into the memory can be made again."""
    assert trace.forwards_B is not None
    trace.num_steps_B[rows.index_B] = 0
    trace.forwards_B[rows.index_B] = 0
    laid_out = LaidOut.of(rows, model)
    sampler = _Sampler(model, decoding, laid_out, trace, KeyValueCache())
    width, size = laid_out.tokens_BW.shape[1], model.attention.block_length
    sampler.store(0, laid_out.first)
    for begin in range(laid_out.first, width, size):
        end = min(begin + size, width)
        sampler.unmask_block(begin, end)
        sampler.leave_finished(begin, end)
        if not len(sampler.rows.index_B):
            return
        sampler.store(begin, end)


@dataclass(frozen=True, kw_only=True)
class LaidOut:
    """Rows with their first blocks in the same columns. given_BW: the prompt, and given tokens of the completion.
    there_BW: no padding; None where there is none. first: column of the first block that is generated. start_B, end_B:
    columns of the completion's begin and end."""

    index_B: Tensor
    seed_B: Tensor
    tokens_BW: Tensor
    given_BW: Tensor
    there_BW: Tensor | None
    start_B: Tensor
    end_B: Tensor
    first: int

    @classmethod
    def of(cls, rows: Rows, model: DiffusionLM) -> LaidOut:
        """The layout of rows that nothing is revealed of. Raises UserError where blocks begin with the completion, but
        prompts are not padded to whole blocks."""
        (count, length), device = rows.tokens_BL.shape, rows.tokens_BL.device
        size = model.attention.block_length
        if model.attention.blocks_from == COMPLETION and rows.prompt_length % size:
            raise UserError(
                f"There are prompts of {rows.prompt_length} columns, which are not whole blocks of {size}; pad them "
                "with DiffusionLM.pad_prompts."
            )
        padding_B = torch.zeros(count, dtype=torch.long, device=device)
        if rows.mask_BL is not None:
            padding_B = model.attention.padding(rows.mask_BL)
        seen_B = rows.prompt_length - padding_B
        begun_B = seen_B % size
        first = int((seen_B - begun_B).max())
        start_B = first + begun_B
        width = int(start_B.max()) + length - rows.prompt_length
        column_BW = torch.arange(width, device=device) - (start_B - rows.prompt_length)[:, None]
        there_BW = (column_BW >= 0) & (column_BW < length)
        column_BW = column_BW.clamp(0, length - 1)
        if rows.mask_BL is not None:
            there_BW &= rows.mask_BL.gather(1, column_BW)
        tokens_BW = rows.tokens_BL.gather(1, column_BW).masked_fill(~there_BW, model.special.pad_id)
        is_prompt_BP = torch.ones_like(rows.tokens_BL[:, : rows.prompt_length], dtype=torch.bool)
        most = length - rows.prompt_length
        return cls(
            index_B=rows.index_B,
            seed_B=rows.seed_B,
            tokens_BW=tokens_BW,
            given_BW=torch.cat([is_prompt_BP, rows.given_BC], 1).gather(1, column_BW),
            there_BW=None if there_BW.all() else there_BW,
            start_B=start_B,
            end_B=start_B + (most if rows.length_B is None else rows.length_B),
            first=first,
        )

    def keep(self, rows_b: Tensor) -> LaidOut:
        """Those rows alone."""
        kept: dict[str, Any] = {name: value[rows_b] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **kept)


@dataclass
class _Sampler:
    """cache: of the columns before the active block, under guidance of the rows and then of the same with everything
    given masked. before_B1d: the output in the last of these columns, None where there is none."""

    model: DiffusionLM
    decoding: Decoding
    rows: LaidOut
    trace: Rollout
    cache: KeyValueCache
    before_B1d: Tensor | None = None

    def store(self, begin: int, end: int) -> None:
        """Keeps the keys and values of those columns."""
        if end > begin:
            self.before_B1d = self._hidden(begin, end)[:, -1:]

    def unmask_block(self, begin: int, end: int) -> None:
        """Passes until nothing is masked in those columns."""
        rows, attention = self.rows, self.model.attention
        column_Bn = torch.arange(begin, end, device=rows.tokens_BW.device).expand(len(rows.index_B), -1)
        masked_Bn = (column_Bn >= rows.start_B[:, None]) & (column_Bn < rows.end_B[:, None])
        masked_Bn &= ~rows.given_BW[:, begin:end]
        block = ActiveBlock(
            tokens_BL=rows.tokens_BW,
            index_B=rows.index_B,
            seed_B=rows.seed_B,
            column_Bn=column_Bn,
            position_Bn=column_Bn - rows.start_B[:, None],
            masked_Bn=masked_Bn,
            step_B=self.trace.num_steps_B[rows.index_B].long(),
        )
        # A block that the prompt has begun, that holds given tokens, or that the completion's end cuts short, has the
        # counts of a whole one.
        length = end - begin if attention.blocks_from == COMPLETION else attention.block_length
        counts = iter(block_diffusion_counts(self.decoding, length))
        while masked_Bn.any():
            at_least = 1 if self.decoding.entropy_bound else next(counts)
            choose = functools.partial(sure_enough, decoding=self.decoding, at_least=at_least, strictly=True)
            logits_NV = self._logits(begin, end, masked_Bn)
            reveal_surest(logits_NV, block, self.decoding, self.model.special, self.trace, choose)
        self.trace.num_steps_B[rows.index_B] = block.step_B.to(self.trace.num_steps_B.dtype)

    def leave_finished(self, begin: int, end: int) -> None:
        """Rows that have reached their end, or that have an end token in those columns of their completion and nothing
        given after them, leave; the rest of them is filled up."""
        rows, ends = self.rows, self.model.special.end_ids
        finished_B = rows.end_B <= end
        if self.decoding.stops_early:
            column_n = torch.arange(begin, end, device=rows.tokens_BW.device)
            generated_Bn = column_n >= rows.start_B[:, None]
            has_ended_B = (self.model.is_end(rows.tokens_BW[:, begin:end]) & generated_Bn).any(1)
            finished_B |= has_ended_B & ~rows.given_BW[:, end:].any(1)
        if not finished_B.any():
            return
        filled_B = rows.end_B.clamp_max(end) - rows.start_B
        stop(self.trace, rows.index_B[finished_B], filled_B[finished_B], ends[0])
        kept_b = (~finished_B).nonzero()[:, 0]
        blind_b = kept_b + len(rows.index_B)
        self.rows = rows.keep(kept_b)
        self.cache.keep(torch.cat([kept_b, blind_b]) if self.decoding.guidance_scale else kept_b)

    def _logits(self, begin: int, end: int, masked_Bn: Tensor) -> Tensor:
        """Logits (N, V), float32 or wider, at the masked positions; guided where that is asked for."""
        hidden_Bnd = self._hidden(begin, end)
        if self.model.predictor.shift:
            before_B1d = hidden_Bnd[:, :1] if self.before_B1d is None else self.before_B1d
            hidden_Bnd = torch.cat([before_B1d, hidden_Bnd[:, :-1]], 1)
        seen = self.model.head(hidden_Bnd[: len(masked_Bn)][masked_Bn])
        if not self.decoding.guidance_scale:
            return seen
        blind = self.model.head(hidden_Bnd[len(masked_Bn) :][masked_Bn])
        return guide(seen, blind, self.decoding.guidance_scale)

    def _hidden(self, begin: int, end: int) -> Tensor:
        """The output in those columns, which see what is before them in the cache, and take their place in it:
        (B, n, d), or (2 B, n, d) under guidance."""
        assert self.trace.forwards_B is not None
        rows = self.rows
        tokens_Bq = rows.tokens_BW[:, begin:end]
        there_BL = None if rows.there_BW is None else rows.there_BW[:, :end]
        if self.decoding.guidance_scale:
            blind_Bq = tokens_Bq.masked_fill(rows.given_BW[:, begin:end], self.model.special.mask_id)
            tokens_Bq = torch.cat([tokens_Bq, blind_Bq])
            there_BL = None if there_BL is None else torch.cat([there_BL, there_BL])
        self.cache.first = begin
        with self.model.meter.measure() as cost:
            hidden_Bqd, _ = self.model.cached_hidden(tokens_Bq, there_BL, self.cache)
        self.trace.forwards_B[rows.index_B] += cost.forwards // len(rows.index_B)
        return hidden_Bqd

"""The only sampler: semi-autoregressive iterative unmasking (LLaDA's generation), recorded as one Rollout.

The completion is cut into blocks, finished from left to right. A step predicts every masked position of the active
block, samples a token for each, and reveals the ones that the remasking rule is surest of. All rows keep step, so the
loop never asks the device for a value; only the end of a block does, to see which rows are finished.

Axes: B rows, P prompt, C completion, L = P + C, n masked positions of the active block, N = B * n, V vocabulary, T
steps."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from harness import flops
from harness.config import Decoding
from harness.diffusion import categorical
from harness.diffusion.remasking import Remasking, split_by_confidence
from harness.diffusion.schedule import reveal_counts
from harness.diffusion.trace import Trace
from harness.models.adapter import DiffusionLM, gather_positions
from harness.randomness import uniforms
from harness.rollout import Prompts, Rollout

TOKEN_DRAW, ORDER_DRAW = 0, 1
HEAD_CHUNK = 4096


@torch.no_grad()
def generate(
    model: DiffusionLM, prompts: Prompts, decoding: Decoding, seed_B: Tensor, *, record_argmax: bool = False
) -> Rollout:
    """Completes every prompt row once.

    seed_B: one int64 seed per row; a row's draws depend on its seed, the step and the position alone, so batching never
    changes them. record_argmax: also record the most probable token of every masked position at every step.
    """
    start = time.perf_counter()
    mask_id = model.special.mask_id
    trace = Trace.empty(prompts, decoding, mask_id=mask_id, record_argmax=record_argmax)
    rows = _Rows.start(prompts, decoding, seed_B, mask_id)
    step = 0
    for block, counts in enumerate(
        reveal_counts(decoding.completion_length, decoding.block_length, decoding.num_steps)
    ):
        first, end = block * decoding.block_length, (block + 1) * decoding.block_length
        masked_Bn = torch.arange(first, end, device=model.device).repeat(len(rows.index_B), 1)
        for reveal in counts:
            masked_Bn = _Step(model, decoding, rows, trace, masked_Bn, step, end).reveal(reveal)
            step += 1
        if decoding.early_stop and end < decoding.completion_length:
            rows = _leave_finished(model, rows, trace, first, end, step)
            if not len(rows.index_B):
                break
    seconds = time.perf_counter() - start
    return trace.rollout(prompts, num_steps=decoding.num_steps, mask_id=mask_id, seconds=seconds)


@dataclass
class _Rows:
    """The rows still being computed. index_B: their place in the batch; tokens_BL is written in place."""

    index_B: Tensor
    tokens_BL: Tensor
    mask_BL: Tensor | None
    seed_B: Tensor
    prompt_length: int

    @classmethod
    def start(cls, prompts: Prompts, decoding: Decoding, seed_B: Tensor, mask_id: int) -> _Rows:
        (rows, prompt_length), device = prompts.ids_BP.shape, prompts.ids_BP.device
        blank_BC = torch.full((rows, decoding.completion_length), mask_id, device=device)
        tokens_BL, mask_BL = prompts.with_completion(blank_BC)
        return cls(torch.arange(rows, device=device), tokens_BL, mask_BL, seed_B.to(device), prompt_length)

    def keep(self, rows_b: Tensor) -> _Rows:
        """Those rows alone."""
        mask_BL = None if self.mask_BL is None else self.mask_BL[rows_b]
        return _Rows(self.index_B[rows_b], self.tokens_BL[rows_b], mask_BL, self.seed_B[rows_b], self.prompt_length)


@dataclass
class _Step:
    """One unmasking step on the masked positions masked_Bn of the block that ends at block_end."""

    model: DiffusionLM
    decoding: Decoding
    rows: _Rows
    trace: Trace
    masked_Bn: Tensor
    step: int
    block_end: int

    def reveal(self, count: int) -> Tensor:
        """Writes `count` tokens per row and their record; returns the positions still masked (B, n - count)."""
        rows, mask_id = self.rows, self.model.special.mask_id
        hidden_BLd = self.model.hidden(rows.tokens_BL, rows.mask_BL)
        logits_NV = self._logits(hidden_BLd)
        log_normaliser_N = categorical.log_normaliser(logits_NV)
        mask_logit_N = categorical.forbid(logits_NV, mask_id)
        token_N = self._sample(logits_NV)
        logprob_N = logits_NV.gather(1, token_N[:, None])[:, 0] - log_normaliser_N
        if self.trace.argmax_BTC is not None:
            self._record_argmax(self.trace.argmax_BTC, hidden_BLd, logits_NV)
        logits_NV[:, mask_id] = mask_logit_N

        size_Bn = self.masked_Bn.shape
        revealed_Bk, rest = split_by_confidence(self._confidence(logits_NV, logprob_N).view(size_Bn), count)
        position_Bk, token_Bk = self.masked_Bn.gather(1, revealed_Bk), token_N.view(size_Bn).gather(1, revealed_Bk)
        row_start_B1 = torch.arange(0, logits_NV.shape[0], size_Bn[1], device=revealed_Bk.device)[:, None]
        entropy_K = categorical.entropy(logits_NV[(row_start_B1 + revealed_Bk).flatten()])
        rows.tokens_BL.scatter_(1, rows.prompt_length + position_Bk, token_Bk)
        self.trace.reveal(
            rows.index_B,
            self.step,
            position_Bk,
            token=token_Bk,
            logprob=logprob_N.view(size_Bn).gather(1, revealed_Bk),
            entropy=entropy_K.view(revealed_Bk.shape),
        )
        self._account()
        return self.masked_Bn.gather(1, rest)

    def _logits(self, hidden_BLd: Tensor) -> Tensor:
        """float32 logits (N, V) at the masked positions of the block."""
        asked_Bnd = gather_positions(hidden_BLd, self.rows.prompt_length + self.masked_Bn)
        return self.model.head(asked_Bnd.flatten(0, 1))

    def _sample(self, logits_NV: Tensor) -> Tensor:
        if self.decoding.temperature == 0:
            return logits_NV.argmax(1)
        uniform_Bn = uniforms(self.rows.seed_B, self.step, self.masked_Bn, TOKEN_DRAW)
        return categorical.draw(logits_NV, uniform_Bn.flatten(), self.decoding.temperature)

    def _confidence(self, logits_NV: Tensor, logprob_N: Tensor) -> Tensor:
        match Remasking(self.decoding.remasking):
            case Remasking.LOW_CONFIDENCE:
                return logprob_N
            case Remasking.ENTROPY:
                return -categorical.entropy(logits_NV)
            case Remasking.RANDOM:
                return uniforms(self.rows.seed_B, self.step, self.masked_Bn, ORDER_DRAW).flatten()

    def _record_argmax(self, argmax_BTC: Tensor, hidden_BLd: Tensor, logits_NV: Tensor) -> None:
        """The most probable token at every masked position: from the block's logits, and in chunks beyond the block."""
        index_B1 = self.rows.index_B[:, None]
        best_Bn = logits_NV.argmax(1).view(self.masked_Bn.shape)
        argmax_BTC[index_B1, self.step, self.masked_Bn] = best_Bn.to(torch.int32)
        beyond_BMd = hidden_BLd[:, self.rows.prompt_length + self.block_end :]
        if beyond_BMd.shape[1]:
            best_BM = greedy_tokens(self.model, beyond_BMd.flatten(0, 1)).view(beyond_BMd.shape[:2])
            argmax_BTC[self.rows.index_B, self.step, self.block_end :] = best_BM.to(torch.int32)

    def _account(self) -> None:
        batch, length = self.rows.tokens_BL.shape
        positions = self.masked_Bn.numel()
        if self.trace.argmax_BTC is not None:
            positions += batch * (self.decoding.completion_length - self.block_end)
        self.trace.forwards += batch
        self.trace.flops += flops.forward(self.model.shape, rows=batch, length=length, head_positions=positions)


def greedy_tokens(model: DiffusionLM, hidden_Nd: Tensor) -> Tensor:
    """The most probable token (N,) per hidden state, never the mask token; logits live for HEAD_CHUNK positions at a
    time."""
    best = []
    for chunk in hidden_Nd.split(HEAD_CHUNK):
        logits_NV = model.head(chunk)
        categorical.forbid(logits_NV, model.special.mask_id)
        best.append(logits_NV.argmax(1))
    return torch.cat(best)


def _leave_finished(model: DiffusionLM, rows: _Rows, trace: Trace, first: int, end: int, step: int) -> _Rows:
    """Rows whose block [first, end) is all end-of-text stop being computed; the rest of them is filled with that
    token."""
    block_Bb = rows.tokens_BL[:, rows.prompt_length + first : rows.prompt_length + end]
    finished_B = model.is_end(block_Bb).all(1)
    trace.stop(rows.index_B[finished_B], step, end, model.special.end_ids[0])
    return rows.keep((~finished_B).nonzero()[:, 0])

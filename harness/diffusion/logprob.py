"""Log-probabilities of given tokens, nats: plain, or of the tempered and truncated distribution that was sampled, as
pure functions of logits; and how to ask for many without holding all logits at once.

Axes: B rows, n positions, V vocabulary, k tokens of a support.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness.diffusion import categorical
from harness.models.diffusion_lm import DiffusionLM
from harness.models.memory import PREPARATION

POSITIONS_AT_ONCE = 4096


def chosen_logprob(logits_BnV: Tensor, target_Bn: Tensor) -> Tensor:
    """Untempered log-probability (B, n) of the target tokens."""
    return logits_BnV.log_softmax(-1).gather(-1, target_Bn[:, :, None])[:, :, 0]


def behaviour_logprob(
    logits_BnV: Tensor, target_Bn: Tensor, *, temperature: float, support_Bnk: Tensor | None
) -> Tensor:
    """Log-probability (B, n) under softmax(logits / temperature) restricted to a support.

    support_Bnk: token ids, padded with -1; None is the whole vocabulary. The targets lie in it. Where it is empty
    (filler that was never sampled) the value is finite and means nothing.
    """
    tempered_BnV = logits_BnV / temperature
    target_Bn1 = target_Bn[:, :, None]
    if support_Bnk is None:
        return chosen_logprob(tempered_BnV, target_Bn)
    kept_Bnk = _kept(tempered_BnV, target_Bn1, support_Bnk)
    return tempered_BnV.gather(-1, target_Bn1)[:, :, 0] - kept_Bnk.logsumexp(-1)


def behaviour_entropy(
    logits_BnV: Tensor, target_Bn: Tensor, *, temperature: float, support_Bnk: Tensor | None
) -> Tensor:
    """Entropy (B, n) of the distribution that `behaviour_logprob` is asked of, nats."""
    tempered_BnV = logits_BnV / temperature
    if support_Bnk is not None:
        tempered_BnV = _kept(tempered_BnV, target_Bn[:, :, None], support_Bnk)
    return categorical.entropy(tempered_BnV.flatten(0, 1)).view(target_Bn.shape)


def _kept(tempered_BnV: Tensor, target_Bn1: Tensor, support_Bnk: Tensor) -> Tensor:
    """Logits (B, n, k) of a support, -inf where it is padded; those of the target alone where it is empty."""
    is_empty_Bn1 = (support_Bnk < 0).all(-1, keepdim=True)
    ids_Bnk = torch.where(is_empty_Bn1, target_Bn1, support_Bnk.long())
    return tempered_BnV.gather(-1, ids_Bnk.clamp_min(0)).masked_fill(ids_Bnk < 0, -torch.inf)


@torch.no_grad()
def without_gradient(
    policy: DiffusionLM, function: Callable[..., Tensor], *rows: Tensor | None, positions: int, together: int = 1
) -> Tensor:
    """`function` of row tensors, some rows at a time, so that few logits live at once; its results are joined.

    positions: at how many positions per row `function` asks for logits. together: so many successive rows go in one
    piece where the memory suffices. None is handed on as it is.
    """
    wanted = max(1, POSITIONS_AT_ONCE // (positions * together)) * together
    pieces = policy.memory.pieces(PREPARATION, _number(rows), wanted, lambda piece: function(*_those(rows, piece)))
    return torch.cat(list(pieces))


def recomputed(policy: DiffusionLM, function: Callable[..., Tensor], *rows: Tensor | None, at_once: int) -> Tensor:
    """`function` of row tensors with its gradient, `at_once` rows at a time (0: all); its results are joined.

    A piece keeps nothing but its rows: in the backward pass it is computed once more, which counts as no pass.
    """
    total = _number(rows)
    if not at_once or at_once >= total:
        return function(*rows)
    again = lambda: (contextlib.nullcontext(), policy.meter.paused())  # noqa: E731
    return torch.cat(
        [
            checkpoint(function, *_those(rows, slice(start, start + at_once)), use_reentrant=False, context_fn=again)
            for start in range(0, total, at_once)
        ]
    )


def _number(rows: Sequence[Tensor | None]) -> int:
    return next(len(tensor) for tensor in rows if tensor is not None)


def _those(rows: Sequence[Tensor | None], piece: slice) -> list[Tensor | None]:
    return [None if tensor is None else tensor[piece] for tensor in rows]

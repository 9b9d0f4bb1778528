"""Log-probabilities of given tokens, nats: plain, or of the tempered and truncated distribution that was
sampled. All but `without_gradient` are pure functions of logits.

Axes: B rows, n positions, V vocabulary, k tokens of a support.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

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
    is_empty_Bn1 = (support_Bnk < 0).all(-1, keepdim=True)
    ids_Bnk = torch.where(is_empty_Bn1, target_Bn1, support_Bnk.long())
    kept_Bnk = tempered_BnV.gather(-1, ids_Bnk.clamp_min(0)).masked_fill(ids_Bnk < 0, -torch.inf)
    return tempered_BnV.gather(-1, target_Bn1)[:, :, 0] - kept_Bnk.logsumexp(-1)


@torch.no_grad()
def without_gradient(function: Callable[..., Tensor], *rows: Tensor | None, positions: int) -> Tensor:
    """`function` of row tensors, some rows at a time, so that few logits live at once; its results are joined.

    positions: at how many positions per row `function` asks for logits. None is handed on as it is.
    """
    size = max(1, POSITIONS_AT_ONCE // positions)
    total = next(len(tensor) for tensor in rows if tensor is not None)
    pieces = [
        function(*(None if tensor is None else tensor[start : start + size] for tensor in rows))
        for start in range(0, total, size)
    ]
    return torch.cat(pieces)

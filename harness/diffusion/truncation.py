"""Top-k and top-p: the tokens that a tempered distribution keeps. Axes: N positions, V vocabulary, k kept tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Support:
    """ids_Nk: kept tokens, most probable first, -1 in the columns left over. logprob_Nk: renormalised, -inf there.

    k is top_k + 1, or V without a top_k.
    """

    ids_Nk: Tensor
    logprob_Nk: Tensor


def truncate(
    logits_NV: Tensor, *, temperature: float, top_k: int, top_p: float, keep_crossing: bool, mask_id: int
) -> Support:
    """Tempers, keeps the top_k tokens (0: all), then the most probable ones up to mass top_p.

    The token that crosses top_p stays if keep_crossing (Hugging Face's rule) and goes otherwise (AGRPO's). The most
    probable token that is not the mask token always stays, so that there is one to draw.
    """
    count = min(top_k + 1 if top_k else logits_NV.shape[1], logits_NV.shape[1])
    kept_Nk, ids_Nk = logits_NV.topk(count, dim=1)
    outside_Nk = kept_Nk == -torch.inf
    if top_k:
        outside_Nk[:, top_k:] = True
    logprob_Nk = (kept_Nk / temperature).masked_fill(outside_Nk, -torch.inf).log_softmax(1)
    if top_p < 1:
        mass_Nk = logprob_Nk.exp().cumsum(1)
        before_Nk = mass_Nk - logprob_Nk.exp()
        outside_Nk |= (before_Nk if keep_crossing else mass_Nk) > top_p
    drawable_Nk = ids_Nk != mask_id
    outside_Nk &= ~(drawable_Nk & (drawable_Nk.cumsum(1) == 1))
    logprob_Nk = (kept_Nk / temperature).masked_fill(outside_Nk, -torch.inf).log_softmax(1)
    return Support(ids_Nk=ids_Nk.masked_fill(outside_Nk, -1), logprob_Nk=logprob_Nk)

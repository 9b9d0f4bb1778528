"""What a step needs of the logits: an exact draw by inverse CDF, log-probabilities and entropies.

Axes: N positions, V vocabulary. One float64 uniform decides a position, so the draw needs no vocabulary-wide noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 512


def forbid(logits_NV: Tensor, token: int) -> Tensor:
    """Sets the logit of `token` to -inf in place and returns what stood there (N,), so that it can be put back."""
    banned_N = logits_NV[:, token].clone()
    logits_NV[:, token] = -torch.inf
    return banned_N


def most_probable(logits_NV: Tensor) -> Tensor:
    """The token of highest logit per row (N,), of equal ones the first.

    On a CPU torch's argmax takes ten times as long as amax, so there it looks at the best chunk of the vocabulary
    alone."""
    whole = logits_NV.shape[1] // CHUNK * CHUNK
    if logits_NV.device.type != "cpu" or whole <= CHUNK:
        return logits_NV.argmax(1)
    peak_NK = logits_NV[:, :whole].unflatten(1, (-1, CHUNK)).amax(2)
    if whole < logits_NV.shape[1]:
        peak_NK = torch.cat([peak_NK, logits_NV[:, whole:].amax(1, keepdim=True)], 1)
    first_N1 = peak_NK.argmax(1, keepdim=True) * CHUNK
    column_Nc = (first_N1 + torch.arange(CHUNK)).clamp_max(logits_NV.shape[1] - 1)
    return first_N1[:, 0] + logits_NV.gather(1, column_Nc).argmax(1)


def draw(logits_NV: Tensor, uniform_N: Tensor, temperature: float) -> Tensor:
    """Samples one token per row from softmax(logits / temperature). uniform_N: float64 in [0, 1).

    Inverse CDF in two levels: a float64 cumulative sum over chunks of the vocabulary, then one inside the chosen chunk;
    nothing in float64 is as wide as the vocabulary. A flat float32 cumulative sum would leave a quarter of a 126k
    vocabulary unreachable. Tokens of logit -inf are never drawn."""
    peak_N1 = logits_NV.amax(1, keepdim=True)
    weight_NV = (logits_NV - peak_N1).div_(temperature).exp_()
    if weight_NV.shape[1] <= CHUNK:
        cdf_NV = weight_NV.cumsum(1, dtype=torch.float64)
        return _search(cdf_NV, uniform_N[:, None] * cdf_NV[:, -1:])[:, 0]
    short = -weight_NV.shape[1] % CHUNK
    if short:
        weight_NV = torch.nn.functional.pad(weight_NV, (0, short))
    weight_NKc = weight_NV.view(weight_NV.shape[0], -1, CHUNK)
    chunk_NK = weight_NKc.sum(2)  # with dtype=torch.float64 torch would convert all weights first
    chunk_cdf_NK = chunk_NK.cumsum(1, dtype=torch.float64)
    target_N1 = uniform_N[:, None] * chunk_cdf_NK[:, -1:]
    chunk_N1 = _search(chunk_cdf_NK, target_N1)
    before_N1 = torch.where(chunk_N1 > 0, chunk_cdf_NK.gather(1, (chunk_N1 - 1).clamp_min(0)), 0.0)
    inside_Nc = weight_NKc.gather(1, chunk_N1[:, :, None].expand(-1, -1, CHUNK))[:, 0]
    cdf_Nc = inside_Nc.cumsum(1, dtype=torch.float64)
    part_N1 = (target_N1 - before_N1) / chunk_NK.gather(1, chunk_N1)
    token_N1 = _search(cdf_Nc, part_N1 * cdf_Nc[:, -1:])
    return (chunk_N1 * CHUNK + token_N1)[:, 0]


def _search(cdf_NK: Tensor, target_N1: Tensor) -> Tensor:
    """First index whose cumulative weight exceeds the target; rounding never leads past the last index with weight."""
    last_N1 = torch.searchsorted(cdf_NK, cdf_NK[:, -1:].contiguous())
    return torch.minimum(torch.searchsorted(cdf_NK, target_N1, right=True), last_N1)


def entropy(logits_NV: Tensor) -> Tensor:
    """Entropy of softmax(logits) (N,), nats. Tokens of logit -inf count 0."""
    logprob_NV = logits_NV.log_softmax(1)
    least = torch.finfo(logprob_NV.dtype).min
    if logprob_NV.requires_grad:
        return -(logprob_NV.exp() * logprob_NV.clamp_min(least)).sum(1)
    return -logprob_NV.exp().mul_(logprob_NV.clamp_min_(least)).sum(1)

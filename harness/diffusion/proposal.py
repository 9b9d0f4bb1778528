"""From a step's logits to one proposed token per masked position, its record, and its confidence.

Positions are worked through some at a time: on a CPU so few that the vocabulary-wide intermediate values of a group
stay in its cache, on a GPU so many that a kernel takes longer than its launch, yet few beside the logits themselves.

Axes: N positions, V vocabulary, k kept tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import categorical
from harness.diffusion.truncation import Support, truncate
from harness.models.diffusion_lm import SpecialTokens

CPU_ELEMENTS, GPU_ELEMENTS = 1 << 20, 1 << 24
"""Logits of a group, 4 and 64 MiB in float32."""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """Of the tempered, truncated distribution that was sampled: log-probability of the token, entropy (nats), kept
    tokens."""

    logprob_N: Tensor
    entropy_N: Tensor
    ids_Nk: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """token_N: proposed. logprob_N: untempered, over the whole vocabulary, nats. confidence_N: higher is revealed
    earlier."""

    token_N: Tensor
    logprob_N: Tensor
    confidence_N: Tensor
    behaviour: Behaviour | None


def propose(
    logits_NV: Tensor,
    decoding: Decoding,
    special: SpecialTokens,
    *,
    token_uniform_N: Tensor | None,
    order_uniform_N: Tensor | None,
    record_behaviour: bool,
) -> Proposal:
    """Samples a token per position and says how sure it is. logits_NV is left as it came.

    token_uniform_N, order_uniform_N: float64 in [0, 1), where the temperature or random remasking ask for them.
    """
    elements = CPU_ELEMENTS if logits_NV.device.type == "cpu" else GPU_ELEMENTS
    group = max(1, elements // logits_NV.shape[1])
    pieces = [
        _Group(logits_NV[rows], decoding, special, _part(token_uniform_N, rows), _part(order_uniform_N, rows)).propose(
            record_behaviour
        )
        for rows in (slice(start, start + group) for start in range(0, logits_NV.shape[0], group))
    ]
    joined: Proposal = _join(pieces)
    return joined


@dataclass
class _Group:
    """A few positions. Bans are written into the logits and taken back at the end."""

    logits_NV: Tensor
    decoding: Decoding
    special: SpecialTokens
    token_uniform_N: Tensor | None
    order_uniform_N: Tensor | None

    def propose(self, record_behaviour: bool) -> Proposal:
        end_logit_N = None
        if self.decoding.forbids_end:
            end_logit_N = categorical.forbid(self.logits_NV, self.special.end_ids[0])
        support = self._support()
        token_N = self._sample(support)
        ranks_by_behaviour = self.decoding.ranking == "behaviour" and self.decoding.remasking != "random"
        behaviour = self._behaviour(token_N, support) if record_behaviour or ranks_by_behaviour else None
        logprob_N = self.logits_NV.gather(1, token_N[:, None])[:, 0] - self.logits_NV.logsumexp(1)
        confidence_N = self._confidence(token_N, logprob_N, behaviour, support)
        if end_logit_N is not None:
            self.logits_NV[:, self.special.end_ids[0]] = end_logit_N
        return Proposal(token_N=token_N, logprob_N=logprob_N, confidence_N=confidence_N, behaviour=behaviour)

    def _support(self) -> Support | None:
        if not self.decoding.truncated or self.decoding.temperature == 0:
            return None
        return truncate(
            self.logits_NV,
            temperature=self.decoding.temperature,
            top_k=self.decoding.top_k,
            top_p=self.decoding.top_p,
            keep_crossing=self.decoding.top_p_keeps_crossing,
            mask_id=self.special.mask_id,
        )

    def _sample(self, support: Support | None) -> Tensor:
        """A token per position, never the mask token, which everything that is recorded keeps in its normaliser."""
        mask_id = self.special.mask_id
        if support is not None and self.token_uniform_N is not None:
            drawable_Nk = support.logprob_Nk.masked_fill(support.ids_Nk == mask_id, -torch.inf)
            column_N = categorical.draw(drawable_Nk, self.token_uniform_N, 1.0)
            return support.ids_Nk.gather(1, column_N[:, None])[:, 0]
        mask_logit_N = categorical.forbid(self.logits_NV, mask_id)
        if self.token_uniform_N is None:
            token_N = categorical.most_probable(self.logits_NV)
        else:
            token_N = categorical.draw(self.logits_NV, self.token_uniform_N, self.decoding.temperature)
        self.logits_NV[:, mask_id] = mask_logit_N
        return token_N

    def _behaviour(self, token_N: Tensor, support: Support | None) -> Behaviour:
        """The distribution that was sampled; greedy decoding is asked of temperature 1."""
        if support is not None:
            column_N1 = (support.ids_Nk == token_N[:, None]).int().argmax(1, keepdim=True)
            return Behaviour(
                logprob_N=support.logprob_Nk.gather(1, column_N1)[:, 0],
                entropy_N=categorical.entropy(support.logprob_Nk),
                ids_Nk=support.ids_Nk,
            )
        tempered_NV = self.logits_NV / (self.decoding.temperature or 1.0)
        chosen_N = tempered_NV.gather(1, token_N[:, None])[:, 0]
        return Behaviour(
            logprob_N=chosen_N - tempered_NV.logsumexp(1),
            entropy_N=categorical.entropy(tempered_NV),
            ids_Nk=None,
        )

    def _confidence(
        self, token_N: Tensor, logprob_N: Tensor, behaviour: Behaviour | None, support: Support | None
    ) -> Tensor:
        if self.order_uniform_N is not None:
            return self.order_uniform_N
        ranked = behaviour if self.decoding.ranking == "behaviour" else None
        match self.decoding.remasking:
            case "entropy":
                return -(ranked.entropy_N if ranked else categorical.entropy(self.logits_NV))
            case "sequential":
                return torch.zeros_like(logprob_N)
            case "topk_margin":
                return self._margin(support if ranked else None)
        if self.decoding.eos_policy in ("defer", "forbid-defer"):
            return self._deferring_ends(token_N)
        return ranked.logprob_N if ranked else logprob_N

    def _margin(self, support: Support | None) -> Tensor:
        """Probability of the best token minus that of the second (Dream)."""
        scale = self.decoding.temperature if self.decoding.ranking == "behaviour" and self.decoding.temperature else 1.0
        logprob = support.logprob_Nk if support is not None else (self.logits_NV / scale).log_softmax(1)
        best = logprob.topk(min(2, logprob.shape[1]), dim=1).values.exp()
        return best[:, 0] - best[:, 1] if best.shape[1] == 2 else best[:, 0]

    def _deferring_ends(self, token_N: Tensor) -> Tensor:
        """Log-probability with the end tokens taken out of the vocabulary; -inf for an end token."""
        without_NV = self.logits_NV.clone()
        for end_id in self.special.end_ids:  # a list as index would be copied to the device, which waits for it
            without_NV[:, end_id] = -torch.inf
        return without_NV.log_softmax(1).gather(1, token_N[:, None])[:, 0]


def _part(values_N: Tensor | None, rows: slice) -> Tensor | None:
    return None if values_N is None else values_N[rows]


def _join(pieces: list[Any]) -> Any:
    """The values of all groups as one: tensors end to end, records field by field."""
    first = pieces[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(pieces)
    return type(first)(**{name: _join([getattr(piece, name) for piece in pieces]) for name in vars(first)})

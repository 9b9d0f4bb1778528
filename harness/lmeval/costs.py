"""What an evaluation cost, as it stands in lm-eval's results under `config`. No torch.

Stored answers bring the cost of their first computation along, so a resumed evaluation reports what an uninterrupted
one would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer that was given. kind: generate_until, loglikelihood or greedy. computed: now, and not stored before.

    tokens: of the completion, up to the first end token. forwards: rows times forward passes. standard_error: nats.
    """

    kind: str
    computed: bool
    forwards: int
    seconds: float
    flops: float
    tokens: int = 0
    standard_error: float | None = None


def summary(answers: Iterable[Answered]) -> dict[str, dict[str, Any]]:
    """Per kind of request: how many, and what they took; seconds are summed over processes."""
    kinds: dict[str, list[Answered]] = {}
    for answer in answers:
        kinds.setdefault(answer.kind, []).append(answer)
    return {kind: _of_kind(kind, kinds[kind]) for kind in sorted(kinds)}


def _of_kind(kind: str, answers: list[Answered]) -> dict[str, Any]:
    forwards, seconds = sum(one.forwards for one in answers), sum(one.seconds for one in answers)
    account: dict[str, Any] = {
        "requests": len(answers),
        "computed_now": sum(one.computed for one in answers),
        "forwards": forwards,
        "nfe": forwards / len(answers),
        "flops": sum(one.flops for one in answers),
        "seconds": seconds,
    }
    if kind == "generate_until":
        tokens = sum(one.tokens for one in answers)
        account |= {"tokens": tokens, "tokens_per_second": tokens / seconds if seconds else None}
    errors = [one.standard_error for one in answers if one.standard_error is not None]
    if errors:
        account |= {"standard_error_mean": sum(errors) / len(errors), "standard_error_max": max(errors)}
    return account


def merged(answered: Mapping[str, Answered], more: Mapping[str, Answered]) -> dict[str, Answered]:
    """Both, an answer that is in both counted once and as computed where either computed it."""
    both = {**more, **answered}
    return {key: more[key] if key in more and more[key].computed else one for key, one in both.items()}

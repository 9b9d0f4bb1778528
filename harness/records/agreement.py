"""What an approximate decoding changes, as it stands in the record of its evaluation. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from harness.records.jsonl import RecordError
from harness.records.values import is_name, is_number

TEXTS = ("exact", "metric")
MAY_LACK = ("low", "high", "p", "gap_mean", "gap_largest")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A decoding with a cache, threshold, factor or entropy bound against exact decoding of the same items. Shares,
    values and differences are fractions of 1.

    exact: identity of the exact evaluation, whose samples are samples-<exact>.jsonl.gz. tokens: share of equal tokens,
    position by position up to the later of the two ends; completions: of completions that are the same throughout.
    metric: the task's headline; exact_value: what exact decoding reaches. difference: approximate minus exact, paired
    by item, with its 95 % interval; p: exact and two-sided. low, high and p are None where items have another weight in
    the two, or, for p, count by fractions. cost: FLOPs, as a multiple of exact decoding's.

    gap_mean, gap_largest: of |log-probability that was recorded - that of a whole pass in the same state|, nats, over
    gap_tokens tokens of the first items; None where every pass was whole, so that there is none.
    """

    exact: str
    tokens: float
    completions: float
    metric: str
    exact_value: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    cost: float
    gap_mean: float | None
    gap_largest: float | None
    gap_tokens: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises RecordError for values of a wrong kind, TypeError for fields that are missing or unknown."""
        found = cls(**data)
        for name in (item.name for item in fields(cls)):
            value = getattr(found, name)
            fits = is_name(value) if name in TEXTS else is_number(value) or (value is None and name in MAY_LACK)
            if not fits:
                raise RecordError(f"the agreement of an evaluation has a value of a wrong kind in '{name}'")
        return found

"""When published numbers may be ranked: one protocol, and a difference above the noise of the item counts.

Two values share a protocol where items, worked examples, tokens per step, checkpoint choice and kind of training
are all stated and the same. Everything else is a footnote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.analysis.groups import group_by
from harness.report.analysis.statistics import Z
from harness.report.read.published import Published, Value


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Values of one protocol: the highest, those within noise of it, and those clearly below."""

    best: Value
    within: tuple[Value, ...]
    below: tuple[Value, ...]
    n: int

    @property
    def clear(self) -> bool:
        """Whether the best is above all others by more than noise."""
        return not self.within

    @property
    def all(self) -> tuple[Value, ...]:
        """All values, the highest first."""
        return (self.best, *self.within, *self.below)


def protocol_key(value: Value) -> tuple[object, ...] | None:
    """What must agree before two values are ranked; None where a part is not stated or nothing was trained."""
    key = (value.items, value.shots, value.tokens_per_step, value.checkpoint, value.training)
    known = None not in key and "" not in key
    return (value.model, value.metric, *key) if known and value.training != "none" else None


def noise(first: float, second: float, n: int) -> float:
    """Half-width of the 95 % interval of a difference of two percentages over n items each, in points.

    For separate samples: who has the verdicts of each item can do better (McNemar). For a ratio such as cell
    accuracy it counts items, not cells, and is on the wide side.
    """
    shares = [percentage / 100 for percentage in (first, second)]
    return 100 * Z * math.sqrt(math.fsum(share * (1 - share) for share in shares) / n)


def solved(value: Value, published: Published) -> bool:
    """Whether a value lies within two standard deviations of what a perfect solver scores on these items, or above."""
    ceiling = published.ceiling(value.items, value.metric)
    if ceiling is None or ceiling.sd is None:
        return False
    # Rounded: 93.4 - 2 * 0.8 is 91.80000000000001 in floating point.
    return value.value >= round(ceiling.value - 2 * ceiling.sd, 6)


def rank(values: Sequence[Value], published: Published) -> list[Ranked]:
    """The groups of `values` (one task and length) that share a protocol, two or more each, in their order."""
    rankable = [value for value in values if protocol_key(value) and published.item_sets[value.items].n]
    return [_ranked(own, published) for own in group_by(rankable, protocol_key).values() if len(own) > 1]


def _ranked(group: Sequence[Value], published: Published) -> Ranked:
    best = max(group, key=lambda value: value.value)
    n = published.item_sets[best.items].n or 0
    others = [value for value in group if value is not best]
    near = [
        value
        for value in others
        if best.value - value.value <= noise(best.value, value.value, n)
        or (solved(best, published) and solved(value, published))
    ]
    return Ranked(best=best, within=tuple(near), below=tuple(value for value in others if value not in near), n=n)

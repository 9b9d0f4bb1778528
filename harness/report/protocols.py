"""When published numbers may be ranked: one protocol, and a difference above the noise of the item counts.

Two values share a protocol where items, worked examples, tokens per step, checkpoint choice and kind of training
are all stated and the same. Everything else is a footnote.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.special import ndtri

from harness.report.labels import task_name
from harness.report.published import CHECKPOINT, TRAINING, Published, Value
from harness.report.statistics import CONFIDENCE

REFERENCE_PAPER, REFERENCE_METHOD = "egspo", "EGSPO-SA"


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Values of one protocol: the highest, those that noise cannot tell from it, and those clearly below."""

    best: Value
    within: tuple[Value, ...]
    below: tuple[Value, ...]
    n: int

    @property
    def clear(self) -> bool:
        """Whether the best stands above all others by more than noise."""
        return not self.within


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
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    shares = [percentage / 100 for percentage in (first, second)]
    return 100 * z * math.sqrt(math.fsum(share * (1 - share) for share in shares) / n)


def solved(value: Value, published: Published) -> bool:
    """Whether a value lies within two standard deviations of what a perfect solver scores on these items, or above."""
    ceiling = published.ceiling(value.items, value.metric)
    if ceiling is None or ceiling.sd is None:
        return False
    # Rounded: 93.4 - 2 * 0.8 is 91.80000000000001 in floating point.
    return value.value >= round(ceiling.value - 2 * ceiling.sd, 6)


def rank(values: Sequence[Value], published: Published) -> list[Ranked]:
    """The groups of `values` (one task and length) that share a protocol, two or more each, in their order."""
    groups: dict[tuple[object, ...], list[Value]] = defaultdict(list)
    for value in values:
        key = protocol_key(value)
        if key is not None and published.item_sets[value.items].n:
            groups[key].append(value)
    return [_ranked(group, published) for group in groups.values() if len(group) > 1]


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


def differences(value: Value, published: Published) -> str:
    """How the protocol departs from EGSPO's on the same task, for a footnote; empty where it does not."""
    reference = reference_of(value.task, published)
    trained = value.training != "none"
    found = {
        "items": (value.items, reference.items, _items_text(value, published)),
        "worked examples": (value.shots, reference.shots, f"{value.shots}-shot"),
        "tokens per step": (value.tokens_per_step, reference.tokens_per_step, _steps_text(value)),
        "checkpoint choice": (value.checkpoint, reference.checkpoint, CHECKPOINT[value.checkpoint]),
        "kind of training": (value.training, reference.training, TRAINING[value.training]),
    }
    if not trained:
        del found["checkpoint choice"], found["kind of training"]
    texts = [text for own, other, text in found.values() if own not in ("", None, other)]
    missing = [name for name, (own, _, _) in found.items() if own in ("", None)]
    return "; ".join([*texts, *([f"not stated: {', '.join(missing)}"] if missing else [])])


def reference_of(task: str, published: Published) -> Value:
    """The value whose protocol footnotes compare with: EGSPO-SA's own on LLaDA."""
    return next(
        value
        for value in published.values
        if (value.paper, value.method, value.task) == (REFERENCE_PAPER, REFERENCE_METHOD, task)
    )


def reference_text(tasks: Sequence[str], published: Published) -> str:
    """The reference protocol of several tasks in words: what they share, then their items."""
    values = [reference_of(task, published) for task in tasks]
    shared = [
        _shared(f"{value.shots}-shot" for value in values),
        _shared(_steps_text(value) for value in values),
        _shared(CHECKPOINT[value.checkpoint] for value in values),
        _shared(TRAINING[value.training] for value in values),
    ]
    items = [f"{task_name(value.task)} on {_items_text(value, published)}" for value in values]
    return f"{', '.join(shared)}; {', '.join(items)}"


def _shared(texts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(texts))


def _items_text(value: Value, published: Published) -> str:
    return published.item_sets[value.items].label if value.items else ""


def _steps_text(value: Value) -> str:
    return f"{value.tokens_per_step} token{'s' if value.tokens_per_step != 1 else ''} per step"

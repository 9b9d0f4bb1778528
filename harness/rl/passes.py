"""Updates within one training step: how rows that were accumulated in passes are shared among them. Pure functions.

Axes: B rows; M parts, one for each draw of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from harness.rl.method import LossPart
from harness.rollout import ScoredRollouts

Part = TypeVar("Part", bound=LossPart)


def per_draw(parts: Sequence[Part], scored: ScoredRollouts) -> list[list[Part]]:
    """The parts of M updates, an update per draw of the rows of the last accumulated pass; the first takes in all draws
    of the passes before it."""
    last_B = scored.pass_B == scored.accumulated_batches - 1
    updates = [[part.rows(last_B)] for part in parts]
    if scored.accumulated_batches > 1:
        updates[0] = [*(part.rows(~last_B) for part in parts), *updates[0]]
    return updates

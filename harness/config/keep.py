"""Which checkpoints of a run stay on disk. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.errors import UserError

FORMS = "last, all, a number of checkpoints such as 3, every=UPDATES, or best=validation"


@dataclass(frozen=True, kw_only=True)
class Keep:
    """The newest `count` checkpoints stay, 0 for all; besides them the first at or after every so many steps, and the
    best one on the validation items. The newest always stays: the run goes on from it."""

    count: int = 1
    every: int = 0
    best: bool = False

    def chosen(self, steps: Sequence[int], *, best: int | None) -> Collection[int]:
        """Those of the rising `steps` that stay. best: the step of the best checkpoint, where it is known."""
        chosen = set(steps[-self.count :])
        if self.every:
            pairs = itertools.pairwise([0, *steps])
            chosen |= {step for before, step in pairs if step // self.every > before // self.every}
        if self.best and best is not None:
            chosen.add(best)
        return chosen


def parse_keep(text: str) -> Keep:
    """Reads `last`, `all`, `3`, `every=200` or `best=validation`. Raises UserError for anything else."""
    kind, _, value = text.strip().partition("=")
    if text == "last":
        return Keep()
    if text == "all":
        return Keep(count=0)
    if text == "best=validation":
        return Keep(best=True)
    number = value if kind == "every" else kind if not value else ""
    if not (number.isdecimal() and int(number)):
        raise UserError(f"execution.keep={text!r} is none of: {FORMS}.")
    return Keep(every=int(number)) if kind == "every" else Keep(count=int(number))

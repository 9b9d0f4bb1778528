"""How long a command still takes, from what it has done so far. No terminal, and the clock is given."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Clock = Callable[[], float]
"""Seconds since any fixed time."""

RECENT = 8
"""The least number of steps that an average is taken over, where there are so many; it is over the later half."""
TINY = 1e-6
"""Of steps: what rounding may add up to."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is known of a run beforehand. every: training steps between evaluations, 0 for none. settings: in which each
    checkpoint is evaluated. updates_per_step: optimiser updates that are one training step. stops_within: whether the
    budget may end among the updates of a rollout."""

    every: int
    settings: int
    updates_per_step: int = 1
    stops_within: bool = True


@dataclass(frozen=True, kw_only=True)
class Step:
    """What an update took, with what led up to it. spent: fraction of the budget."""

    seconds: float
    spent: float


class TimeLeft:
    """Seconds that a run has left, evaluations included; is told of what happens as it happens.

    A rollout's first update comes with the rollout, so that these count apart from the others. The first of the process
    counts no longer once there is another: it has to load and to compile.
    """

    def __init__(self, schedule: Schedule, clock: Clock = time.monotonic) -> None:
        self._schedule, self._clock, self._last = schedule, clock, clock()
        self._firsts: list[Step] = []
        self._others: list[Step] = []
        self._evaluation = Evaluation(settings=schedule.settings)
        self._spent = self._usual = 0.0
        self._update = self._index = self._evaluated_up_to = 0
        self._of, self._before = 1, 0.0
        self._trained = self._is_last = False

    def updated(
        self,
        *,
        update: int,
        spent: float,
        of: int,
        is_first: bool,
        rollouts: int,
        seconds: float,
        evaluation_seconds: float,
    ) -> None:
        """An update was made. update: how many there are. of: how many its rollout gives; is_first: whether it is the
        first of them. rollouts, seconds, evaluation_seconds: of the whole run, the second without evaluation."""
        took = self._took()
        self._index = 0 if is_first else self._index + 1
        if not self._trained and rollouts > 1:
            # A resumed run: what came before this process is the best guess at first.
            self._before = seconds / rollouts
            self._firsts.append(Step(seconds=self._before, spent=self._share_of_first(spent, of, rollouts)))
            self._usual = evaluation_seconds / (1 + self._due(update - 1, most=rollouts))
        else:
            (self._firsts if is_first else self._others).append(Step(seconds=took, spent=spent - self._spent))
        self._evaluated_up_to = update - 1 if is_first else self._evaluated_up_to
        self._update, self._spent, self._of, self._trained = update, spent, of, True

    def evaluating(self, done: int, total: int, *, is_last: bool) -> None:
        """Items of an evaluation are done. is_last: whether it is the one after training."""
        self._evaluation.go_on(self._took(), done / max(1, total))
        self._evaluated_up_to, self._is_last = self._update, is_last

    def evaluated(self) -> None:
        """An evaluation in one setting is finished."""
        self._evaluation.finish(self._took())

    def seconds(self) -> float | None:
        """What is left; None where it cannot be known yet."""
        if self._is_last:
            return self._evaluation.left
        if not self._trained:
            return None
        training, passes = self._ahead()
        whole = self._evaluation.whole
        return training + self._evaluation.left + (passes + 1) * whole

    def _took(self) -> float:
        before, self._last = self._last, self._clock()
        return self._last - before

    def _share_of_first(self, spent: float, of: int, rollouts: int) -> float:
        """The fraction of the budget of a rollout's first update, from the fraction of all so far."""
        whole = spent / (rollouts - 1 + 1 / of if self._schedule.stops_within else rollouts)
        return whole / of if self._schedule.stops_within else whole

    def _ahead(self) -> tuple[float, int]:
        """Seconds of training that are left, and evaluations among its steps."""
        stops, (first, other) = self._schedule.stops_within, self._kinds()
        rest = self._of - 1 - self._index
        now = min(rest, steps_until(1 - self._spent, other.spent)) if stops else rest
        seconds, spent = now * other.seconds, self._spent + now * other.spent
        each = first.spent + (self._of - 1) * other.spent
        if spent >= 1 - TINY or each <= 0:
            return seconds, 0
        whole = steps_until(1 - spent, each) - 1
        others = self._of - 1
        if stops:
            others = min(others, steps_until(1 - spent - whole * each - first.spent, other.spent))
        seconds += whole * (first.seconds + (self._of - 1) * other.seconds) + first.seconds + others * other.seconds
        return seconds, self._due(self._update + now + whole * self._of, most=whole + 1)

    def _kinds(self) -> tuple[Step, Step]:
        """What a rollout with its first update takes, and what another update does. What evaluations took before this
        process is corrected by how much slower or faster rollouts are since."""
        first = typical(self._firsts)
        none = Step(seconds=0.0, spent=first.spent if self._schedule.stops_within else 0.0)
        other = typical(self._others) if self._others else none
        pace = (first.seconds + (self._of - 1) * other.seconds) / self._before if self._before else 1.0
        self._evaluation.usual = self._usual * pace
        return first, other

    def _due(self, update: int, *, most: int) -> int:
        """Evaluations among the steps up to `update`, where the last rollout begins; one after a rollout at most."""
        every, unit = self._schedule.every, self._schedule.updates_per_step
        return min(most, update // unit // every - self._evaluated_up_to // unit // every) if every else 0


@dataclass(kw_only=True)
class Evaluation:
    """What evaluating a checkpoint in all settings takes. past: seconds of each setting, as last measured. usual: of
    all of them, where none was measured in this process."""

    settings: int
    usual: float = 0.0
    past: dict[int, float] = field(default_factory=dict)
    _number: int = 0
    _share: float = 0.0
    _elapsed: float = 0.0
    _begun: tuple[float, float] = (0.0, 0.0)

    def go_on(self, seconds: float, share: float) -> None:
        """`seconds` have passed, and `share` of the items of the present setting are done."""
        self._elapsed += seconds
        if not self._share:
            self._begun = (self._elapsed, share)
        self._share = share

    def finish(self, seconds: float) -> None:
        """The present setting is finished after `seconds` more. The first batch of the first time does not count."""
        self._elapsed += seconds
        is_first_time = self._number not in self.past
        self.past[self._number] = self._at_this_pace(1.0) if is_first_time else self._elapsed
        self._number, self._share, self._elapsed = (self._number + 1) % self.settings, 0.0, 0.0

    @property
    def whole(self) -> float:
        """Seconds for a checkpoint, those of a setting that was not measured yet being the others' mean."""
        return sum(map(self._seconds, range(self.settings)))

    @property
    def left(self) -> float:
        """Seconds that the present evaluation of a checkpoint has left; 0 between two."""
        if not (self._number or self._share):
            return 0.0
        later = sum(self._seconds(number) for number in range(self._number + 1, self.settings))
        return (1 - self._share) * self._seconds(self._number) + later

    def _seconds(self, number: int) -> float:
        if number in self.past:
            return self.past[number]
        is_paced = self._share > (self._begun[1] if self.usual else 0)
        known = [*self.past.values(), *([self._at_this_pace(self._share)] if is_paced else [])]
        return sum(known) / len(known) if known else self.usual / self.settings

    def _at_this_pace(self, share: float) -> float:
        """Seconds for the whole of the present setting, from what has been done after its first batch, `share` being
        done now."""
        elapsed, begun = self._begun
        return (self._elapsed - elapsed) / (share - begun) if share > begun else self._elapsed / max(share, TINY)


class Pace:
    """Seconds that steps of one kind have left. What comes up to the first that is told of counts only until there is
    a second."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock, self._last = clock, clock()
        self._start = self._last
        self._begun: tuple[float, int] | None = None
        self._total = self._done = 0

    def seconds(self, done: int, total: int) -> float:
        """What is left, told that so many steps of `total` are done; fewer than before are those of other work."""
        now = self._clock()
        if self._begun is None or total != self._total or done < self._done:
            self._start = self._last
            self._begun = now, done
        self._total, self._done, self._last = total, done, now
        begun, before = self._begun
        pace = (now - begun) / (done - before) if done > before else (now - self._start) / max(1, done)
        return pace * (total - done)


def typical(steps: Sequence[Step]) -> Step:
    """The mean of the later half of the steps, without the first where there is another."""
    chosen = steps[max(1, min(len(steps) // 2, len(steps) - RECENT)) :] or steps
    count = len(chosen)
    return Step(seconds=sum(one.seconds for one in chosen) / count, spent=sum(one.spent for one in chosen) / count)


def steps_until(rest: float, each: float) -> int:
    """How many steps of `each` use up `rest`."""
    return max(0, math.ceil(rest / each - TINY)) if each > 0 else 0


def clock_text(seconds: float | None) -> str:
    """`1:05` or `2:00:07`, and a question mark for what is not known."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"

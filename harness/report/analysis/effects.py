"""One number of two groups compared over the seeds that both have: how large, how sure, and what would have shown.

Every effect names the smallest one that so many seeds show with a power of 80 %, at 5 % and two-sided, where the spread
between the pairs is the one that was seen. For a mean difference that is exact, by the noncentral t distribution.

Sources: E. J. G. Pitman, Biometrika 31 (1939) 9-12, and W. A. Morgan, Biometrika 31 (1939) 13-19: paired variances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit

from harness.config.published.claims import DIFFERENT, HIGHER
from harness.report.analysis.comparisons import LEVEL
from harness.report.analysis.statistics import (
    CONFIDENCE,
    Interval,
    mean,
    paired_t_test,
    ratio_of_pairs,
    seed_interval,
    sign_flip_test,
)

SUPPORTED, CONTRADICTED, NOT_VISIBLE = "supported", "contradicted", "not visible"
POWER = 0.8
ALPHA = 1 - CONFIDENCE
FEWEST_SEEDS = 3
DECIMALS = 12
"""Of differences: equal ones must come out equal, and the last bits of fractions depend on what is subtracted."""

DIFFERENCE, RATIO, FIRSTS = "difference", "ratio", "firsts"

BySeed = Mapping[int, float]
"""Seed to value."""
Costs = Mapping[int, float | None]
"""Seed to cost; None where the level is never reached."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """First side against second, from `seeds` pairs. kind: difference (of values), ratio (of costs or of standard
    deviations), or firsts (in how many more pairs than not the first side reached a level first).

    centre: the value of no effect, 0 or 1. smallest: the smallest effect that would have shown, as a distance from 0 or
    a factor above 1; for firsts the pairs, of all, in which one side has to be first; None where none would have.
    reached: how many seeds of either side reached the level.
    """

    kind: str
    value: float
    interval: Interval | None
    p: float
    smallest: float | None
    seeds: int
    reached: tuple[int, int] | None = None

    @property
    def sign(self) -> int:
        """1 where the first side is higher, -1 where it is lower, 0 where it is neither."""
        away = self.value - 1 if self.kind == RATIO else self.value
        return int(np.sign(away))


def verdict(direction: str, sign: float, p: float) -> str:
    """What an effect of this sign and p says of a claim."""
    if p >= LEVEL or not sign:
        return NOT_VISIBLE
    return SUPPORTED if direction == DIFFERENT or (sign > 0) == (direction == HIGHER) else CONTRADICTED


def shared(first: Mapping[int, object], second: Mapping[int, object]) -> list[int]:
    """The seeds that both have, rising; none where they are too few."""
    both = sorted(set(first) & set(second))
    return both if len(both) >= FEWEST_SEEDS else []


def difference(first: BySeed, second: BySeed) -> Effect | None:
    """Student's t of the mean difference; None below three pairs."""
    seeds = shared(first, second)
    return _centred([round(first[seed] - second[seed], DECIMALS) for seed in seeds]) if seeds else None


def _centred(gaps: Sequence[float]) -> Effect:
    """Student's t of whether the mean of `gaps` is 0."""
    p = paired_t_test(gaps)
    assert p is not None, "there are several"
    return Effect(
        kind=DIFFERENCE,
        value=mean(gaps),
        interval=seed_interval(gaps),
        p=p,
        smallest=detectable(len(gaps)) * deviation(gaps) / math.sqrt(len(gaps)),
        seeds=len(gaps),
    )


def cost_ratio(first: Costs, second: Costs) -> Effect | None:
    """The geometric mean of the ratio where every seed of both sides reaches the level by training, else which side
    reached it first; None below three pairs."""
    seeds = shared(first, second)
    ours, theirs = ([side[seed] for seed in seeds] for side in (first, second))
    if not seeds:
        return None
    if not all((*ours, *theirs)):
        return _firsts(ours, theirs)
    own, other = ([cost for cost in costs if cost] for costs in (ours, theirs))
    logs = [math.log(cost / base) for cost, base in zip(own, other, strict=True)]
    found, centred = ratio_of_pairs(own, other, np.random.default_rng(0)), _centred(logs)
    smallest = math.exp(min(centred.smallest or 0.0, math.log(1e300)))
    return Effect(
        kind=RATIO, value=found.value, interval=found.interval, p=centred.p, smallest=smallest, seeds=len(seeds)
    )


def _firsts(first: Sequence[float | None], second: Sequence[float | None]) -> Effect:
    """The exact sign test. value: pairs in which the second side was first minus those in which the first was, so that
    it is below 0 where the first side paid less."""
    ends = [[math.inf if cost is None else cost for cost in costs] for costs in (first, second)]
    signs = [(ours > theirs) - (ours < theirs) for ours, theirs in zip(*ends, strict=True)]
    number = len(signs)
    enough = [wins for wins in range(number + 1) if 2 * wins > number and _sign_p(wins, number) < ALPHA]
    return Effect(
        kind=FIRSTS,
        value=float(sum(signs)),
        interval=None,
        p=sign_flip_test(signs),
        smallest=float(enough[0]) if enough else None,
        seeds=number,
        reached=(sum(cost is not None for cost in first), sum(cost is not None for cost in second)),
    )


def _sign_p(wins: int, number: int) -> float:
    return sign_flip_test([1] * wins + [-1] * (number - wins))


def spread_ratio(first: BySeed, second: BySeed) -> Effect | None:
    """The ratio of the standard deviations over seeds by the Pitman-Morgan test, which allows for the pairs' being
    alike; None below three pairs, or where neither side varies at all.

    The interval holds the ratios that the test does not reject. smallest: approximate, for the sums of the pairs are
    taken as fixed.
    """
    seeds = shared(first, second)
    ours, theirs = ([side[seed] for seed in seeds] for side in (first, second))
    if not seeds or not deviation(ours) or not deviation(theirs):
        return None
    number, ratio = len(seeds), deviation(ours) / deviation(theirs)
    unlike = max(0.0, 1 - correlation(ours, theirs) ** 2)
    freedom = number - 2
    critical = float(stdtrit(freedom, 1 - ALPHA / 2))
    edge = _factor(unlike * critical**2 / freedom)
    away = abs(ratio - 1 / ratio) / 2
    if unlike < 1e-12:  # one side is a multiple of the other, whose factor is then known
        p = 1.0 if away < 1e-9 else 0.0
    else:
        p = 2 * float(stdtr(freedom, -away * math.sqrt(freedom / unlike)))
    return Effect(
        kind=RATIO,
        value=ratio,
        interval=Interval(low=ratio / edge, high=ratio * edge),
        p=p,
        smallest=_factor(unlike * detectable(number, freedom=freedom) ** 2 / (number - 1)),
        seeds=number,
    )


def _factor(share: float) -> float:
    """The ratio f of standard deviations for which ((f - 1/f) / 2)^2 is `share`."""
    half = math.sqrt(share)
    return half + math.sqrt(share + 1)


def from_half(values: BySeed) -> Effect | None:
    """Student's t of whether the mean lies at 0.5; None below three seeds."""
    seeds = shared(values, values)
    return _centred([round(values[seed] - 0.5, DECIMALS) for seed in seeds]) if seeds else None


def detectable(number: int, *, freedom: int | None = None) -> float:
    """The noncentrality at which a two-sided t test at 5 % has a power of 80 %: the mean difference in standard errors
    that so many pairs show. freedom: number - 1 unless it is said otherwise."""
    degrees = number - 1 if freedom is None else freedom
    critical = float(stdtrit(degrees, 1 - ALPHA / 2))
    low, high = 0.0, 4 * critical + 8
    for _ in range(80):
        middle = (low + high) / 2
        power = 1 - float(nctdtr(degrees, middle, critical)) + float(nctdtr(degrees, middle, -critical))
        low, high = (middle, high) if power < POWER else (low, middle)
    return high


def deviation(values: Sequence[float]) -> float:
    """The standard deviation with n - 1."""
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's, of values that vary."""
    centres = mean(first), mean(second)
    products = math.fsum((x - centres[0]) * (y - centres[1]) for x, y in zip(first, second, strict=True))
    return products / (len(first) - 1) / (deviation(first) * deviation(second))

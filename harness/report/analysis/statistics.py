"""95 % intervals: over items (Wilson, delta method) and over seeds (Student t, bootstrap); paired tests.

An interval over items is about the value on all items of the kind; one over seeds about the mean over all
seeds on the same items. Neither contains the other.

Sources: E. B. Wilson, JASA 22 (1927) 209-212; the linearised variance of a ratio of sums,
W. G. Cochran, Sampling Techniques (1977), section 6; Q. McNemar, Psychometrika 12 (1947) 153-157, in its exact form;
D. G. Bonett and R. M. Price, Journal of Educational and Behavioral Statistics 37 (2012) 479-488;
S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from harness.records.schema import MetricTotals

CONFIDENCE = 0.95
RESAMPLES = 10_000
Z = float(ndtri(0.5 + CONFIDENCE / 2))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """low <= high, in the unit of the values."""

    low: float
    high: float

    def clipped(self, low: float, high: float) -> Interval:
        """The part of the interval inside low..high."""
        return Interval(low=min(max(self.low, low), high), high=max(min(self.high, high), low))


def wilson_interval(successes: float, n: float) -> Interval:
    """Wilson's score interval of a proportion. Raises ValueError for n <= 0 or successes outside 0..n."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: needs n > 0 and 0 <= successes <= n")
    share = successes / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    # Rounding must not keep the interval of 0 of n or n of n away from 0 or 1.
    return Interval(
        low=0.0 if successes == 0 else max(0.0, centre - half),
        high=1.0 if successes == n else min(1.0, centre + half),
    )


def ratio_interval(totals: MetricTotals) -> Interval:
    """Delta-method interval of sum(part) / sum(whole), items being the clusters; clipped to 0..1.

    The error is MetricTotals.standard_error, the quantile Student's t with n-1 degrees of freedom. It is 0 where every
    item stands at the same bound (R is 0 or 1): there Wilson's interval with one trial per item is taken. A single item
    says nothing: 0..1. Raises ValueError where sum(whole) is 0.
    """
    if totals.whole <= 0:
        raise ValueError("a ratio needs sum(whole) > 0")
    if totals.n < 2:
        return Interval(low=0.0, high=1.0)
    value = totals.value
    if value in (0.0, 1.0):
        return wilson_interval(value * totals.n, totals.n)
    half = _student(totals.n - 1) * totals.standard_error
    return Interval(low=value - half, high=value + half).clipped(0.0, 1.0)


def items_interval(totals: MetricTotals) -> Interval | None:
    """Wilson for proportions, delta method for other ratios, None without items."""
    if totals.whole <= 0:
        return None
    return wilson_interval(totals.part, totals.n) if totals.is_proportion else ratio_interval(totals)


def paired_interval(changes: Sequence[tuple[float, float]]) -> Interval:
    """Delta-method interval of sum(change) / sum(whole), each item a pair (change, whole); clipped to -1..1.

    Two items of mean weight are added, one wholly gained and one wholly lost, as Bonett and Price do for verdicts:
    without them the interval of items that all agree would be a point. Raises ValueError where sum(whole) is 0.
    """
    whole = math.fsum(whole for _, whole in changes) / len(changes) if changes else 0.0
    if whole <= 0:
        raise ValueError("a paired difference needs sum(whole) > 0")
    totals = MetricTotals.of([*changes, (whole, whole), (-whole, whole)])
    half = _student(totals.n - 1) * totals.standard_error
    return Interval(low=totals.value - half, high=totals.value + half).clipped(-1.0, 1.0)


def seed_interval(values: Sequence[float], *, lowest: float = -math.inf, highest: float = math.inf) -> Interval | None:
    """Student t interval of the mean over seeds, clipped to lowest..highest; None below two seeds."""
    if len(values) < 2:
        return None
    centre = mean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
    half = _student(len(values) - 1) * math.sqrt(variance / len(values))
    return Interval(low=centre - half, high=centre + half).clipped(lowest, highest)


def bootstrap_interval(
    values: Sequence[float], rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> Interval | None:
    """Percentile bootstrap of the mean over seeds; None below two seeds.

    Too narrow for few seeds: no resampled mean leaves the range of the values.
    """
    if len(values) < 2:
        return None
    drawn = rng.integers(len(values), size=(resamples, len(values)))
    means = np.asarray(values, dtype=float)[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Interval(low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds with its Student t interval and, for a ratio, a bootstrap interval; None with a single seed."""

    value: float
    interval: Interval | None
    bootstrap: Interval | None = None

    @property
    def differs_from_1(self) -> bool:
        """Whether both intervals leave out 1: the bootstrap alone is too narrow for few pairs."""
        both = [interval for interval in (self.bootstrap, self.interval) if interval is not None]
        return len(both) == 2 and (all(one.low > 1 for one in both) or all(one.high < 1 for one in both))


def ratio_of_pairs(numerators: Sequence[float], denominators: Sequence[float], rng: np.random.Generator) -> Estimate:
    """The ratio of two costs paired by seed: the geometric mean, with Student's t interval of the logarithms.

    Raises ValueError for a value that is not above 0, and for none.
    """
    if min((*numerators, *denominators), default=0.0) <= 0:
        raise ValueError("ratios need values above 0")
    logs = [math.log(first / second) for first, second in zip(numerators, denominators, strict=True)]
    return Estimate(
        value=math.exp(mean(logs)),
        interval=_exponential(seed_interval(logs)),
        bootstrap=_exponential(bootstrap_interval(logs, rng)),
    )


def _exponential(interval: Interval | None) -> Interval | None:
    # A wide interval of few logarithms must not overflow.
    top = math.log(1e300)
    return Interval(low=math.exp(max(interval.low, -top)), high=math.exp(min(interval.high, top))) if interval else None


def paired_t_test(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of Student's t that the mean of paired differences is 0; None below two."""
    interval = seed_interval(differences)
    if interval is None:
        return None
    centre = mean(differences)
    error = (interval.high - centre) / _student(len(differences) - 1)
    if error == 0:
        return 1.0 if centre == 0 else 0.0
    return 2 * float(stdtr(len(differences) - 1, -abs(centre) / error))


def sign_flip_test(differences: Sequence[int]) -> float:
    """Two-sided exact p-value that paired whole-number differences are symmetric about 0.

    Under the hypothesis every difference has either sign with probability 1/2; p is the probability of a sum at
    least as far from 0. With differences of -1, 0 and 1 this is McNemar's exact test; with one difference per item
    summed over seeds the item is the unit, so that the verdicts of several seeds on one item count as dependent.
    """
    steps = [abs(difference) for difference in differences if difference]
    observed, reach = abs(sum(differences)), sum(steps)
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for step in steps:
        chances = 0.5 * (np.roll(chances, step) + np.roll(chances, -step))
    sums = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(chances[sums >= observed].sum()))


def holm(chances: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values of a family of tests, in the order given; None, no test, counts for none."""
    found = {index: chance for index, chance in enumerate(chances) if chance is not None}
    adjusted: list[float | None] = [None] * len(chances)
    highest = 0.0
    for rank, index in enumerate(sorted(found, key=found.__getitem__)):
        highest = max(highest, min(1.0, (len(found) - rank) * found[index]))
        adjusted[index] = highest
    return adjusted


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, exact to the last bit in any order. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values to average")
    return math.fsum(values) / len(values)


def _student(freedom: int) -> float:
    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))

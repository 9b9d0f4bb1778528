"""Whether the error of its estimate tells how high a method ends: rank correlations over the methods.

Sources: C. Spearman, American Journal of Psychology 15 (1904) 72-101; the interval by Fisher's z with the variance
1.06 / (n - 3) of E. C. Fieller, H. O. Hartley and E. S. Pearson, Biometrika 44 (1957) 470-481.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from harness.config.published.claims import LOWER
from harness.report.analysis.effects import ALPHA, POWER, correlation, deviation, verdict
from harness.report.analysis.groups import Conditions, Protocol
from harness.report.analysis.statistics import Interval
from harness.report.read.estimators import Estimator

ERRORS = ("bias", "angle", "variance")
FEWEST_METHODS = 6
PERMUTATIONS, SEED = 10_000, 0
VARIANCE = 1.06
DIGITS = 6
"""Significant ones of errors: methods whose estimates have the same mean must tie."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Spearman's correlation of an error with the methods' mean last values, over `methods`. p: two-sided, by
    permutations. interval: None for one of -1 or 1. smallest: that so many methods show. adjusted: p after Holm."""

    task: str
    model: str
    protocol: Protocol
    metric: str
    error: str
    methods: tuple[str, ...]
    value: float
    interval: Interval | None
    p: float
    smallest: float
    adjusted: float = 1.0

    @property
    def conditions(self) -> Conditions:
        """Those of the methods' runs."""
        return (self.task, self.model, self.protocol)

    @property
    def verdict(self) -> str:
        """Of the claim that methods with a smaller error end higher."""
        return verdict(LOWER, self.value, self.adjusted)


def predict(
    lasts: Mapping[str, float], estimators: Sequence[Estimator], where: Conditions, metric: str
) -> list[Prediction]:
    """A correlation for each error; none below six methods that have both. lasts: method to mean last value."""
    known = [one for one in estimators if one.method in lasts]
    ends = [lasts[one.method] for one in known]
    if len(known) < FEWEST_METHODS or not deviation(ends):
        return []
    task, model, protocol = where
    found = []
    for error in ERRORS:
        errors = [float(f"{getattr(one, error):.{DIGITS}g}") for one in known]
        if deviation(errors):
            found.append(
                Prediction(
                    task=task,
                    model=model,
                    protocol=protocol,
                    metric=metric,
                    error=error,
                    methods=tuple(one.method for one in known),
                    smallest=math.tanh(float(ndtri(1 - ALPHA / 2) + ndtri(POWER)) * _scale(len(known))),
                    **vars(rank_correlation(errors, ends)),
                )
            )
    return found


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Spearman's, with its interval and p as in `Prediction`."""

    value: float
    interval: Interval | None
    p: float


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Of values that vary."""
    ours, theirs = np.array(ranks(first)), np.array(ranks(second))
    value = correlation([*ours], [*theirs])
    rng = np.random.default_rng(SEED)
    mixed = rng.permuted(np.tile(theirs, (PERMUTATIONS, 1)), axis=1)
    products = np.abs((mixed - theirs.mean()) @ (ours - ours.mean()))
    seen = abs(float((theirs - theirs.mean()) @ (ours - ours.mean())))
    p = (1 + int((products >= seen - 1e-9).sum())) / (1 + PERMUTATIONS)
    half = float(ndtri(1 - ALPHA / 2)) * _scale(len(first))
    if abs(value) > 1 - 1e-12:
        return RankCorrelation(value=math.copysign(1.0, value), interval=None, p=p)
    z = math.atanh(value)
    return RankCorrelation(value=value, interval=Interval(low=math.tanh(z - half), high=math.tanh(z + half)), p=p)


def _scale(number: int) -> float:
    return math.sqrt(VARIANCE / (number - 3))


def ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the mean of their places."""
    return [
        sum(other < value for other in values) + (1 + sum(other == value for other in values)) / 2 for value in values
    ]

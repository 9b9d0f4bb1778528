"""What a formula is worth, exactly where it is rational, to 60 digits elsewhere, and never without a bound.

A value with unknowns stands for its worth at fixed points of the unknowns, drawn once for each name: two formulas are
the same where they agree at all points (Schwartz and Zippel's test of identities). The points are rational and of
both signs, so that the square root of x squared is not x. Where a formula holds the sign \\pm, half of the samples take
it as plus and the other half as minus. No torch.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

Sample = Any
"""A Fraction, or a real or complex number of mpmath."""

POINTS = 3
DIGITS = 60
CLOSE = Fraction(1, 10**30)
NOTHING = Fraction(1, 10**50)
EXACT_BITS = 40_000
"""The longest numerator or denominator that is kept exactly."""
LARGEST_EXACT_FACTORIAL = 3000
LARGEST_EXPONENT = 1_000_000
"""A number of more binary digits than this is not computed."""


class RefusedError(ValueError):
    """The text is no answer that could be right: it names several values, denies one, or is too large to compute."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """samples: one where there is nothing to choose, otherwise one per sign of \\pm and point of the unknowns.

    names: the unknowns. label: whether it could be the name of a quantity: unknowns without a number of their own.
    percent, degrees: which sign follows it; the samples of a percentage are hundredths.
    """

    samples: tuple[Sample, ...]
    names: frozenset[str] = frozenset()
    label: bool = False
    percent: bool = False
    degrees: bool = False

    @property
    def variants(self) -> tuple[Value, ...]:
        """The value itself, or the two that a \\pm stands for."""
        with_plus, with_minus = self.samples[:POINTS], self.samples[POINTS:]
        if len(self.samples) == 1 or with_plus == with_minus:
            return (self,)
        return replace(self, samples=with_plus * 2), replace(self, samples=with_minus * 2)


def number(worth: Fraction) -> Value:
    """A number written in digits."""
    return Value(samples=(worth,))


def unknown(name: str) -> Value:
    """A letter, whose points follow from its name alone."""
    rng = random.Random(name)
    signs = (1, -1, rng.choice((1, -1)))
    points = [Fraction(sign * rng.randint(101, 997), rng.randint(101, 499)) for sign in signs]
    return Value(samples=tuple(points * 2), names=frozenset({name}), label=True)


def sign() -> Value:
    """The factor that \\pm puts before its right side."""
    return Value(samples=(Fraction(1),) * POINTS + (Fraction(-1),) * POINTS)


def combined(operation: Callable[..., Sample], *values: Value, label: bool | None = None) -> Value:
    """The operation at every sample. label: by default all values must be labels.

    Raises RefusedError where there is no result or none of a bearable size.
    """
    size = max(len(value.samples) for value in values)
    columns = [value.samples * (size // len(value.samples)) for value in values]
    try:
        samples = tuple(_bounded(operation(*column)) for column in zip(*columns, strict=True))
    except (ArithmeticError, ValueError, TypeError) as error:
        raise RefusedError("a formula without a value") from error
    return Value(
        samples=samples,
        names=frozenset().union(*(value.names for value in values)),
        label=all(value.label for value in values) if label is None else label,
    )


def same(first: Value, second: Value) -> bool:
    """Whether the two agree at every sample; a percentage is also the number before its sign."""
    if first.percent == second.percent:
        return _agree(first, second)
    share, other = (first, second) if first.percent else (second, first)
    return _agree(share, other) or _agree(combined(times, share, number(Fraction(100))), other)


def _agree(first: Value, second: Value) -> bool:
    size = max(len(first.samples), len(second.samples))
    columns = (value.samples * (size // len(value.samples)) for value in (first, second))
    return all(close(one, other) for one, other in zip(*columns, strict=True))


def proportional(first: Value, second: Value) -> bool:
    """Whether one is the other times a number: both sides of the same equation, brought to one side."""
    if first.names != second.names or not first.names:
        return False
    try:
        ratio = combined(divided, first, second).samples
    except RefusedError:
        return False
    return all(close(one, ratio[0]) for one in ratio) and not close(ratio[0], Fraction(0))


def near(exact: Value, rounded: Value) -> bool:
    """Whether the second could be a rounding of the first: both without unknowns and 5 % apart at most."""
    apart = combined(minus, exact, rounded)
    one, difference = exact.samples[0], apart.samples[0]
    return not apart.names and len(apart.samples) == 1 and bool(abs(real(difference)) <= abs(real(one)) / 20)


def close(one: Sample, other: Sample) -> bool:
    """Exactly equal where both are rational; otherwise to 30 digits of the larger."""
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    one, other = real(one), real(other)
    if one == 0 or other == 0:
        return bool(abs(one - other) <= real(NOTHING))
    return bool(abs(one - other) <= real(CLOSE) * max(abs(one), abs(other)))


@functools.cache
def context() -> Any:
    """The numbers of mpmath at our precision, apart from those of anybody else."""
    from mpmath import MPContext

    numbers = MPContext()
    numbers.dps = DIGITS
    return numbers


def real(worth: Sample) -> Sample:
    """A sample as a number of mpmath."""
    numbers = context()
    return numbers.mpf(worth.numerator) / worth.denominator if isinstance(worth, Fraction) else worth


def _bounded(worth: Sample) -> Sample:
    if isinstance(worth, Fraction):
        exact = max(worth.numerator.bit_length(), worth.denominator.bit_length()) <= EXACT_BITS
        return worth if exact else real(worth)
    if not context().isfinite(worth):
        raise OverflowError("not finite")
    return worth


def _both(one: Sample, other: Sample) -> tuple[Sample, Sample]:
    exact = isinstance(one, Fraction) and isinstance(other, Fraction)
    return (one, other) if exact else (real(one), real(other))


def plus(one: Sample, other: Sample) -> Sample:
    """one + other."""
    one, other = _both(one, other)
    return one + other


def minus(one: Sample, other: Sample) -> Sample:
    """one - other."""
    one, other = _both(one, other)
    return one - other


def times(one: Sample, other: Sample) -> Sample:
    """one * other."""
    one, other = _both(one, other)
    return one * other


def against(one: Sample, other: Sample) -> Sample:
    """-one * other: what \\mp does where \\pm multiplies."""
    return times(-one, other)


def divided(one: Sample, other: Sample) -> Sample:
    """one / other. Raises ZeroDivisionError."""
    one, other = _both(one, other)
    return one / other


def power(base: Sample, exponent: Sample) -> Sample:
    """base ** exponent, of complex numbers the principal value. Raises OverflowError, ZeroDivisionError."""
    size = abs(exponent) * abs(_magnitude(base))
    if size > LARGEST_EXPONENT:
        raise OverflowError("a power too large")
    if (
        isinstance(base, Fraction)
        and isinstance(exponent, Fraction)
        and exponent.denominator == 1
        and size <= EXACT_BITS
    ):
        return base**exponent.numerator
    if base == 0 and not real(exponent).real > 0:
        raise ZeroDivisionError("a power of nothing")
    return real(base) ** real(exponent)


def _magnitude(base: Sample) -> int:
    """At least how many binary digits a power grows by for each step of its exponent."""
    if isinstance(base, Fraction):
        return max(base.numerator.bit_length(), base.denominator.bit_length())
    return max(1, abs(context().mag(base)) if base else 1)


def factorial(worth: Sample) -> Sample:
    """n!, and the gamma function between whole numbers. Raises OverflowError, ValueError for negative whole numbers."""
    if abs(worth) > LARGEST_EXPONENT:
        raise OverflowError("a factorial too large")
    if isinstance(worth, Fraction) and worth.denominator == 1 and 0 <= worth <= LARGEST_EXACT_FACTORIAL:
        return Fraction(math.factorial(worth.numerator))
    return context().factorial(real(worth))


def binomial(upper: Sample, lower: Sample) -> Sample:
    """The binomial coefficient. Raises OverflowError, ValueError."""
    return divided(factorial(upper), times(factorial(lower), factorial(minus(upper, lower))))


def logarithm(worth: Sample, base: Sample) -> Sample:
    """The logarithm to a base. Raises ValueError, ZeroDivisionError."""
    return divided(context().log(real(worth)), context().log(real(base)))


def function(name: str) -> Callable[[Sample], Sample]:
    """The function of mpmath under its name, for arguments up to a million."""

    def apply(worth: Sample) -> Sample:
        if abs(worth) > LARGEST_EXPONENT:
            raise OverflowError("an argument too large")
        return getattr(context(), name)(real(worth))

    return apply

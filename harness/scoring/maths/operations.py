"""Operations on what an answer says: values are computed, words are left aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from harness.scoring.maths import value as worth
from harness.scoring.maths.meaning import Meaning, UnreadableError, Words
from harness.scoring.maths.value import RefusedError, Value, combined, number
from harness.scoring.maths.words import BOUNDS


def applied(operation: Callable[..., worth.Sample], *meanings: Meaning, label: bool | None = None) -> Value:
    """The operation on values. Raises UnreadableError where one of them is none."""
    values = [meaning for meaning in meanings if isinstance(meaning, Value)]
    if len(values) < len(meanings):
        raise UnreadableError("an operation on what is no value")
    return combined(operation, *values, label=label)


def beside(
    result: Meaning, factor: Meaning, operation: Callable[..., worth.Sample], *, label: bool | None = None
) -> Meaning:
    """Two factors; words change nothing beside a value, unless they make it a bound."""
    if isinstance(result, Words) and isinstance(factor, Words):
        return Words(words=result.words + factor.words)
    if isinstance(result, Words):
        if result.words[-1] in BOUNDS:
            raise RefusedError("a bound")
        return factor
    return result if isinstance(factor, Words) else applied(operation, result, factor, label=label)


def negative(meaning: Meaning) -> Meaning:
    """The meaning with a minus before it."""
    percent = isinstance(meaning, Value) and meaning.percent
    return replace(applied(worth.minus, number(Fraction(0)), meaning, label=False), percent=percent)


def raised(base: Meaning, exponent: Meaning) -> Meaning:
    """base to the exponent; with words for either it is a unit or an ordinal, and the base stays."""
    if isinstance(base, Words) or isinstance(exponent, Words):
        return base
    return applied(worth.power, base, exponent, label=isinstance(base, Value) and base.label)


def hundredth(share: Meaning) -> Meaning:
    """The meaning with a sign of percent after it."""
    return (
        share
        if isinstance(share, Words)
        else replace(applied(worth.divided, share, number(Fraction(100))), percent=True)
    )


def radians(angle: Meaning) -> Meaning:
    """The argument of a function: an angle given in degrees is turned into its radians."""
    if not isinstance(angle, Value) or not angle.degrees:
        return angle
    return applied(worth.times, angle, Value(samples=(worth.context().pi / 180,)))

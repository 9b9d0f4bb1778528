"""Values: exact where rational, to many digits elsewhere, and never without a bound."""

from __future__ import annotations

from fractions import Fraction

import pytest

from harness.scoring.maths import value as worth
from harness.scoring.maths.value import RefusedError, combined, number, proportional, same, unknown

ONE, TWO = number(Fraction(1)), number(Fraction(2))
HALF = number(Fraction(1, 2))
X, Y = unknown("x"), unknown("y")


def test_rational_values_are_exact():
    assert combined(worth.divided, ONE, combined(worth.power, TWO, number(Fraction(99)))).samples == (
        Fraction(1, 2**99),
    )


def test_values_that_differ_in_the_29th_digit_are_not_the_same():
    root = combined(worth.power, TWO, HALF)
    for digits, equal in ((28, False), (35, True)):
        other = combined(worth.plus, root, number(Fraction(1, 10**digits)))
        assert same(root, other) is equal, digits


def test_tiny_values_differ_by_their_ratio_and_not_by_their_distance():
    tiny = [combined(worth.divided, ONE, combined(worth.factorial, number(Fraction(n)))) for n in (2004, 2006)]
    assert same(tiny[0], tiny[0])
    assert not same(*tiny)


def test_the_root_of_a_square_is_not_its_base():
    square = combined(worth.power, X, TWO)
    assert not same(combined(worth.power, square, HALF), X)
    assert same(combined(worth.power, combined(worth.power, X, HALF), TWO), X)


def test_unknowns_have_points_of_their_own_the_same_ones_every_time():
    assert X.samples == unknown("x").samples
    assert not same(X, Y)
    assert {sample > 0 for sample in X.samples} == {True, False}


def test_a_plus_or_minus_stands_for_two_values():
    either = combined(worth.plus, ONE, combined(worth.times, worth.sign(), TWO))
    assert [variant.samples[0] for variant in either.variants] == [3, -1]
    assert X.variants == (X,)


def test_equations_are_the_same_up_to_a_factor():
    left = combined(worth.minus, X, Y)
    assert proportional(left, combined(worth.minus, Y, X))
    assert not proportional(left, combined(worth.minus, X, ONE))
    assert not proportional(left, combined(worth.times, left, left))


@pytest.mark.parametrize(
    ("operation", "operands"),
    [
        (worth.power, (9, 9**9)),
        (worth.factorial, (10**7,)),
        (worth.factorial, (-1,)),
        (worth.divided, (1, 0)),
        (worth.power, (0, -1)),
        (worth.logarithm, (0, 10)),
        (worth.function("exp"), (10**7,)),
        (worth.binomial, (10**7, 3)),
    ],
)
def test_what_has_no_value_or_too_large_a_one_is_refused(operation, operands):
    with pytest.raises(RefusedError):
        combined(operation, *(number(Fraction(operand)) for operand in operands))

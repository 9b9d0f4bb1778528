"""What crosses between a program and its judge: the closed set arrives as it was, everything else is refused."""

from __future__ import annotations

import collections
import enum
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.scoring.sandbox.values import MAX_DEPTH, NotPlainError, decode, encode

HASHABLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    HASHABLE | st.complex_numbers(allow_nan=False) | st.builds(range, st.integers(-9, 9), st.integers(-9, 9)),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner)
        | st.sets(HASHABLE)
        | st.frozensets(HASHABLE)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_a_plain_value_arrives_equal_and_of_the_same_type(value):
    copy = decode(encode(value))
    assert copy == value
    assert type(copy) is type(value)


@settings(max_examples=300)
@given(st.binary() | st.text("NTFiclsbtSZdrI0123456789:;", max_size=40).map(str.encode))
def test_any_bytes_are_a_value_or_a_value_error(data):
    try:
        decode(data)
    except ValueError:
        return


@given(PLAIN, st.data())
def test_a_truncated_value_is_refused(value, data):
    whole = encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"\w"):
        decode(whole[:cut])


def test_true_is_not_1_and_1_is_not_1_point_0_on_arrival():
    assert [type(decode(encode(value))) for value in (True, 1, 1.0)] == [bool, int, float]


def test_nan_infinity_and_lone_surrogates_cross():
    assert math.isnan(decode(encode(math.nan)))
    assert decode(encode([math.inf, -math.inf, "\ud800"])) == [math.inf, -math.inf, "\ud800"]


def test_a_number_beyond_the_limit_on_printed_digits_crosses():
    assert decode(encode(10**6000)) == 10**6000


def test_a_subclass_arrives_as_the_plain_type_that_it_extends():
    class Point(collections.namedtuple("Point", "x y")):
        def __iter__(self):
            return iter((10, 10))

    class Level(enum.IntEnum):
        LOW = 1

    copies = [decode(encode(value)) for value in (collections.Counter("aab"), Point(1, 2), Level.LOW)]
    assert copies == [{"a": 2, "b": 1}, (1, 2), 1]
    assert [type(copy) for copy in copies] == [dict, tuple, int]


def test_iterators_arrive_as_iterators_and_a_match_as_true():
    assert list(decode(encode(iter([1, 2])))) == [1, 2]
    assert list(decode(encode({"a": 1}.items()))) == [("a", 1)]
    assert decode(encode(re.match("a", "a"))) is True


@pytest.mark.parametrize("value", [object(), len, lambda: 1, type, math, Ellipsis, [1, object()], {1: len}])
def test_everything_else_is_refused_by_the_name_of_its_type(value):
    with pytest.raises(NotPlainError, match="a value of type '"):
        encode(value)


def test_values_too_large_are_refused_as_a_list_a_dict_or_an_iterator():
    for value in ([0] * 1_000_001, [[0] * 1000] * 1001, dict.fromkeys(range(500_001)), iter(range(1_000_001))):
        with pytest.raises(NotPlainError, match="more than 1000000 items"):
            encode(value)
    assert len(decode(encode([[0] * 1000] * 900))) == 900


def test_a_value_that_holds_itself_is_refused_as_too_deep():
    endless = []
    endless.append(endless)
    with pytest.raises(NotPlainError, match="nested deeper"):
        encode(endless)


def test_bytes_nested_deeper_than_any_value_are_refused():
    with pytest.raises(ValueError, match="nested too deep"):
        decode(b"l1:" * (MAX_DEPTH + 5) + b"N")


@pytest.mark.parametrize(
    "data",
    [
        b"S1:l0:",
        b"d1:l0:N",
        b"ri1;i2;i0;",
        b"s9999999999999:a",
        b"l-1:",
        b"fnope;",
        b"f0x1p99999;",
        b"c" * 9999,
        b"cf0x1p0;i1;",
    ],
)
def test_a_value_that_python_cannot_hold_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"\w"):
        decode(data)

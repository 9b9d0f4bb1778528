from __future__ import annotations

import pytest

from harness.report.analysis.groups import Protocol
from harness.report.analysis.predictions import Prediction, predict, rank_correlation, ranks
from harness.report.read.estimators import Estimator

WHERE = ("sudoku", "tiny", Protocol(data="builtin", split="test", items_sha256="0", decoding="{}"))
LASTS = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.4, "f": 0.5}
ESTIMATORS = [
    Estimator(method=method, bias=bias, angle=60.0, variance=9.0 - bias)
    for method, bias in zip("abcdefg", (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0), strict=True)
]


def only(found: list[Prediction], error: str) -> Prediction:
    (one,) = [one for one in found if one.error == error]
    return one


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks([0.3, 0.1, 0.3, 0.2]) == [3.5, 1, 3.5, 2]


def test_the_rank_correlation_by_hand() -> None:
    found = predict(LASTS, ESTIMATORS, WHERE, "exact_match")
    bias = only(found, "bias")
    # Ranks 1..6 against 6, 5, 4, 3, 1, 2: 1 - 6 (25 + 9 + 1 + 1 + 16 + 16) / (6 x 35).
    assert bias.value == pytest.approx(-33 / 35)
    assert bias.methods == tuple("abcdef")
    # Of the 720 orders 12 are as far from none: the two ends, and one swap of neighbours from either.
    assert bias.p == pytest.approx(12 / 720, abs=0.004)
    assert only(found, "variance").value == pytest.approx(33 / 35)
    # atanh(33/35) is half of log(34), 1.76318; 1.95996 sqrt(1.06 / 3), 1.16504, on either side.
    assert bias.interval is not None
    assert bias.interval.low == pytest.approx(-0.99429, abs=5e-6)
    assert bias.interval.high == pytest.approx(-0.53573, abs=5e-6)
    assert bias.smallest == pytest.approx(0.931, abs=1e-3)
    assert (bias.verdict, "angle" in {one.error for one in found}) == ("not visible", False)


def test_five_methods_are_too_few_and_values_that_are_all_equal_have_no_order() -> None:
    assert predict(dict(list(LASTS.items())[:5]), ESTIMATORS, WHERE, "exact_match") == []
    assert predict(dict.fromkeys(LASTS, 0.5), ESTIMATORS, WHERE, "exact_match") == []


def test_a_full_order_has_no_interval_and_the_same_chance_every_time() -> None:
    values = [float(number) for number in range(9)]
    first, second = (rank_correlation(values, values[::-1]) for _ in range(2))
    assert first == second
    assert (first.value, first.interval) == (-1.0, None)
    assert first.p < 0.001

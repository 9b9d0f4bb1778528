"""Which checkpoints stay."""

import pytest

from harness.config.keep import parse_keep
from harness.errors import UserError


@pytest.mark.parametrize(
    ("rule", "stay"),
    [
        ("last", {60}),
        ("all", {10, 20, 30, 40, 50, 60}),
        ("2", {50, 60}),
        ("9", {10, 20, 30, 40, 50, 60}),
        ("every=25", {30, 50, 60}),
        ("every=20", {20, 40, 60}),
        ("best=validation", {20, 60}),
    ],
)
def test_a_rule_says_which_checkpoints_stay_and_the_newest_always_does(rule, stay):
    assert parse_keep(rule).chosen([10, 20, 30, 40, 50, 60], best=20) == stay


def test_what_was_kept_by_a_step_rule_stays_kept_when_the_rule_is_applied_again():
    steps, kept = list(range(7, 120, 7)), []
    for step in steps:
        kept = sorted(parse_keep("every=20").chosen([*kept, step], best=None))
    assert kept == [21, 42, 63, 84, 105, 119]


def test_without_a_best_checkpoint_the_newest_stays():
    assert parse_keep("best=validation").chosen([3, 6], best=None) == {6}


@pytest.mark.parametrize(
    "rule", ["", "0", "-1", "every=0", "every=", "best", "best=test", "first", "1.5", "last=2", "3=4"]
)
def test_another_rule_is_refused(rule):
    with pytest.raises(UserError, match="is none of: last, all, a number of checkpoints"):
        parse_keep(rule)

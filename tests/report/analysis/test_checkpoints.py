"""Choices of a checkpoint: the last, the best on validation items, on test items, and at each length."""

from __future__ import annotations

from typing import Any

import pytest

from harness.records.schema import EvalRecord, MetricTotals
from harness.report.analysis.checkpoints import Choices, make_choices

VALIDATION = {"split": "validation", "items_sha256": "fedcba9876543210"}


def evaluated(synthetic: Any, values: dict[int, int], **changes: Any) -> list[EvalRecord]:
    """Of 10 items so many right, by update: the first is the base, the highest the last."""
    names = {0: "base", max(values): "last"}
    return [
        synthetic.evaluation(names.get(update, "step"), update, {"exact_match": verdicts(right)}, **changes)
        for update, right in values.items()
    ]


def verdicts(right: int) -> MetricTotals:
    return MetricTotals.of([(1.0, 1.0)] * right + [(0.0, 1.0)] * (10 - right))


def at_length(length: int) -> dict[str, Any]:
    return {"decoding": {"completion_length": length, "num_steps": length // 2, "block_length": 4, "temperature": 0.0}}


def choices(synthetic: Any) -> list[Choices]:
    return make_choices(synthetic.groups(), "exact_match")


def test_best_on_test_is_the_maximum_of_every_seed_and_the_base_is_no_choice(synthetic: Any) -> None:
    synthetic.run(seed=0, records=evaluated(synthetic, {0: 9, 4: 3, 8: 7, 12: 5}))
    synthetic.run(seed=1, records=evaluated(synthetic, {0: 9, 4: 6, 8: 6, 12: 2}))
    (found,) = choices(synthetic)
    assert (found.checkpoints, found.last.updates, found.last.value) == ((3, 3), (12, 12), pytest.approx(0.35))
    # Of the equal ones of seed 1 the earlier.
    assert (found.best.updates, found.best.value) == ((8, 4), pytest.approx(0.65))


def test_a_choice_on_validation_has_its_value_on_the_test_items(synthetic: Any) -> None:
    on_test = evaluated(synthetic, {0: 1, 4: 3, 8: 7, 12: 5})
    synthetic.run(records=[*on_test, *evaluated(synthetic, {0: 10, 4: 9, 8: 2, 12: 4}, **VALIDATION)])
    (found,) = choices(synthetic)
    assert (found.validation.updates, found.validation.value, found.validation.why) == ((4,), 0.3, "")


def test_the_last_checkpoint_can_be_the_one_chosen_on_validation(synthetic: Any) -> None:
    on_test = evaluated(synthetic, {0: 1, 4: 7, 8: 5})
    synthetic.run(records=[*on_test, *evaluated(synthetic, {0: 1, 4: 2, 8: 4}, **VALIDATION)])
    (found,) = choices(synthetic)
    assert (found.validation.updates, found.validation.value) == ((8,), 0.5)


def test_one_checkpoint_is_best_over_all_lengths_and_another_at_each(synthetic: Any) -> None:
    short = evaluated(synthetic, {0: 1, 4: 8, 8: 6, 12: 2}, **at_length(8))
    long = evaluated(synthetic, {0: 1, 4: 1, 8: 6, 12: 7}, **at_length(16))
    synthetic.run(records=[*short, *long])
    first, second = sorted(choices(synthetic), key=lambda one: one.best_per_length.updates)
    # Means over the lengths: 4.5, 6 and 4.5 of 10.
    assert (first.best.updates, second.best.updates) == ((8,), (8,))
    assert (first.best.value, second.best.value) == (0.6, 0.6)
    assert (first.best_per_length.updates, first.best_per_length.value) == ((4,), 0.8)
    assert (second.best_per_length.updates, second.best_per_length.value) == ((12,), 0.7)


def test_another_number_of_tokens_per_step_is_no_further_length(synthetic: Any) -> None:
    fast = {"decoding": {**at_length(16)["decoding"], "num_steps": 4}}
    records = [*evaluated(synthetic, {4: 1, 8: 2}, **at_length(16)), *evaluated(synthetic, {4: 2, 8: 1}, **fast)]
    synthetic.run(records=records)
    assert {one.best_per_length.why for one in choices(synthetic)} == {"one length alone was evaluated"}


def test_evaluations_of_kept_checkpoints_made_afterwards_are_choices_too(synthetic: Any) -> None:
    synthetic.run(records=evaluated(synthetic, {0: 1, 12: 5}))
    assert choices(synthetic) == []
    synthetic.run(config_hash="ffffffff", records=evaluated(synthetic, {0: 1, 4: 6, 12: 5}))
    alone, several = choices(synthetic)
    assert alone.best.why == "one checkpoint alone was evaluated on the test items"
    assert several.best.value == 0.6


@pytest.mark.parametrize(
    ("validated", "why"),
    [
        ({}, "no checkpoint was evaluated on the validation items"),
        ({8: 4}, "one checkpoint alone was evaluated on the validation items"),
        ({6: 9, 8: 4}, "checkpoint 6 was not evaluated on these items"),
    ],
)
def test_a_choice_that_cannot_be_made_says_why(synthetic: Any, validated: dict[int, int], why: str) -> None:
    on_validation = evaluated(synthetic, validated, **VALIDATION) if validated else []
    synthetic.run(records=[*evaluated(synthetic, {0: 1, 4: 7, 8: 5}), *on_validation])
    (found,) = choices(synthetic)
    assert (found.validation.value, found.validation.updates, found.validation.why) == (None, (), why)


def test_a_seed_that_leaves_no_choice_leaves_none_to_the_group_and_is_named(synthetic: Any) -> None:
    whole = [evaluated(synthetic, {4: 7, 8: 5}), evaluated(synthetic, {4: 1, 8: 2}, **VALIDATION)]
    synthetic.run(seed=0, records=[record for records in whole for record in records])
    synthetic.run(seed=1, records=whole[0])
    (found,) = choices(synthetic)
    assert found.validation.why == "no checkpoint was evaluated on the validation items (seed 1)"


def test_a_model_that_was_not_trained_has_no_checkpoints(synthetic: Any) -> None:
    synthetic.run(records=[synthetic.evaluation("last", 0, {"exact_match": verdicts(3)})])
    assert choices(synthetic) == []

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.report.collect import collect
from harness.report.groups import make_groups
from harness.report.rows import Row
from harness.report.statistics import Interval
from harness.report.support import interval_supports, overlapping
from harness.report.tables import all_rows, make_table, markdown


def rows(synthetic: Any) -> list[Row]:
    synthetic.demo()
    return list(all_rows(make_groups(collect([synthetic.root]).runs))[0].rows)


def with_value(row: Row, value: float, half: float, **changes: Any) -> Row:
    return replace(row, value=value, interval=Interval(low=value - half, high=value + half), **changes)


def test_the_highest_and_what_overlaps_with_it_are_named_and_controls_are_not(synthetic: Any) -> None:
    egspo, sa, control = rows(synthetic)
    near = [with_value(egspo, 0.6, 0.05), with_value(sa, 0.65, 0.05), with_value(control, 0.9, 0.01)]
    assert interval_supports(near) == [
        "The highest is EGSPO-SA with 65.0 %.",
        "Its interval overlaps with EGSPO: the intervals do not tell them apart.",
    ]
    far = [with_value(egspo, 0.5, 0.05), with_value(sa, 0.65, 0.05)]
    assert interval_supports(far)[1] == "Its interval lies above EGSPO."


def test_touching_intervals_overlap_and_a_missing_one_tells_nothing(synthetic: Any) -> None:
    egspo, sa, _ = rows(synthetic)
    best = with_value(sa, 0.75, 0.125)
    assert overlapping(best, with_value(egspo, 0.5, 0.125))
    assert not overlapping(best, with_value(egspo, 0.5, 0.0625))
    assert overlapping(best, replace(egspo, interval=None))


def test_solved_needs_a_value_near_the_ceiling_and_not_only_a_wide_interval(synthetic: Any) -> None:
    egspo, sa, _ = rows(synthetic)
    # Wilson's interval of 87.2 % of 256 begins at 82.6 %.
    solved = with_value(egspo, 0.85, 0.03, ceiling=0.872)
    wide = with_value(sa, 0.6, 0.4, ceiling=0.872)
    texts = interval_supports([solved, wide])
    assert (
        texts[-1]
        == "EGSPO 85.0: not told from the 87.2 % that a perfect solver is expected to get: solved, not a ranking."
    )
    assert not any("solved" in text for text in interval_supports([wide]))
    assert not any("solved" in text for text in interval_supports([with_value(egspo, 0.85, 0.01, ceiling=0.872)]))


def test_two_evaluations_are_never_ranked_together(synthetic: Any) -> None:
    egspo, sa, _ = rows(synthetic)
    other = replace(sa.group, protocol=replace(sa.group.protocol, split="validation"))
    assert interval_supports([egspo, replace(sa, group=other)]) == []


def test_the_sentences_stand_under_the_table(synthetic: Any) -> None:
    synthetic.demo()
    found = all_rows(make_groups(collect([synthetic.root]).runs))[0]
    text = markdown(make_table(found))
    assert "What the numbers support:\n\n- The highest is EGSPO-SA with 63.3 %.\n" in text
    assert "\n\nNotes:\n\n- Evaluated on" in text

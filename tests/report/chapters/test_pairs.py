from __future__ import annotations

from typing import Any

from harness.report.analysis.comparisons import Comparisons, compare
from harness.report.chapters.pairs import comparison_table, verdict
from harness.report.formats.markdown import table_markdown

ALL, NONE = [True] * 12, [False] * 12


def found(synthetic: Any) -> Comparisons:
    (comparisons,) = compare(synthetic.groups())
    return comparisons


def other(**identity: Any) -> dict[str, Any]:
    return {"method": "egspo", "config_hash": "1b2c3d4e", **identity}


def test_a_clear_pair_is_said_above_and_below_the_table(synthetic: Any) -> None:
    for seed, wrong in enumerate((0, 1, 0)):
        synthetic.judged([False] * wrong + [True] * (12 - wrong), seed=seed)
        synthetic.judged(NONE, **other(seed=seed))
    table = comparison_table(found(synthetic))
    assert table.cells[0][-1] == "EGSPO-SA above"
    (text,) = table.supports
    assert text.endswith("adjusted for the number of pairs: EGSPO-SA above EGSPO by 97.2 points.")


def test_a_pair_that_holds_alone_is_told_from_those_that_do_not(synthetic: Any) -> None:
    for seed, right in enumerate((10, 8, 6)):
        synthetic.judged([True] * right + [False] * (12 - right), seed=seed)
        synthetic.judged(NONE, **other(seed=seed))
        synthetic.judged(NONE, method="espo", config_hash="2c3d4e5f", seed=seed)
    supports = comparison_table(found(synthetic)).supports
    assert supports[0].startswith("Different over seeds only as a single pair: EGSPO-SA above EGSPO by 66.7 points; ")
    assert supports[1] == "Not shown to differ: EGSPO and ESPO."


def test_one_seed_is_a_strength_of_its_own_below_the_table_too(synthetic: Any) -> None:
    synthetic.judged(ALL)
    synthetic.judged(NONE, **other())
    table = comparison_table(found(synthetic))
    assert table.cells[0][-1] == "EGSPO-SA above with this seed; other seeds unknown"
    assert table.supports == (
        "Different on the items with this seed alone, other seeds unknown: EGSPO-SA above EGSPO by 100.0 points.",
    )


def test_a_pair_that_was_not_tested_is_not_called_alike(synthetic: Any) -> None:
    (synthetic.judged(ALL) / "samples-last.jsonl.gz").unlink()
    synthetic.judged(NONE, **other())
    assert comparison_table(found(synthetic)).supports == ("Not tested: EGSPO and EGSPO-SA (no samples kept).",)


def test_no_shared_seed_is_said(synthetic: Any) -> None:
    synthetic.judged(ALL, seed=0)
    synthetic.judged(NONE, **other(seed=1))
    one = found(synthetic)
    assert (one.pairs[0].p, verdict(one.pairs[0])) == (None, "no shared seed")
    assert comparison_table(one).cells[0][2] == "-"


def test_many_groups_have_a_note(synthetic: Any) -> None:
    for index in range(9):
        right = [True] * (index + 1) + [False] * (11 - index)
        synthetic.judged(right, method="egspo", config_hash=f"0000000{index}")
    assert any("Many groups" in note for note in comparison_table(found(synthetic)).notes)


def test_the_table_is_one_table(synthetic: Any) -> None:
    synthetic.judged(ALL)
    synthetic.judged(NONE, **other())
    text = table_markdown(comparison_table(found(synthetic)))
    assert "| EGSPO | EGSPO-SA | -100.0 | 1 | 12 | 0 | 12 | \\<0.001 | \\<0.001 | - | EGSPO-SA above" in text

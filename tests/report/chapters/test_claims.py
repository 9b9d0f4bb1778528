from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.config.published.claims import Claim, Side
from harness.report.analysis.claims import Held, Row, claim_points, hold
from harness.report.analysis.effects import Effect
from harness.report.analysis.statistics import Interval
from harness.report.chapters.claims import TITLE, claims_sections
from harness.report.read.estimators import Estimator

CLAIM = Claim(
    name="mine",
    paper="Mine",
    arxiv="2601.00001",
    where="Table 1",
    says="Mine ends above.",
    measure="last",
    direction="higher",
    first=Side(method="egspo"),
    second=Side(method="d1"),
)


@pytest.fixture
def row(synthetic: Any) -> Row:
    """EGSPO's row of the claim, 64, 48 and 32 of 256 above d1."""
    for seed in range(3):
        synthetic.run(method="egspo", seed=seed, records=synthetic.ends(0, 128))
        synthetic.run(method="d1", seed=seed, records=synthetic.ends(0, 64 + 16 * seed))
    (found,) = hold([CLAIM], synthetic.groups()).rows
    return found


def cells(row: Row, **changes: Any) -> dict[str, str]:
    """The cells of the row, with fields of its claim, its effect or itself changed, by their titles."""
    own = {name: changes.pop(name) for name in ("level", "steps", "adjusted") if name in changes}
    claim = {name: changes.pop(name) for name in ("measure", "along") if name in changes}
    first = Claim(**{**vars(row.claim), **claim}) if claim.get("measure") != "position" else row.claim
    if claim.get("measure") == "position":
        first = Claim(**{**vars(row.claim), **claim, "second": None})
    made = Row(**{**vars(row), **own, "claim": first, "effect": Effect(**{**vars(row.effect), **changes})})
    _, section = claims_sections(Held(rows=(made,), unclear=()))
    (table,) = section.tables
    return dict(zip((column.title for column in table.columns), table.cells[0], strict=True))


def test_a_row_says_what_is_claimed_what_was_seen_and_what_would_have_shown(row: Row) -> None:
    found = cells(row)
    # Gaps of 25, 18.75 and 12.5 points: mean 18.75, deviation 6.25, 3.2640 of them shown.
    assert found == {
        "Claim": "Mine ends above.",
        "Where": "Table 1",
        "Task": "Sudoku",
        "Runs of": "EGSPO",
        "Against": "diffu-GRPO (d1)",
        "Measured by": "exact match of the last checkpoint",
        "Effect [95 %]": "+18.8 [+3.2, +34.3]",
        "Seeds": "3",
        "p": "0.035",
        "p (Holm)": "0.035",
        "Smallest shown": "20.4 points or more",
        "Verdict": "supported",
    }


def test_what_is_not_visible_names_what_would_have_been(row: Row) -> None:
    assert cells(row, adjusted=0.2)["Verdict"] == (
        "not visible, supported as a single row: 3 seeds show 20.4 points or more"
    )
    assert cells(row, p=0.3, adjusted=0.3)["Verdict"] == "not visible: 3 seeds show 20.4 points or more"
    firsts = {"kind": "firsts", "value": -1.0, "interval": None, "smallest": None, "reached": (2, 1), "p": 1.0}
    assert cells(row, **firsts, adjusted=1.0)["Verdict"] == "not visible: 3 seeds show nothing"


def test_every_measure_has_its_words_and_units(row: Row) -> None:
    ratio = {"kind": "ratio", "value": 0.5, "interval": Interval(low=0.25, high=1.0), "smallest": 3.0}
    cost = cells(row, measure="cost", along="flops_forward", level=0.532, **ratio)
    assert (cost["Measured by"], cost["Effect [95 %]"], cost["Smallest shown"]) == (
        "forward FLOPs to 53.2 % exact match",
        "0.500 [0.250, 1.00]",
        "3.00 times or more",
    )
    firsts = {"kind": "firsts", "value": -4.0, "interval": None, "seeds": 10, "smallest": 9.0, "reached": (7, 3)}
    cost = cells(row, measure="cost", along="samples", level=0.5, **firsts)
    assert cost["Effect [95 %]"] == "reached by 7 of 10 against 3 of 10, sooner in 4 more pairs than later"
    assert cost["Smallest shown"] == "sooner in 9 of 10 pairs or more"
    place = {"value": 0.226, "interval": Interval(low=0.216, high=0.237), "smallest": 0.0139}
    found = cells(row, measure="position", **place)
    assert (found["Effect [95 %]"], found["Smallest shown"]) == ("0.726 [0.716, 0.737]", "0.014 from 0.5 or more")
    assert cells(row, measure="lost_with_fewer_steps", steps=2)["Measured by"] == "exact match lost from all steps to 2"


def test_the_chapter_counts_its_verdicts_and_names_what_it_left_out(row: Row) -> None:
    chapter, section = claims_sections(Held(rows=(row,), unclear=("EGSPO: 2 configurations",)))
    assert (chapter.title, section.title) == (TITLE, "Claims: Mine, arXiv 2601.00001")
    assert chapter.text[-2:] == (
        "Rows: 1; supported: 1, contradicted: 0, not visible: 0.",
        "Left out: EGSPO: 2 configurations.",
    )
    assert section.tables[0].notes == (f"Sudoku: tiny model, {row.first.protocol.text}.",)


def test_protocols_of_one_task_are_told_apart(row: Row, synthetic: Any) -> None:
    for method in ("egspo", "d1"):
        for seed in range(3):
            records = synthetic.ends(0, 64 + 9 * seed, items_sha256="fedcba9876543210")
            synthetic.run(method=method, seed=seed, config_hash="2b3c4d5e", records=records)
    _, section = claims_sections(hold([CLAIM], synthetic.groups()))
    (table,) = section.tables
    assert [cell[2] for cell in table.cells] == ["Sudoku (1)", "Sudoku (2)"]
    assert [note[:22] for note in table.notes] == ["Sudoku (1): tiny model", "Sudoku (2): tiny model"]


def test_without_both_sides_there_is_no_chapter() -> None:
    assert claims_sections(Held(rows=(), unclear=("EGSPO: 2 configurations",))) == []


def test_what_the_estimates_error_tells_is_a_table_of_the_same_family(synthetic: Any) -> None:
    methods = ("agrpo", "bgpo", "d1", "egspo", "espo", "wd1")
    for place, method in enumerate(methods):
        for seed in range(3):
            synthetic.run(method=method, seed=seed, records=synthetic.ends(0, 100 + 10 * place))
    estimators = [
        Estimator(method=method, bias=9.0 - place, angle=60.0, variance=float(place))
        for place, method in enumerate(methods)
    ]
    held = hold([CLAIM], synthetic.groups(), estimators=estimators)
    assert [one.error for one in held.predictions] == ["bias", "variance"]
    # 1 + about 2 in 720 of 10,000 permutations; with the claim's own row three tests.
    smallest = min(one.p for one in held.predictions)
    assert held.predictions[0].adjusted == pytest.approx(2 * smallest)
    assert [one.verdict for one in held.predictions] == ["supported", "contradicted"]
    *_, section = claims_sections(held)
    (table,) = section.tables
    assert table.cells[0][2:6] == ("bias", "exact match of the last checkpoint", "6", "-1.00")
    assert table.supports == ("Rows: 2; supported: 1, contradicted: 1, not visible: 0.",)
    shy = replace(held, predictions=tuple(replace(one, adjusted=0.2) for one in held.predictions))
    *_, section = claims_sections(shy)
    assert section.tables[0].cells[0][-1] == ("not visible, supported as a single row: 6 methods show -0.93 or below")
    points = claim_points(held)
    assert [record["claim"] for record in points.records] == ["mine", "estimate-bias", "estimate-variance"]

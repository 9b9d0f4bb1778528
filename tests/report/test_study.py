"""docs/results.md on our study: its table and its sentences are what the committed records give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.config.claims import load_claims
from harness.report.analysis.claims import Row, hold
from harness.report.analysis.effects import RATIO
from harness.report.analysis.groups import Group, make_groups
from harness.report.analysis.rows import Row as MethodRow
from harness.report.analysis.rows import all_rows
from harness.report.read.runs import collect

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "results.md").read_text(encoding="utf-8")
TEN = tuple(range(10))


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    """What the study has on Sudoku, ten seeds each."""
    study = CHECKOUT / "results" / "study"
    return make_groups(collect([study / "sudoku.tar.xz", study / "kept"]).runs)


@pytest.fixture(scope="module")
def held(groups: list[Group]) -> dict[str, Row]:
    """The rows of the claims by their names, those of all methods left out."""
    rows = hold(load_claims(), groups).rows
    return {row.claim.name: row for row in rows if row.claim.first.method != "any"}


BELOW = {"ESPO": "espo-over-d1", "BGPO": "bgpo-over-d1", "GDPO": "gdpo-over-d1", "DMPO": "dmpo-over-d1"}


def times(row: Row) -> str:
    """A ratio of costs with its interval."""
    assert row.effect.interval is not None
    return f"{row.effect.value:.2f} times [{row.effect.interval.low:.2f}, {row.effect.interval.high:.2f}]"


def points(row: Row) -> str:
    """A difference with its interval."""
    assert row.effect.interval is not None
    low, high = row.effect.interval.low, row.effect.interval.high
    return f"{100 * row.effect.value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def shown(row: Row) -> str:
    """The smallest difference that the seeds show."""
    assert row.effect.smallest is not None
    return f"{100 * row.effect.smallest:.1f} points"


def bound(row: MethodRow, name: str) -> float:
    """An end of the interval over seeds."""
    return float(getattr(row.interval, name))


def line(row: Row) -> str:
    """A claim's line of the page's table."""
    effect, interval = row.effect, row.effect.interval
    assert interval is not None
    if effect.kind == RATIO:
        value, smallest = times(row), f"{effect.smallest:.2f} times"
    elif row.claim.measure == "position":
        value = f"{effect.value:+.2f} from 0.5 [{interval.low:+.2f}, {interval.high:+.2f}]"
        smallest = f"{effect.smallest:.3f}"
    else:
        value, smallest = points(row), shown(row)
    chance = "< 0.001" if row.adjusted < 0.001 else f"{row.adjusted:.3f}"
    return f"| {row.claim.says} | {row.claim.paper} | {value} | {chance} | {smallest} | {row.verdict} |"


@pytest.mark.slow
def test_the_table_of_methods_is_that_of_the_records(groups: list[Group]) -> None:
    expected = {}
    for found in all_rows(groups):
        for row in found.rows if found.metric == "exact_match" else ():
            if row.group.protocol.split == "test":
                assert row.seeds == TEN
                assert row.interval is not None
                low, value, high = (100 * one for one in (row.interval.low, row.value, row.interval.high))
                costs = f"{row.updates:.0f} | {row.flops_total / 1e9:,.0f}"
                expected[row.group.label] = f"{value:.1f} [{low:.1f}, {high:.1f}] | {costs}"
    chapter = PAGE.partition("## Fifteen methods on Sudoku")[2].partition("\n## ")[0]
    lines = dict(re.findall(r"^\| ([^|]+?) \| [\de.-]+ \| (.+?) \|$", chapter, re.M))
    assert {name: lines.get(name) for name in expected} == expected
    assert len(expected) == 18


@pytest.mark.slow
def test_every_claim_stands_on_the_page_with_its_effect_its_power_and_its_verdict(held: dict[str, Row]) -> None:
    assert [line(row) for row in held.values() if line(row) not in PAGE] == []
    assert len(held) >= 30


@pytest.mark.slow
def test_the_page_opens_with_five_sentences_of_the_records(groups: list[Group], held: dict[str, Row]) -> None:
    opening = " ".join(PAGE.partition("# Our results")[2].partition("\n## ")[0].split())
    assert len(re.findall(r"(?:^| )\d\. ", opening)) == 5
    values = {row.group.label: row for found in all_rows(groups) if found.metric == "exact_match" for row in found.rows}
    ends = sorted((row.value, name) for name, row in values.items() if "(" not in name.replace("(d1)", ""))
    control = values["EGSPO-SA, random-reward control"]
    said = [
        f"{times(held['egspo-flops'])} of the training compute",
        f"EGSPO-SA with {times(held['egspo-sa-flops'])}",
        f"{points(held['egspo-entropy-uniform'])}; ten seeds would have shown {shown(held['egspo-entropy-uniform'])}",
        f"{points(held['egspo-sa-over-egspo'])}; ten seeds would have shown {shown(held['egspo-sa-over-egspo'])}",
        *(f"{name} by {points(held[claim])}" for name, claim in BELOW.items()),
        f"from {100 * ends[1][0]:.1f} % ({ends[1][1]}) to {100 * ends[-1][0]:.1f} % ({ends[-1][1]})",
        f"leave {100 * control.value:.1f} % [{100 * bound(control, 'low'):.1f}, {100 * bound(control, 'high'):.1f}]",
    ]
    assert [text for text in said if text not in opening] == []
    assert ends[0][1] == "EGSPO-SA, random-reward control"
    assert {held[claim].verdict for claim in BELOW.values()} == {"contradicted"}

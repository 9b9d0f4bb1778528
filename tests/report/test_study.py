"""Our study: every table of the pages, and the five sentences that open docs/results.md, are what the records give."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.report.analysis.claims import Row

CHECKOUT = Path(__file__).resolve().parents[2]
STUDY = CHECKOUT / "results" / "study"
MOST_BYTES = 8_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(study_script: Callable[[str], ModuleType]) -> ModuleType:
    return study_script("page")


@pytest.fixture(scope="module")
def material(page: ModuleType) -> Any:
    """What the committed records give."""
    return page.read()


@pytest.fixture(scope="module")
def held(material: Any) -> dict[tuple[str, str], Row]:
    """The claims on the tiny model by their names and tasks, those of all methods left out."""
    rows = [row for row in material.held.rows if row.claim.first.method != "*" and row.first.model == "tiny"]
    return {(row.claim.name, row.first.task): row for row in rows}


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


def test_the_records_are_whole_and_small(material: Any) -> None:
    assert [one.reason for one in material.collection.skipped] == []
    assert material.held.unclear == ()
    assert sum(file.stat().st_size for file in STUDY.rglob("*") if file.is_file()) < MOST_BYTES
    for task, cells in (("sudoku", 37), ("countdown", 28)):
        assert {len(row.seeds) for row in material.of(task)} == {10}
        assert len(material.of(task)) == cells
    for task in ("gsm8k", "math500", "mbpp"):
        assert [len(row.seeds) for row in material.of(task)] == [3] * 8


def test_every_table_of_the_pages_is_that_of_the_records(page: ModuleType, material: Any) -> None:
    for name in page.PAGES:
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        assert page.MARK.search(text), name
        assert page.written(text, material) == text, f"run make study-page: {name}"
    assert set(page.TABLES) == {
        found[2] for name in page.PAGES for found in page.MARK.finditer((CHECKOUT / name).read_text())
    }


AT_RANDOM = ("espo-over-d1", "bgpo-over-d1", "gdpo-over-d1")
BOTH = ("sudoku", "countdown")
NOT_SEEN = ("egspo-entropy-uniform", "egspo-sa-over-egspo", "egspo-sa-over-egspo")


def said_of(claims: dict[tuple[str, str], Row]) -> list[str]:
    """What the sentences say of claims."""
    costs = [times(claims[name, task]) for name in ("egspo-flops", "egspo-sa-flops") for task in BOTH]
    entropy, *stepwise = (claims[name, task] for name, task in zip(NOT_SEEN, (BOTH[0], *BOTH), strict=True))
    sparse, many = claims["sparse-stepwise", BOTH[0]], claims["few-of-many-entropy-uniform", BOTH[0]]
    even = claims["egspo-entropy-uniform", BOTH[1]]
    masked = [[points(claims[name, task]) for name in AT_RANDOM] for task in BOTH]
    return [
        f"{costs[0]} of the training compute on Sudoku and {costs[1]} on Countdown",
        f"EGSPO-SA with {costs[2]} and {costs[3]}",
        f"it gains {points(many)} with 2 of 16 steps on Sudoku and {points(even)} with 2 of 8 on Countdown",
        f"no gain is visible, {points(entropy)} (ten seeds would have shown {shown(entropy)})",
        f"{points(stepwise[0])} on Sudoku (ten seeds would have shown {shown(stepwise[0])})",
        f"{points(stepwise[1])} on Countdown ({shown(stepwise[1])})",
        f"{points(sparse)} ({shown(sparse)}) on Sudoku with a reward for right answers alone",
        *(f"by {one[0]}, {one[1]} and {one[2]}" for one in masked),
    ]


def biases(material: Any) -> list[Any]:
    """Rank correlations of the estimates' bias and how high the methods end."""
    return [one for one in material.held.predictions if one.error == "bias"]


def test_the_page_opens_with_five_sentences_of_the_records(material: Any, page: ModuleType, held: Any) -> None:
    text = (CHECKOUT / "docs" / "results.md").read_text(encoding="utf-8")
    opening = " ".join(text.partition("# Our results")[2].partition("\n## ")[0].split())
    assert re.findall(r"(?:^| )(\d)\. ", opening) == ["1", "2", "3", "4", "5"]
    said = said_of(held)
    for task, title in zip(BOTH, ("Sudoku", "Countdown"), strict=True):
        ends = {page.name_of(row.group): row for row in material.of(task)}
        plain = sorted((row.value, name) for name, row in ends.items() if "(" not in name.replace("(d1)", ""))
        assert len(plain) == 15
        (low, last), (high, first) = plain[0], plain[-1]
        said.append(f"between {100 * low:.1f} % ({last}) and {100 * high:.1f} % ({first}) on {title}")
        base, control = 100 * ends["EGSPO"].base, 100 * ends["EGSPO-SA (random reward)"].value
        sudoku = f"from a base of {base:.1f} % and with {control:.1f} % after training on random rewards"
        said.append(sudoku if task == BOTH[0] else f"from {base:.1f} % and with {control:.1f} %.")
    errors = {
        one.task: f"{one.value:+.2f} [{one.interval.low:+.2f}, {one.interval.high:+.2f}]" for one in biases(material)
    }
    said += [f"Countdown, rank correlation {errors['countdown']}", f"Sudoku, {errors['sudoku']}"]
    assert [one for one in said if one not in opening] == []
    verdicts = {one.task: one.verdict for one in biases(material)}
    assert {task: verdicts[task] for task in BOTH} == {"countdown": "supported", "sudoku": "not visible"}


def test_the_verdicts_are_those_that_the_sentences_tell(held: dict[tuple[str, str], Row]) -> None:
    sudoku, countdown = BOTH
    assert {held[name, sudoku].verdict for name in AT_RANDOM} == {"contradicted"}
    assert {held[name, countdown].verdict for name in AT_RANDOM} == {"supported"}
    unseen = [("egspo-entropy-uniform", sudoku), ("sparse-stepwise", sudoku)]
    assert {held[one].verdict for one in [*unseen, *(("egspo-sa-over-egspo", task) for task in BOTH)]} == {
        "not visible"
    }
    seen = [("egspo-entropy-uniform", countdown), ("few-of-many-entropy-uniform", sudoku)]
    costs = [(name, task) for name in ("egspo-flops", "egspo-sa-flops") for task in BOTH]
    assert {held[one].verdict for one in [*seen, *costs]} == {"supported"}

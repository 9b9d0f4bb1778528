"""Our study: every table of the pages, and the five sentences that open docs/results.md, are what the records give."""

from __future__ import annotations

import importlib.util
import re
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
def page() -> ModuleType:
    """results/study/page.py, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("study_page", STUDY / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    assert {len(row.seeds) for row in material.of("sudoku")} == {10}
    assert len(material.of("sudoku")) == 37


def test_every_table_of_the_pages_is_that_of_the_records(page: ModuleType, material: Any) -> None:
    for name in page.PAGES:
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        assert page.MARK.search(text), name
        assert page.written(text, material) == text, f"run make study-page: {name}"
    assert set(page.TABLES) == {
        found[2] for name in page.PAGES for found in page.MARK.finditer((CHECKOUT / name).read_text())
    }


BELOW = ("espo-over-d1", "bgpo-over-d1", "gdpo-over-d1")
CONTROLS = ("AGRPO", "diffu-GRPO (d1)", "EGSPO-SA", "ESPO")


def test_the_page_opens_with_five_sentences_of_the_records(material: Any, page: ModuleType, held: Any) -> None:
    text = (CHECKOUT / "docs" / "results.md").read_text(encoding="utf-8")
    opening = " ".join(text.partition("# Our results")[2].partition("\n## ")[0].split())
    assert re.findall(r"(?:^| )(\d)\. ", opening) == ["1", "2", "3", "4", "5"]
    of = {name: row for (name, task), row in held.items() if task == "sudoku"}
    ends = {page.name_of(row.group): row for row in material.of("sudoku")}
    plain = sorted((row.value, name) for name, row in ends.items() if "(" not in name.replace("(d1)", ""))
    controls = sorted(ends[f"{name} (random reward)"].value for name in CONTROLS)
    entropy, stepwise, sparse = of["egspo-entropy-uniform"], of["egspo-sa-over-egspo"], of["sparse-stepwise"]
    said = [
        f"{times(of['egspo-flops'])} of the training compute",
        f"EGSPO-SA with {times(of['egspo-sa-flops'])}",
        f"{points(entropy)} (ten seeds would have shown {shown(entropy)})",
        f"by {points(of['few-of-many-entropy-uniform'])}",
        f"{points(stepwise)} (ten seeds would have shown {shown(stepwise)})",
        f"{points(sparse)} ({shown(sparse)})",
        f"by {points(of['sparse-egspo-sa-d1'])}",
        f"TraceRL ends {points(of['tracerl-over-as-many-random'])}",
        f"by {points(of[BELOW[0]])}, {points(of[BELOW[1]])} and {points(of[BELOW[2]])}",
        f"from {100 * plain[0][0]:.1f} % ({plain[0][1]}) to {100 * plain[-1][0]:.1f} % ({plain[-1][1]})",
        f"where the base solves {100 * ends['EGSPO'].base:.1f} %",
        f"leave {100 * controls[0]:.1f} to {100 * controls[-1]:.1f} %",
    ]
    assert [one for one in said if one not in opening] == []
    assert len(plain) == 15
    assert {of[name].verdict for name in BELOW} == {"contradicted"}
    assert {entropy.verdict, stepwise.verdict, sparse.verdict} == {"not visible"}
    seen = (
        "egspo-flops",
        "egspo-sa-flops",
        "few-of-many-entropy-uniform",
        "sparse-egspo-sa-d1",
        "tracerl-over-as-many-random",
    )
    assert {of[name].verdict for name in seen} == {"supported"}

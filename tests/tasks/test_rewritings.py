"""Robust verdicts on answers of MATH: right in any dress, wrong with another value in it or beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.sources import DataSource
from harness.registry import get_task
from harness.task.base import ROBUST, TaskOptions

from .rewritings import HARMFUL, HARMLESS, Rewriting

MATH = get_task("math500")(TaskOptions(bare_answers=False))
GOLDS = (
    *("42", "-7", "0", "1", "1000", "12345", "2.5", ".125", "6.02 \\times 10^{23}", "0.\\overline{27}", "10,\\!080"),
    *("\\frac{5}{8}", "-\\frac{7}{3}", "\\dfrac{2}{9}", "\\frac79", "3\\frac{1}{2}", "25\\%", "\\$4.50", "30^\\circ"),
    *("\\sqrt{7}", "5\\sqrt{11}", "\\frac{\\sqrt{2}}{2}", "\\sqrt[3]{4}", "\\pi", "6\\pi", "\\frac{3\\pi}{4}", "e^2"),
    *("2+\\sqrt{3}", "3-4i", "1-\\frac{1}{\\mathrm{e}}", "\\frac{1}{2^{99}}", "\\frac{1}{2004!}", "\\binom{10}{3}"),
    *("x^2+2x-3", "(x+1)(x-4)", "2^n-1", "\\frac{a+b}{2}", "\\sin x", "\\log_2 3", "7 \\text{ cm}", "\\infty"),
    *("12 \\mbox{ feet}^2", "31_7", "1101_2", "x=4", "y=3x-1", "2a+3b-c=6", "x \\in [0,2]", "2 \\pm \\sqrt{3}"),
    *("(1,2)", "(0,\\frac{1}{3})", "\\left( -4, \\sqrt{5}, 6 \\right)", "(-\\infty,4]", "[0,1)", "[-1,1] \\cup (2,5)"),
    *("\\{1,4,9\\}", "1,4", "2, -3, 6", "1, 2, \\ldots, n", "\\text{Monday}", "\\text{(D)}", "\\text{odd}"),
    *("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "\\begin{pmatrix} 5 \\\\ -6 \\end{pmatrix}"),
)


def is_right(gold: str, answer: str) -> bool:
    return MATH.grade(MATH.example_for("", gold), f"<answer>\n\\boxed{{{answer}}}\n</answer>", ROBUST).correct


def misjudged(golds: tuple[str, ...], rewriting: Rewriting, *, right: bool) -> list[str]:
    answers = [(gold, answer) for gold in golds if (answer := rewriting(gold)) is not None]
    assert answers
    return [answer for gold, answer in answers if is_right(gold, answer) != right]


@pytest.fixture
def math500(data_folder: Path) -> tuple[str, ...]:
    examples = MATH.examples("test", DataSource(kind="dir", folder=data_folder))
    assert len(examples) == 500
    return tuple(example.target["answer"] for example in examples)


@pytest.mark.parametrize("name", HARMLESS)
def test_an_answer_in_another_dress_stays_right(name):
    assert misjudged(GOLDS, HARMLESS[name], right=True) == []


@pytest.mark.parametrize("name", HARMFUL)
def test_a_changed_or_hedged_answer_is_wrong(name):
    assert misjudged(GOLDS, HARMFUL[name], right=False) == []


@pytest.mark.parametrize("name", HARMLESS)
def test_each_of_the_500_answers_in_another_dress_stays_right(math500, name):
    assert misjudged(math500, HARMLESS[name], right=True) == []


@pytest.mark.parametrize("name", HARMFUL)
def test_each_of_the_500_answers_changed_or_hedged_is_wrong(math500, name):
    assert misjudged(math500, HARMFUL[name], right=False) == []

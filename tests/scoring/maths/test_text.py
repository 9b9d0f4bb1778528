"""Undressing and tokens: what carries no meaning goes, and letters are words or unknowns."""

from __future__ import annotations

import pytest

from harness.scoring.maths.text import tokens, undressed


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("$\\frac{14}{3}.$", "\\frac{14}{3}"),
        ("**73**.", "73"),
        ("`3`", "3"),
        ("The answer is: **18**.", "18"),
        ("3\u221a13", "3\\sqrt{13}"),
        ("(5,\u221e)", "(5,\\infty )"),
        ("9\\,901", "9901"),
        ("11,\\! 111", "11111"),
        ("2\u00b2 \u2212 x\u2081", "2^{2} - x_{1}"),
        ("\U0001d465 + \u03c0", "x + \\pi"),
        ("2\u00bd", "2 1/2"),
        ("2:00 pm", "2 pm"),
        ("52 \\text{ (base 8)}", "52_{8}"),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\matrix 1 \\row 2 \\endmatrix"),
        ("2**3", "2**3"),
        ("= 5", "5"),
    ],
)
def test_the_dress_comes_off(text, plain):
    assert undressed(text).strip() == plain


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("1,234.5", "number 1234.5"),
        ("(1,234)", "mark ( number 1 mark , number 234 mark )"),
        ("12 000", "number 12000"),
        ("0.1\\overline{6}", "number 1/6"),
        ("1e3", "number 1e3"),
        ("2516_{8}", "based 2516_8"),
        ("2xy", "number 2 name x name y"),
        ("10 cm", "number 10 word cm"),
        ("12 m", "number 12 word m"),
        ("12m", "number 12 name m"),
        ("\\text{odd}", "word odd"),
        ("Box C is 2", "word box word c word is number 2"),
        ("2 sin x", "number 2 command sin name x"),
        ("isn't", "word isn't"),
    ],
)
def test_the_tokens(text, pieces):
    assert " ".join(f"{token.kind} {token.text.casefold()}" for token in tokens(text)) == pieces

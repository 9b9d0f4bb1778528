"""Whether two answers are the same: what is read whatever its form, what is a near miss, and that all texts end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.scoring.maths import equal as module
from harness.scoring.maths.equal import equal

VECTOR = "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"
RIGHT = {
    "18": (
        *("18.0", "$18", "\\$18.00", "18.", "**18**", "1.8e1", "36/2", "(18)", "\\{18\\}", "18%", "18^\\circ", "= 18"),
        *("It is 18", "The answer is 18.", "There are 18 ways", "n=18 apples", "18 (Ann's share)", "$18 per week"),
        *("Box C is 18 dollars more than Box B.", "18 changes/day", "18 km/h", "18 m", "18 square inches", "18 pm"),
        *("3 \\times 6 = 18", "8 + 10 = 18 units", "x \\approx 18", "about 18", "f(2) = 18", "DE = 18", "|AB| = 18"),
        *("18 or 18.0", "\\text{18 apples}", "18\\,\\mathrm{cm}", "18 \\text{ cm}^3", "\uff118"),
    ),
    "9901": ("9,901", "9\\,901", "9{,}901", "9 901", "9,\\!901", "9\u2009901"),
    "1200000": ("1.2 million", "1.2 \\times 10^6", "1,200 thousand", "1.2e6", "1200 \\cdot 10^3"),
    "\\frac{14}{3}": (
        *(
            "\\frac{14}{3}.",
            "{14 \\over 3}",
            "\\large \\frac{14}{3}",
            "\\color{red}{\\frac{14}{3}}",
            "\\frac {14} 3\\\\",
        ),
        *("4\\frac23", "14 \\div 3", "\\cfrac{14}{3} \\text{ sq. units}", "14/3 = 4 2/3", "\\approx \\frac{14}{3}"),
    ),
    "2.5": ("2 1/2", "2\\frac12", "2\\frac{1}{2}", "2\u00bd", "5/2", "5:2"),
    "\\frac{1}{3}": ("0.\\overline{3}", ".\\overline{3}", "3^{-1}", "\\dfrac13", "\\frac{2}{6}", "33\\frac13\\%"),
    "0.5": ("50%", "\\frac12", "\\sin 30^\\circ", "\\cos \\frac{\\pi}{3}", "\\sin^{-1}(1) / \\pi"),
    "3\\sqrt{13}": ("3\u221a13", "\\sqrt{117}", "3 sqrt(13)", "\\sqrt{13} \\cdot 3", "3\\sqrt{13} \\approx 10.8"),
    "-\\frac{\\pi}{6}": ("-pi/6", "-\u03c0/6", "-\\pi \\div 6", "-30^\\circ \\cdot \\frac{\\pi}{180}"),
    "14 - i": ("14.0 + -1.0i", "-i + 14", "14-1i", "\\frac{28-2i}{2}"),
    "1-\\frac{1}{\\mathrm{e}}": ("1 - e^{-1}", "\\frac{e-1}{e}", "1-1/e"),
    "10": (
        "\\binom{5}{2}",
        "\\frac{5!}{3!2!}",
        "\\log_2 1024",
        "|{-10}|",
        "\\lfloor 10.9 \\rfloor",
        "\\int_0^{10} 1 dx",
    ),
    "(5,\\infty)": ("(5,\u221e)", "x > 5", "5 < x", "x \\in (5, \\infty)", "(5, +\\infty)"),
    "x \\in [-2,7]": ("[-2,7]", "-2 \\le x \\le 7", "7 \\geq x \\geq -2"),
    "(-\\infty,2) \\cup (3,\\infty)": ("(3,\\infty)\\cup(-\\infty,2)", "x<2 or x>3", "x < 2 \\text{ or } 3 < x"),
    "1,-2": ("-2, 1", "x=1,-2", "x = 1 \\text{ or } x = -2", "\\{-2,1\\}", "1 and -2", "x_1 = 1, x_2 = -2"),
    "(1,2)": ("1,2", "x=1, y=2", "\\left( 1, 2 \\right)", "\\langle 1,2\\rangle", VECTOR, "(x,y) = (1,2)"),
    "1 \\pm \\sqrt{19}": ("1+\\sqrt{19}, 1-\\sqrt{19}", "x = 1\u00b1\u221a19", "\\{1 \\mp \\sqrt{19}\\}"),
    VECTOR: ("(1,2)", VECTOR.replace("p", "b"), "\\mathbf{v} = " + VECTOR, VECTOR.replace("2", "\\frac42")),
    "y=2x+3": ("2x+3", "2x-y+3=0", "y = 3 + 2x", "-2y = -4x-6"),
    "(a+5)(b+2)": ("ab+2a+5b+10", "(b+2)(a+5)", "(5+a)(2+b)"),
    "3R^2": ("AF^2 + BF^2 + CF^2 = 3R^2", "3 R \\cdot R"),
    "52_8": ("52_{8}", "52_{(8)}", "52 base 8", "52 \\text{ (base 8)}", "52"),
    "42": ("42_{10}",),
    "\\text{Evelyn}": ("Evelyn.", "evelyn", "\\textbf{Evelyn}", "The answer is Evelyn"),
    "\\text{ellipse}": ("an ellipse", "\\mathrm{ellipse}", "Ellipse."),
    "\\text{(A)}": ("A", "a", "(A)"),
    "\\text{(C)}": ("C", "(C)", "\\text{C}", "c."),
    "864 \\mbox{ inches}^2": ("864", "864 in^2", "864\\text{ square inches}"),
    "1, 2, \\ldots, n": ("1,2,...,n", "1, 2, \\dots, n"),
}
WRONG = {
    "18": (
        *("1, 18", "16 or 17 or 18", "It is not 18", "1 2 3 ... 18", "12 = 18", "18 = 12", "18 or 19", "17 to 18"),
        *("18 and 19", "between 17 and 18", "either 17 or 18", "18, not 17", "isn't 18", "18 is wrong", "18 of 20"),
        *("18 18 19", "17\n18", "17; 18", "\\pm 18", "18 \\text{ or } 17", "18 or nineteen", "17|18", "17 & 18"),
        *("18!", "18x", "18 z", "18i", "18^2", "18_9", "-18", "180", "1.8", "17.999", "18/19", "17 - 18", "4{10}8"),
        *(
            "> 18",
            "x < 18",
            "\\neq 18",
            "\\not= 18",
            "more than 18",
            "18?",
            "18 + C",
            "x + 1 = 18",
            "2x = 18",
            "18\\%\\%",
        ),
        *("eighteen", "", "?", "...", "\\cancel{18}", "18 apples and 3 pears", "5 feet 18 inches", "18 \\approx 25"),
    ),
    "5": ("5!", "9^{9^{9^9}}", "25", "5.1"),
    "52_8": ("52_9", "52_{10}", "42", "53_8", "52_{88}"),
    "52": ("52_8",),
    "\\frac{1}{2^{99}}": ("\\frac{1}{2^{98}}", "0", "\\frac{1}{2^{99}} + 10^{-40}"),
    "\\frac{1}{2004!}": ("\\frac{1}{2006!}", "0"),
    "1-\\frac{1}{\\mathrm{e}}": ("1+\\frac{1}{\\mathrm{e}}", "1-\\frac{1}{e^2}", "1-\\frac1x"),
    "1, 2, \\ldots, n": ("1, 3, 5, \\ldots, 2n-1", "1, 2, n", "n, \\ldots, 2, 1", "1, 2, \\ldots, 2n"),
    "42": ("43 = 42", "42 = 43 - 2", "42 = 42 = 43", "6 \\cdot 8 = 42"),
    "(1,2)": ("(2,1)", "[1,2]", "2,1", "\\{1,2\\}", "(1,2,3)", "(1,-2)", "1"),
    "[1,2)": ("(1,2]", "(1,2)", "1 < x < 2", "[1,2]"),
    "1,-2": ("1", "1,2", "1,-2,3", "x=1"),
    "3, 5, 7": ("3, 5", "3, 5, 7, 9", "3, 5, 8"),
    "2k": ("2n", "2k+1", "k", "2k^2", "2"),
    "x": ("|x|", "\\sqrt{x^2}", "-x", "x^2"),
    "x=5": ("y=5", "x=6", "x = -5", "2x=5"),
    "y=2x+3": ("x=2y+3", "y=2x", "2x-3"),
    VECTOR: ("(2,1)", "\\begin{pmatrix} 1 & 3 \\end{pmatrix}", VECTOR.replace("1", "-1")),
    "\\text{Evelyn}": ("Evelyn or Carla", "not Evelyn", "Carla", "Evelyn, Carla"),
    "\\pi": ("3.14159265", "\\frac{22}{7}", "pi^2", "not \\pi"),
    "\\frac{1}{3}": ("0.333333", "0.3", "\\overline{3}"),
    "\\infty": ("-\\infty", "\\emptyset"),
}


def pairs(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(gold, answer) for gold, answers in table.items() for answer in answers]


@pytest.mark.parametrize(("gold", "answer"), pairs(RIGHT))
def test_equal_answers_are_equal_in_any_form(gold, answer):
    assert equal(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), pairs(WRONG))
def test_near_misses_hedges_and_denials_are_not_equal(gold, answer):
    assert not equal(gold, answer)


def test_a_stored_answer_that_is_not_read_is_left_to_math_verify():
    assert equal("\\mathbb{R} \\setminus \\{0\\}", "\\mathbb{R} \\setminus \\{0\\}")
    assert equal("\\sum_{k=1}^{4} k", "10")
    assert not equal("\\sum_{k=1}^{4} k", "11")
    assert not equal("\\sum_{k=1}^{4} k", "10 or 11")


SECONDS = 0.5
"""A verdict takes up to this, or as long as math-verify may take where it is asked."""

HOSTILE = (
    *(
        "9^{9^{9^{9}}}",
        "10^{10^{10}}!",
        "9!!!!!!!",
        "(" * 900,
        "{" * 1900,
        "\\sqrt{" * 300,
        "\\frac{" * 330,
        "x!" * 900,
    ),
    *("1+" * 900 + "1", "2^{39999}+" * 150 + "1", "1e9999" * 300, "\\sin " * 400 + "x", "|" * 1900, "1," * 900 + "1"),
    *("\\pm x," * 300, "x^{" * 400, "\\text{" * 380, "not " * 480, "7=" * 900 + "7.1", "\\cup " * 400, "*" * 1999),
    *("\u00b2" * 1900, "\u221a" * 1900, "\u00bd" * 1900, "\x00\ud800", "x^{99999}" * 200, "(x+1)^{9999}" * 150),
    *("\u0663" * 20_000, "1" * 20_000, "\\boxed{" * 3000, "x" * 20_000),
)


@pytest.mark.parametrize("answer", HOSTILE)
@pytest.mark.parametrize("gold", ["7", "x^2+1", "1, 2, \\ldots, n"])
def test_no_text_raises_or_takes_long(gold, answer, processor_time):
    with processor_time() as seconds:
        assert not equal(gold, answer)
        assert seconds() < 10 * SECONDS


PIECES = (
    *(
        "1",
        "2",
        "x",
        "e",
        "i",
        "7,000",
        ".5",
        "1e5",
        "52_8",
        " ",
        "\\frac",
        "\\sqrt",
        "\\pi",
        "\\infty",
        "\\ldots",
        "\\pm",
    ),
    *("{", "}", "(", ")", "[", "]", "\\{", "\\}", "|", "^", "_", "+", "-", "*", "/", "=", "<", ",", "!", "%", "'", "$"),
    *(
        "or",
        "not",
        "million",
        "\\text{",
        "\\overline{",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "\\\\",
        "&",
        "\\cup",
        "\\in",
    ),
    *(
        "\\approx",
        "\\pm",
        "\\in",
        "\\log",
        "\\sin",
        "\\binom",
        "\\circ",
        "\\degree",
        "\\int",
        "\\lfloor",
        "\\rfloor",
        "\\langle",
        "\\",
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=25).map("".join)


@settings(max_examples=400, deadline=None)
@given(gold=TEXTS, answer=TEXTS)
def test_no_two_texts_raise(gold, answer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "same_value", lambda first, second: False)
        equal(gold, answer)
        equal(gold, gold)

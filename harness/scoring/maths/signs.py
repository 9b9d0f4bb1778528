"""The signs that the reader of mathematical answers knows. Commands of LaTeX begin with a backslash."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.scoring.maths import value
from harness.scoring.maths.text import FUNCTIONS
from harness.scoring.maths.value import Sample


def _named(meanings: Mapping[str, str]) -> dict[str, str]:
    """`{"=": "= \\equiv"}` as sign -> meaning."""
    return {sign: meaning for meaning, signs in meanings.items() for sign in signs.split()}


def _commands(names: str) -> frozenset[str]:
    return frozenset("\\" + name for name in names.split())


RELATIONS = _named(
    {
        "=": r"= \equiv",
        "~": r"\approx \simeq \sim",
        "<=": r"<= \le \leq \leqslant",
        ">=": r">= \ge \geq \geqslant",
        "!=": r"!= \ne \neq",
        "<": r"< \lt",
        ">": r"> \gt",
        "in": r"\in",
    }
)
SUMS: Mapping[str, Callable[[Sample, Sample], Sample]] = {"+": value.plus, "-": value.minus}
EITHER_SIGN = {"\\pm": value.times, "\\mp": value.against}
PRODUCTS: Mapping[str, Callable[[Sample, Sample], Sample]] = {
    **dict.fromkeys(("*", "\\times", "\\cdot"), value.times),
    **dict.fromkeys(("/", "\\div", ":"), value.divided),
}
SEPARATORS = frozenset({",", ";", "or", "and", "\\lor", "\\vee", "\\land"})
BRACKETS = {"(": ")", "[": "]", "\\{": "\\}", "\\langle": "\\rangle", "{": "}"}
FRACTIONS = _commands("frac dfrac tfrac cfrac")
BINOMIALS = _commands("binom dbinom tbinom")
AROUND: Mapping[str, tuple[str, Callable[[Sample], Sample]]] = {
    "|": ("|", abs),
    "\\lvert": ("\\rvert", abs),
    "\\lfloor": ("\\rfloor", value.function("floor")),
    "\\lceil": ("\\rceil", value.function("ceil")),
}
STOPS = frozenset(
    {*RELATIONS, *SEPARATORS, *SUMS, *EITHER_SIGN, *PRODUCTS, *BRACKETS.values(), *(end for end, _ in AROUND.values())}
    | {"\\cup", "\\row", "\\endmatrix", "\\%", "\\circ", "\\degree"}
)
"""Commands after which no factor begins."""
COMPUTED = _commands("int iint sum prod lim to matrix")
"""What is left to math-verify where it is part of an answer."""
ACCENTS = _commands("vec hat bar overline widehat tilde overrightarrow angle triangle")
ATOMS = {
    command: command[1:]
    for command in _commands(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau "
        "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell infty emptyset ldots"
    )
} | _named({"emptyset": r"\varnothing", "ldots": r"\dots \cdots \dotsc \dotsb"})
"""Commands that stand for an unknown of their own: infinity is equal to itself alone."""

READ = frozenset({*STOPS, *BRACKETS, *FRACTIONS, *BINOMIALS, *AROUND, *ACCENTS, *ATOMS}) | _commands(
    f"pi sqrt matrix {' '.join(FUNCTIONS)}"
)
"""Every command that the reader takes."""

KNOWN = READ | COMPUTED
INEQUALITIES = RELATIONS.keys() - {"="}

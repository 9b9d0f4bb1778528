"""The normal form of answers of the MATH data set (Hendrycks et al. 2021), as the graders of d1 and EGSPO apply it.

A handful of replacements, kept with their peculiarities: the published figures were made with them.
"""

from __future__ import annotations

from collections.abc import Mapping

DROPPED = ("\n", "\\!")
REPLACED: Mapping[str, str] = {
    "\\\\": "\\",
    "tfrac": "frac",
    "dfrac": "frac",
    "\\left": "",
    "\\right": "",
    "^{\\circ}": "",
    "^\\circ": "",
    "\\$": "",
}
UNIT = "\\text{ "


class IrregularError(ValueError):
    """The normalisation cannot read the text; such texts are compared as they stand."""


def same_text(first: str, second: str) -> bool:
    """Whether both normalise to the same text; compared as they stand where one of them cannot be normalised."""
    try:
        return normalised(first) == normalised(second)
    except IrregularError:
        return first == second


def normalised(text: str) -> str:
    """The normal form of a LaTeX answer. Raises IrregularError."""
    for piece in DROPPED:
        text = text.replace(piece, "")
    for old, new in REPLACED.items():
        text = text.replace(old, new)
    text = _without_unit(text).replace("\\%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = _without_name("0" + text if text.startswith(".") else text)
    text = _braced_roots(text).replace(" ", "")
    text = _braced_fractions(text)
    return _spelt_fraction("\\frac{1}{2}" if text == "0.5" else text)


def _without_unit(text: str) -> str:
    head, *units = text.split(UNIT)
    if len(units) > 1:
        raise IrregularError("two units")
    return head


def _without_name(text: str) -> str:
    """`x = 5` is 5, for names of up to two characters."""
    sides = text.split("=")
    return sides[1] if len(sides) == 2 and len(sides[0]) <= 2 else text


def _braced_roots(text: str) -> str:
    head, *rest = text.split("\\sqrt")
    if not all(rest):
        raise IrregularError("a root of nothing")
    return head + "".join("\\sqrt" + (part if part[0] == "{" else f"{{{part[0]}}}{part[1:]}") for part in rest)


def _braced_fractions(text: str) -> str:
    """`\\frac12` as `\\frac{1}{2}`; the text as it is where a fraction lacks its denominator."""
    head, *rest = text.split("\\frac")
    pieces = [head]
    for part in rest:
        if not part:
            raise IrregularError("a fraction of nothing")
        if part[0] == "{":
            pieces.append("\\frac" + part)
            continue
        if len(part) < 2:
            return text
        over, under, after = part[0], part[1], part[2:]
        pieces.append(f"\\frac{{{over}}}" + (under if under == "{" else f"{{{under}}}") + after)
    return "".join(pieces)


def _spelt_fraction(text: str) -> str:
    """`3/4` as `\\frac{3}{4}`, for whole numbers without leading zeros."""
    sides = text.split("/")
    if len(sides) != 2:
        return text
    try:
        over, under = int(sides[0]), int(sides[1])
    except ValueError as error:
        raise IrregularError("a quotient of something else than whole numbers") from error
    return f"\\frac{{{over}}}{{{under}}}" if text == f"{over}/{under}" else text

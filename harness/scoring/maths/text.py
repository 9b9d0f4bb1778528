"""What an answer says once its dress is off (LaTeX's layout, Markdown, currency, Unicode), and its tokens. No torch.

A run of letters is a word where it stands in \\text{..}, has four letters or more, or is one of a few short English
words and units; otherwise it is a product of unknowns, as LaTeX sets it. Linear in the length of the text.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, NamedTuple

from harness.scoring.maths.words import SHORT

Kind = Literal["number", "based", "name", "word", "command", "mark"]


class Token(NamedTuple):
    """One piece of an answer. based: digits, underscore, base. command: without its backslash."""

    kind: Kind
    text: str

    @property
    def key(self) -> str:
        """The token as the tables of signs have it: commands with their backslash."""
        return "\\" + self.text if self.kind == "command" else self.text


SYMBOLS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2013\u2010\u2011", "-"),
        **dict.fromkeys("\u00d7\u2715\u2716", "\\times "),
        **dict.fromkeys("\u00b7\u22c5\u2219\u2022\u2217", "*"),
        **dict.fromkeys("\u00f7\u2215\u2044\u2797", "/"),
        **dict.fromkeys("\u2009\u202f\u00a0", "\\,"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u20ac\u00a3\u00a5\u00a2", " "),
        "\u221e": "\\infty ",
        "\u00b0": "^\\circ ",
        "\u2264": "\\le ",
        "\u2265": "\\ge ",
        "\u2260": "\\ne ",
        "\u2248": "\\approx ",
        "\u222a": "\\cup ",
        "\u2208": "\\in ",
        "\u00b1": "\\pm ",
        "\u2213": "\\mp ",
        "\u2026": "\\ldots ",
        "\u22ef": "\\ldots ",
        "\u27e8": "\\langle ",
        "\u27e9": "\\rangle ",
        "\u2205": "\\emptyset ",
        "\u2220": "\\angle ",
    }
)
SUPERSCRIPTS = re.compile("[\u00b2\u00b3\u00b9\u2070-\u207f]+")
SUBSCRIPTS = re.compile("[\u2080-\u2089]+")
ROOT = re.compile("\u221a\\s*([0-9]+(?:\\.[0-9]+)?|[A-Za-z])?")
COMPATIBLE = ("<font>", "<wide>", "<fraction>")
"""Unicode's kinds of characters that are read as the plain ones: letters of a font, full-width digits, one half."""

ROW = re.compile(r"\\\\(?:\s*\[[^\]]{0,9}\])?")
MATRIX = re.compile(r"\\(begin|end)\s*\{(?:[pbB]?matrix|smallmatrix|array)\}(?:\s*\{[lcr|\s]{1,40}\})?")
GROUPS = re.compile(r"(?<=[0-9])(?:,?\\[,;:! ]|\{,\})\s*(?=[0-9]{3}(?![0-9]))")
DELIMITERS = re.compile(r"\\?\$|\\[()\[\]]")
LAYOUT = re.compile(
    r"\\(?:left|right)\.|\\[,;:! ]|~"
    r"|\\(?:left|right|[bB]igg?[lr]?|(?i:large|huge)|small|tiny|displaystyle|textstyle|limits|quad|qquad|hline|bf|rm|it"
    r"|math(?:rm|bf|it|cal|bb|sf)|boldsymbol|bm|underline|ensuremath|boxed|fbox)(?![A-Za-z])"
)
COLOUR = re.compile(r"\\(?:text)?color\s*\{[A-Za-z]{1,20}\}")
OVER = re.compile(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}")
OPERATOR = re.compile(r"\\(?:operatorname|mathrm)\*?\s*\{([A-Za-z]{2,10})\}")
EDGES = re.compile(r"(\*{1,3}|_{1,2}|`{1,3}|[\"'])(.+)\1", re.DOTALL)
BOLD = re.compile(r"(?<![\w)}*])\*\*([^*]{1,500})\*\*(?![\w({*])")
BASE = re.compile(r"(?<![\w.])([0-9]+)\s*(?:\\text\s*\{\s*)?\(?(?:in )?base\s+([0-9]{1,2})\b[)} ]*")
FULL_HOUR = re.compile(r"(?<![0-9:])([0-9]{1,2}):00(?![0-9:])")
LEAD_IN = re.compile(
    r"\s*(?:(?:so|thus|hence|therefore)\b,?\s*)?(?:the\s+)?(?:final\s+|correct\s+)?"
    r"(?:answer|result|solution|value)\s*(?:is|:|=)\s*:?",
    re.IGNORECASE,
)
MOST_EDGES = 3
DOTS = re.compile(r"\.{2,}")
TRAILING = " .,;:\\"
SPACE = re.compile(r"\s+")

TEXT_FONTS = {"text", "textbf", "textit", "textrm", "texttt", "textsf", "textnormal", "mbox", "hbox"}
FUNCTIONS = {
    **{name: name for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp", "ln", "log")},
    **{f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan")},
}
"""LaTeX's names of functions with those of mpmath."""
SPELT = {**{name: name for name in (*FUNCTIONS, "sqrt", "pi", "theta", "infty")}, "infinity": "infty"}
"""Commands that are also read without their backslash."""
LETTER_UNIT = re.compile(r"(?<=[0-9] )[mgshL](?=[.,;)\s]*$)|(?<=[0-9] )(?:km|mi|m|ft)/(?:hr|h|s|min)(?![A-Za-z])")
TOKEN = re.compile(
    r"(?P<space>\s+|\.(?=[\s}]|$))"
    r"|(?P<based>[0-9][0-9A-F]*_(?:\{\s*\(?[0-9]{1,2}\)?\s*\}|[0-9]))"
    r"|(?P<repeating>[0-9]*\.[0-9]*\\(?:overline|bar|dot)\s*\{?[0-9]{1,40}\}?)"
    r"|(?P<grouped>(?:[0-9]{1,3}(?:,[0-9]{3})+|(?<![_^])[0-9]{1,3}(?: [0-9]{3})+)(?![0-9])(?:\.[0-9]+)?)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4}(?![\w.]))?)"
    r"|\\(?P<command>[A-Za-z]+|.)"
    r"|(?P<letters>[A-Za-z]+(?:'[a-z]{1,2}(?![a-z]))?)"
    r"|(?P<mark>\*\*|[<>!]=|.)",
    re.DOTALL,
)
REPEATING = re.compile(r"([0-9]*)\.([0-9]*)\\[a-z]+\s*\{?([0-9]+)")
DEPTH = {"(": 1, "[": 1, "\\{": 1, "\\langle": 1, ")": -1, "]": -1, "\\}": -1, "\\rangle": -1}
LONG_WORD = re.compile(r"[A-Za-z]{4}|[A-Z][a-z]{2}|[a-z]*'")


def undressed(text: str) -> str:
    """The text in ASCII LaTeX without what carries no meaning; matrices as \\matrix a & b \\row c & d \\endmatrix."""
    text = text if text.isascii() else _in_latex(text)
    text = MATRIX.sub(lambda found: "\\matrix " if found[1] == "begin" else "\\endmatrix ", COLOUR.sub("", text))
    text = ROW.sub(r"\\row " if "\\matrix" in text else " ", OVER.sub(r"\\frac{\1}{\2}", text))
    text = OPERATOR.sub(lambda found: f"\\{found[1]} " if found[1] in FUNCTIONS else f"\\text{{{found[1]}}}", text)
    text = GROUPS.sub("", DOTS.sub(r"\\ldots ", text))
    text = LAYOUT.sub(" ", DELIMITERS.sub(" ", text)).strip()
    text = SPACE.sub(" ", text).rstrip(TRAILING).lstrip("= ")
    for _ in range(MOST_EDGES):
        edges = EDGES.fullmatch(text)
        text = edges[2].rstrip(TRAILING).lstrip() if edges else text
    text = FULL_HOUR.sub(r"\1", BASE.sub(r"\1_{\2}", BOLD.sub(r"\1", text)))
    return LEAD_IN.sub("", text, count=1)


def _in_latex(text: str) -> str:
    text = ROOT.sub(lambda root: f"\\sqrt{{{root[1]}}}" if root[1] else "\\sqrt ", text)
    text = SUPERSCRIPTS.sub(lambda run: f"^{{{unicodedata.normalize('NFKC', run[0])}}}", text)
    text = SUBSCRIPTS.sub(lambda run: f"_{{{unicodedata.normalize('NFKC', run[0])}}}", text)
    return "".join(map(_character_in_latex, text)).translate(SYMBOLS)


def _character_in_latex(character: str) -> str:
    form = unicodedata.decomposition(character).partition(" ")[0]
    if form in COMPATIBLE:
        plain = unicodedata.normalize("NFKC", character)
        return f" {plain} " if form == "<fraction>" else plain
    script, _, letter = unicodedata.name(character, "").partition(" LETTER ")
    if script in ("GREEK SMALL", "GREEK CAPITAL") and letter.isalpha():
        return f"\\{letter.lower() if script == 'GREEK SMALL' else letter.capitalize()} "
    return character


@functools.lru_cache(maxsize=4096)
def tokens(text: str) -> tuple[Token, ...]:
    """The tokens of an answer. A lone letter between words, or after the last one, is a word."""
    found = list(_tokens(undressed(text)))
    kinds = [token.kind for token in found]
    for place, kind in enumerate(kinds):
        if kind == "name" and {*kinds[max(place - 1, 0) : place], *kinds[place + 1 : place + 2]} == {"word"}:
            found[place] = Token("word", found[place].text)
    return tuple(found)


def _tokens(text: str, *, prose: bool = False) -> Iterator[Token]:
    """prose: whether every run of letters is a word."""
    place = depth = 0
    while match := TOKEN.match(text, place):
        kind, place = match.lastgroup, match.end()
        piece = match[kind or 0]
        if kind == "command" and piece in TEXT_FONTS:
            content, place = _braced(text, place)
            yield from _tokens(content, prose=True)
        elif kind == "letters":
            unit = LETTER_UNIT.match(text, match.start())
            place = unit.end() if unit else place
            yield from _letters(piece, prose=prose or unit is not None)
        elif kind == "grouped":
            piece, comma, _ = piece.partition(",") if depth else (piece, "", "")
            place = match.start() + len(piece) if comma else place
            yield Token("number", re.sub("[ ,]", "", piece))
        elif kind != "space":
            depth += DEPTH.get(match[0], 0)
            yield _token(kind, piece)


def _letters(piece: str, *, prose: bool) -> Iterator[Token]:
    if prose or piece[:1].lower() + piece[1:] in SHORT or (LONG_WORD.match(piece) and piece not in SPELT):
        yield Token("word", piece.casefold())
    elif piece in SPELT:
        yield Token("command", SPELT[piece])
    else:
        yield from (Token("name", letter) for letter in piece)


def _token(kind: str | None, piece: str) -> Token:
    if kind == "repeating":
        return Token("number", str(_repeating(piece)))
    if kind == "based":
        return Token("based", re.sub(r"[\s{}()]", "", piece))
    return Token("command" if kind == "command" else "number" if kind == "number" else "mark", piece)


def _repeating(piece: str) -> Fraction:
    """0.1\\overline{6} is 1/6."""
    found = REPEATING.match(piece)
    assert found is not None
    whole, fixed, repeated = found.groups()
    nines = 10 ** len(repeated) - 1
    return (int(whole + fixed or 0) + Fraction(int(repeated), nines)) / 10 ** len(fixed)


def _braced(text: str, place: int) -> tuple[str, int]:
    """What the braces at `place` hold and where they end; nothing where there are none, all where they stay open."""
    start = place + len(text[place:]) - len(text[place:].lstrip())
    if text[start : start + 1] != "{":
        return "", place
    depth = 0
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[start + 1 : end], end + 1
    return text[start + 1 :], len(text)

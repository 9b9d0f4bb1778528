"""matplotlib's SVG as a part of a page: small, in the page's colours, with names that collide with none."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.report.figures.frame import FAINT, GRID, INK, PAPER

THEME = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--grid)", PAPER: "var(--paper)", "#000000": "var(--ink)"}
BEFORE_SVG = re.compile(r"^.*?(?=<svg)", re.DOTALL)
DROPPED = re.compile(
    r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|\sxmlns(:\w+)?=\"[^\"]*\""
    r"|(?<=<svg)\s+(?=xmlns)|\sversion=\"1.1\"",
    re.DOTALL,
)
SIZE = re.compile(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"')
NAMES = re.compile(r'(\sid="|href="#|url\(#)(?!DejaVu)')
GLYPH = re.compile(r'<path id="(DejaVu[^"]*)"[^>]*/>')
TRANSLATION = re.compile(r"translate\([^)]*\)")
PATH = re.compile(r'(?<=\sd=")[^"]*')
DECIMALS = re.compile(r"(\.\d\d)\d+")
BLANKS = re.compile(r">\s+<")


def inline_svg(svg: str, *, prefix: str) -> str:
    """The <svg> element of a file. prefix: put before every id in it, but those of letters."""
    text = DROPPED.sub("", BEFORE_SVG.sub("", svg, count=1)).replace("xlink:href", "href")
    text = SIZE.sub(r"\1", SIZE.sub(r"\1", text, count=1), count=1)
    text = NAMES.sub(lambda found: f"{found.group()}{prefix}", text)
    for numbers in (PATH, TRANSLATION):
        text = numbers.sub(lambda found: DECIMALS.sub(r"\1", " ".join(found.group().split())), text)
    for colour, variable in THEME.items():
        text = re.sub(rf"(?<=[ :]){colour}\b", variable, text, flags=re.IGNORECASE)
    return BLANKS.sub("><", text).strip()


def letters_of(svgs: Iterable[str]) -> str:
    """The shapes of letters of inlined figures, each once: the same font has the same in all of them."""
    letters = {found.group(1): found.group() for svg in svgs for found in GLYPH.finditer(svg)}
    return "".join(letters[name] for name in sorted(letters))


def without_letters(svg: str) -> str:
    """An inlined figure that refers to letters elsewhere on the page."""
    return GLYPH.sub("", svg).replace("<defs></defs>", "")

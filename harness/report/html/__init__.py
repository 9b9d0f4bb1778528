"""One HTML page with everything in it: no request leaves it, and it works without JavaScript and in print."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report.condense import condense
from harness.report.document import Document
from harness.report.html.inline import inline_svg, share_letters
from harness.report.plots import slug
from harness.report.sections import Figure, Section
from harness.report.tables import cells_csv

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = "page.html.j2", "style.css", "script.js"
MOST_NOTES = 8
"""More of them are folded."""


def render(document: Document, svgs: Mapping[str, str], downloads: Mapping[str, str]) -> str:
    """The page. svgs: the drawn figures by stem; downloads: file name to text, offered as links."""
    numbered = enumerate(svgs.items())
    shared = share_letters({stem: inline_svg(svg, prefix=f"f{number}-") for number, (stem, svg) in numbered})
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["slug"] = slug
    environment.filters["cells_csv"] = cells_csv
    environment.filters["condense"] = lambda table: condense(table, numbers=True)
    return environment.get_template(TEMPLATE).render(
        document=document,
        anchors=_anchors(document.sections),
        families=_families,
        most_notes=MOST_NOTES,
        svgs={stem: Markup(svg) for stem, svg in shared.svgs.items()},
        letters=Markup(shared.letters),
        downloads=downloads,
        style=Markup((HERE / STYLE).read_text(encoding="utf-8")),
        script=Markup((HERE / SCRIPT).read_text(encoding="utf-8")),
    )


def data_uri(text: str) -> str:
    """A CSV file as a link that holds it."""
    return f"data:text/csv;base64,{base64.b64encode(text.encode()).decode()}"


def _anchors(sections: tuple[Section, ...]) -> list[str]:
    """A unique anchor per section, in their order."""
    seen: Counter[str] = Counter()
    anchors = []
    chapter = ""
    for section in sections:
        own = slug(section.title)
        chapter = own if section.level == 2 else chapter
        name = own if section.level == 2 else f"{chapter}-{own}"
        seen[name] += 1
        anchors.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return anchors


def _families(section: Section) -> list[list[Figure]]:
    """Figures that follow each other in one family, together; the others alone."""
    return [list(figures) for _, figures in groupby(section.figures, key=lambda figure: figure.family or figure.stem)]

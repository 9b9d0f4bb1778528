"""One HTML page with everything in it: no request leaves it, and it works without JavaScript and in print."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report.analysis.points import Points
from harness.report.chapters.document import ROWS_FILE, SUMMARY_FILE, Document
from harness.report.chapters.sections import Section
from harness.report.chapters.table import Table, condense
from harness.report.figures.frame import Figure
from harness.report.formats.csv import points_csv, table_csv
from harness.report.formats.svg import inline_svg, letters_of, without_letters
from harness.report.labels import numbered, slug

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = "page.html.j2", "style.css", "script.js"
MOST_NOTES = 8
"""More of them are folded."""


def document_html(document: Document, svgs: Mapping[str, str]) -> str:
    """The page. svgs: the drawn figures by stem."""
    inlined = {stem: inline_svg(svg, prefix=f"f{number}-") for number, (stem, svg) in enumerate(svgs.items())}
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"data_uri": data_uri, "slug": slug, "condense": lambda table: condense(table, numbers=True)}
    script = (HERE / SCRIPT).read_text(encoding="utf-8")
    return environment.get_template(TEMPLATE).render(
        document=document,
        anchors=_anchors(document.sections),
        families=_families,
        most_notes=MOST_NOTES,
        svgs={stem: Markup(without_letters(svg)) for stem, svg in inlined.items()},
        letters=Markup(letters_of(inlined.values())),
        downloads={name: document.points[name] for name in (SUMMARY_FILE, ROWS_FILE)},
        style=Markup((HERE / STYLE).read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def data_uri(source: Points | Table) -> str:
    """A CSV file as a link that holds it."""
    text = points_csv(source) if isinstance(source, Points) else table_csv(source)
    return f"data:text/csv;base64,{base64.b64encode(text.encode()).decode()}"


def _anchors(sections: tuple[Section, ...]) -> list[str]:
    """A unique anchor per section, in their order."""
    names, chapter = [], ""
    for section in sections:
        own = slug(section.title)
        chapter = own if section.level == 2 else chapter
        names.append(own if section.level == 2 else f"{chapter}-{own}")
    return numbered(names)


def _families(section: Section) -> list[list[Figure]]:
    """Figures that follow each other in one family, together; the others alone."""
    return [list(figures) for _, figures in groupby(section.figures, key=lambda figure: figure.family or figure.stem)]

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.records.run_folder import TRACE_FILE
from harness.report.analysis.points import make_points
from harness.report.formats.html import data_uri
from harness.report.formats.page import write_report
from harness.report.formats.svg import inline_svg, letters_of, without_letters
from harness.report.read.runs import collect

VOID = {"meta", "link", "input", "br", "img"}
EVIL = '<script>alert("x")</script>'


@dataclass(kw_only=True)
class Element:
    """A start tag: its attributes and the text inside it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass(kw_only=True)
class Page(HTMLParser):
    """All elements of a page, and what is wrong with its nesting."""

    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag=tag, attributes={name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag=tag, attributes={name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop().tag != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    assert page.wrong == []
    assert page.open == []
    return page


def page_of(synthetic: Any, out: Path) -> tuple[Page, str]:
    write_report(collect([synthetic.root]), out)
    text = (out / "report.html").read_text(encoding="utf-8")
    return parsed(text), text


@pytest.fixture
def demo(demo_page: Path) -> tuple[Page, str]:
    text = demo_page.read_text(encoding="utf-8")
    return parsed(text), text


def test_ids_are_unique_and_every_anchor_leads_somewhere(demo: tuple[Page, str]) -> None:
    page, _ = demo
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    targets = [element.attributes["href"] for element in page.elements if "href" in element.attributes]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    assert {"overview", "sudoku", "how-to-reproduce-each-row", "left-out"} <= set(ids)


def test_nothing_on_the_page_is_fetched_from_anywhere(demo: tuple[Page, str]) -> None:
    page, text = demo
    links = [value for item in page.elements for name, value in item.attributes.items() if name in ("src", "href")]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    (policy,) = [item.attributes["content"] for item in page.all("meta") if "http-equiv" in item.attributes]
    assert policy.startswith("default-src 'none';")


def test_the_policy_lets_the_page_s_own_script_run_and_no_other(demo: tuple[Page, str]) -> None:
    page, _ = demo
    (policy,) = [item.attributes["content"] for item in page.all("meta") if "http-equiv" in item.attributes]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    (script,) = page.all("script")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert (rules["base-uri"], rules["form-action"]) == ("'none'", "'none'")
    assert not [name for item in page.elements for name in item.attributes if name.startswith("on")]


def test_every_figure_stands_inline_with_its_points_to_download(demo: tuple[Page, str], demo_page: Path) -> None:
    page, _ = demo
    links = {
        item.attributes["download"]: item.attributes["href"] for item in page.all("a") if "download" in item.attributes
    }
    figures = {path.name: path for path in (demo_page.parent / "figures").glob("*.csv")}
    whole = {name: demo_page.parent / name for name in ("summary.csv", "table.csv")}
    for name, path in {**figures, **whole}.items():
        assert base64.b64decode(links[name].removeprefix("data:text/csv;base64,")).decode() == path.read_text()
    # One more <svg> holds the letters of all figures.
    assert len(page.all("svg")) - 1 == len(page.all("figure")) == len(figures)
    assert "sudoku-exact-match.csv" in links


def test_tables_summary_commands_and_what_was_left_out_stand_on_the_page(demo: tuple[Page, str]) -> None:
    page, text = demo
    (verdict,) = [item for item in page.all("section") if item.attributes.get("class") == "verdict"]
    # 158, 162 and 166 of 256.
    assert "EGSPO-SA reached 63.3 %" in " ".join(verdict.text.split())
    commands = [item.text for item in page.all("code")]
    commands = [text for text in commands if text.startswith("harness run")]
    assert len(commands) == 4
    assert all(command.startswith("harness run --method ") for command in commands)
    assert "unfinished (failed: loss became NaN), 24 updates, 7 evaluations" in text
    captions = [item.text for item in page.all("caption")]
    assert captions[:3] == ["Sudoku, exact match", "Sudoku, cell accuracy", "Sudoku, validity"]
    assert captions[-2:] == ["Sudoku, tiny model", "Left out"]
    assert sum(caption.startswith("Table 1, published") for caption in captions) == 2


def test_curves_against_five_axes_are_one_family_and_completions_another(demo: tuple[Page, str]) -> None:
    page, _ = demo
    tabs = [item.attributes["data-tab"] for item in page.elements if "data-tab" in item.attributes]
    assert tabs == ["FLOPs", "Forward FLOPs", "Samples", "Updates", "Seconds", "EGSPO-SA", "ESPO"]


def test_text_from_outside_is_never_markup(synthetic: Any, tmp_path: Path) -> None:
    synthetic.run(seed=0)
    synthetic.run(seed=1, method="<b>mine&more")
    synthetic.run(seed=2, state="failed", reason=EVIL)
    synthetic.run(seed=1, config_hash="0badf00d", settings={**synthetic.settings, "note": EVIL})
    tokens = (EVIL, "--> ]]>", "\n", "数")
    synthetic.run(seed=1, method="egspo", traces=[synthetic.trace(tokens=tokens, prompt=EVIL, greedy=())])
    page, text = page_of(synthetic, tmp_path / "out")
    assert len(page.all("script")) == 1
    assert EVIL not in text
    assert "<b>mine" not in text
    assert text.count("&lt;script&gt;") >= 3
    assert "&lt;b&gt;mine&amp;more" in text


def test_a_damaged_trace_is_listed_and_the_run_stays(synthetic: Any, tmp_path: Path) -> None:
    (synthetic.run() / TRACE_FILE).write_text('{"schema": 7}\n')
    _, text = page_of(synthetic, tmp_path / "out")
    assert "no picture of a completion: trace has schema 7, this version reads 1" in text
    assert "EGSPO-SA reached" in text


SVG = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="403.2pt" height="2pt" viewBox="0 0 403.2 2" \
xmlns="http://www.w3.org/2000/svg" version="1.1">
 <defs>
  <style type="text/css">*{stroke-linejoin: round}</style>
 </defs>
 <g id="a"><!-- words -->
  <path id="b" d="M 10.123456 2.5
L 3 4" clip-path="url(#c)" style="fill: #222222; stroke: #0072b2"/>
  <use xlink:href="#b" x="0.123456"/>
 </g>
</svg>
"""


def test_an_svg_goes_into_the_page_small_with_names_of_its_own_and_in_the_page_s_colours() -> None:
    assert inline_svg(SVG, prefix="f1-") == (
        '<svg viewBox="0 0 403.2 2"><g id="f1-a"><path id="f1-b" d="M 10.12 2.5 L 3 4" clip-path="url(#f1-c)" '
        'style="fill: var(--ink); stroke: #0072b2"/><use href="#f1-b" x="0.123456"/></g></svg>'
    )


def test_figures_share_the_shapes_of_their_letters() -> None:
    letter = '<path id="DejaVuSans-41" d="M 1 2" transform="scale(0.015625)"/>'
    use = '<use href="#DejaVuSans-41" transform="translate(61.328125 0)"/>'
    svgs = {name: inline_svg(f"<svg><defs>{letter}</defs>{use}</svg>", prefix=f"{name}-") for name in ("f1", "f2")}
    assert letters_of(svgs.values()) == letter
    assert {without_letters(svg) for svg in svgs.values()} == {
        '<svg><use href="#DejaVuSans-41" transform="translate(61.32 0)"/></svg>'
    }


def test_a_download_link_holds_the_file() -> None:
    assert data_uri(make_points("a b", [])) == "data:text/csv;base64,YSxiCg=="

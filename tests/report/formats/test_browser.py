"""The page in headless Chromium: it sorts, filters, switches, follows the theme, and asks nobody for anything.

HARNESS_SCREENSHOT_RUNS=FOLDER makes the pictures of docs/images from the runs below FOLDER.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from harness.report.formats.page import write_report
from harness.report.read.runs import collect

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOT_RUNS = os.environ.get("HARNESS_SCREENSHOT_RUNS", "")
IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")
DARK, LIGHT = "--blink-settings=preferredColorScheme=0", "--blink-settings=preferredColorScheme=1"
RESULT = re.compile(r'<pre id="result">(.*?)</pre>', re.DOTALL)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)"),
]


def browse(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Chromium on a page, with a profile folder of its own."""
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)


def with_script(source: str, script: str) -> str:
    """The page with one more script at its end."""
    assert source.endswith("</body>\n</html>")
    return f"{source.removesuffix('</body>' + chr(10) + '</html>')}<script>{script}</script></body>\n</html>"


def ask(page: Path, tmp_path: Path, script: str, *options: str) -> Mapping[str, Any]:
    """What `script` leaves in its object `result` at the end of the page. Fails on any message to the console."""
    body = f"const result = {{}};\n{script}\n"
    write = 'const out = document.createElement("pre"); out.id = "result"; out.textContent = JSON.stringify(result);'
    probe = tmp_path / "probe.html"
    source = page.read_text(encoding="utf-8")
    asking = f"{body}{write} document.body.append(out);"
    digest = base64.b64encode(hashlib.sha256(asking.encode()).digest()).decode()
    allowed = source.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    probe.write_text(with_script(allowed, asking), encoding="utf-8")
    done = browse(probe, tmp_path / "profile", "--virtual-time-budget=2000", "--dump-dom", *options)
    assert "CONSOLE" not in done.stderr
    found = RESULT.search(done.stdout)
    assert found, done.stdout[-500:]
    return json.loads(unescape(found.group(1)))


def test_a_script_that_is_not_the_page_s_own_does_not_run(demo_page: Path, tmp_path: Path) -> None:
    injected = tmp_path / "injected.html"
    script = 'document.body.id = "taken";'
    injected.write_text(with_script(demo_page.read_text(encoding="utf-8"), script), encoding="utf-8")
    done = browse(injected, tmp_path / "profile", "--virtual-time-budget=2000", "--dump-dom")
    assert 'id="taken"' not in done.stdout
    assert "Content Security Policy" in done.stderr


TABLE = """
const table = document.querySelector(".table table");
const column = (index) => [...table.tBodies[0].rows].filter((row) => !row.hidden)
  .map((row) => row.cells[index].textContent.trim());
const heads = [...table.tHead.rows[0].cells];
const click = (title) => {
  const head = heads.find((cell) => cell.textContent.startsWith(title));
  head.querySelector("button").click();
  return head.getAttribute("aria-sort");
};
"""


def test_a_table_sorts_by_number_and_by_name_and_back(demo_page: Path, tmp_path: Path) -> None:
    script = """
    const last = heads.findIndex((cell) => cell.textContent.startsWith("Last"));
    result.first = click("Last"); result.rising = column(last).map(parseFloat);
    result.second = click("Last"); result.falling = column(last).map(parseFloat);
    click("Method"); result.names = column(0); result.cleared = heads[last].getAttribute("aria-sort");
    """
    found = ask(demo_page, tmp_path, TABLE + script)
    assert (found["first"], found["second"], found["cleared"]) == ("ascending", "descending", None)
    # 36 to 46 of 256 (control), 90, 140 to 158 and 158 to 166.
    assert found["rising"] == [16.0, 35.2, 58.2, 63.3]
    assert found["falling"] == found["rising"][::-1]
    assert found["names"] == ["EGSPO", "EGSPO-SA", "EGSPO-SA, random-reward control", "ESPO"]


def test_bounds_and_thousands_sort_as_numbers_and_words_come_last(demo_page: Path, tmp_path: Path) -> None:
    script = """
    const last = heads.findIndex((cell) => cell.textContent.startsWith("Last"));
    ["1,319 [1, 2]", "<0.001", "not reached", "-3.5"].forEach((text, index) => {
      table.tBodies[0].rows[index].cells[last].textContent = text;
    });
    click("Last"); result.rising = column(last);
    click("Last"); result.falling = column(last);
    """
    found = ask(demo_page, tmp_path, TABLE + script)
    assert found["rising"] == ["-3.5", "<0.001", "1,319 [1, 2]", "not reached"]
    assert found["falling"] == ["1,319 [1, 2]", "<0.001", "-3.5", "not reached"]


def test_a_table_is_filtered_by_words_in_any_order(demo_page: Path, tmp_path: Path) -> None:
    script = """
    const box = table.closest(".table").querySelector("input");
    const filter = (text) => { box.value = text; box.dispatchEvent(new Event("input")); return column(0); };
    result.two = filter("RANDOM egspo-sa"); result.count = box.nextElementSibling.textContent;
    result.none = filter("nothing like it"); result.all = filter(" ").length;
    """
    found = ask(demo_page, tmp_path, TABLE + script)
    assert found["two"] == ["EGSPO-SA, random-reward control"]
    assert found["count"] == "1 of 4 rows"
    assert (found["none"], found["all"]) == ([], 4)


def test_one_figure_of_a_family_is_shown_at_a_time(demo_page: Path, tmp_path: Path) -> None:
    script = """
    const shown = () => [...document.querySelector(".family").querySelectorAll(":scope > .tab")]
      .filter((tab) => !tab.hidden)
      .map((tab) => tab.dataset.tab);
    result.before = shown();
    [...document.querySelectorAll(".tabs")[0].children].find((button) => button.textContent === "Samples").click();
    result.after = shown();
    """
    found = ask(demo_page, tmp_path, script)
    assert (found["before"], found["after"]) == (["FLOPs"], ["Samples"])


GROUND = "const ground = () => getComputedStyle(document.body).backgroundColor;\nresult.start = ground();\n"
SWITCH = 'const button = document.getElementById("theme");\n'


@pytest.mark.parametrize(("option", "ground"), [(DARK, "rgb(19, 21, 24)"), (LIGHT, "rgb(247, 247, 245)")])
def test_the_page_follows_the_system_s_theme(demo_page: Path, tmp_path: Path, option: str, ground: str) -> None:
    assert ask(demo_page, tmp_path, GROUND, option)["start"] == ground


def test_the_switch_goes_from_auto_to_light_to_dark_and_colours_the_figures_too(
    demo_page: Path, tmp_path: Path
) -> None:
    script = """
    const paper = () => getComputedStyle(document.querySelector(".canvas svg path")).fill;
    result.steps = [button.textContent];
    for (let n = 0; n < 3; n++) { button.click(); result.steps.push([button.textContent, ground(), paper()]); }
    """
    steps = ask(demo_page, tmp_path, GROUND + SWITCH + script, LIGHT)["steps"]
    assert steps == [
        "Theme: auto",
        ["Theme: light", "rgb(247, 247, 245)", "rgb(255, 255, 255)"],
        ["Theme: dark", "rgb(19, 21, 24)", "rgb(27, 30, 34)"],
        ["Theme: auto", "rgb(247, 247, 245)", "rgb(255, 255, 255)"],
    ]


def test_nothing_is_requested_and_nothing_is_wider_than_a_phone(demo_page: Path, tmp_path: Path) -> None:
    script = """
    const names = performance.getEntriesByType("resource").map((entry) => entry.name);
    result.requests = names.filter((name) => !name.startsWith("data:"));
    const wide = [...document.querySelectorAll("main > *, main section > *")]
      .filter((item) => item.getBoundingClientRect().right > innerWidth + 1);
    result.wide = wide.map((item) => item.outerHTML.slice(0, 80));
    result.scrolls = document.documentElement.scrollWidth > innerWidth;
    result.width = innerWidth;
    """
    found = ask(demo_page, tmp_path, script, "--window-size=500,900")
    assert found["width"] <= 500
    assert (found["requests"], found["wide"], found["scrolls"]) == ([], [], False)


def test_on_a_phone_nothing_scrolls_sideways_but_the_chapters_and_no_word_is_broken(
    demo_page: Path, tmp_path: Path
) -> None:
    script = """
    document.body.style.width = "375px";
    const boxes = [...document.querySelectorAll("main, main .scroll, main .canvas, main pre")];
    const wide = boxes.filter((box) => box.scrollWidth > box.clientWidth + 1);
    result.scrolls = wide.map((box) => box.outerHTML.slice(0, 90));
    const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
    result.broken = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.parentElement.closest("svg, code, details, caption")) continue;
      for (const found of node.data.matchAll(/[\\p{L}\\d.,]+/gu)) {
        const range = document.createRange();
        range.setStart(node, found.index);
        range.setEnd(node, found.index + found[0].length);
        const parts = [...range.getClientRects()].filter((box) => box.width > 0);
        const tops = new Set(parts.map((box) => Math.round(box.top)));
        if (tops.size > 1) result.broken.push(found[0]);
      }
    }
    """
    found = ask(demo_page, tmp_path, script, "--window-size=500,900")
    assert found == {"scrolls": [], "broken": []}


def test_on_a_phone_a_tap_opens_a_figure_with_letters_of_nine_pixels_and_more_and_the_page_stays_as_wide(
    demo_page: Path, tmp_path: Path
) -> None:
    script = """
    document.body.style.width = "390px";
    const shown = [...document.querySelectorAll(".canvas")].filter((box) => box.clientWidth > 0);
    // A letter of 100 units is drawn at the scale of its group.
    const size = (group) => Math.hypot(group.getScreenCTM().a, group.getScreenCTM().b) * 100;
    const least = (box) => Math.min(...[...box.querySelectorAll("svg g[transform*=scale]")].map(size));
    result.small = shown.filter((box) => { box.focus(); return least(box) < 9; }).map((box) => box.ariaLabel);
    result.still = shown.filter((box) => { box.blur(); return least(box) < 5; }).map((box) => box.ariaLabel);
    shown[0].focus();
    result.open = getComputedStyle(shown[0], "::after").content;
    result.count = shown.length;
    result.scrolls = document.documentElement.scrollWidth > innerWidth;
    """
    found = ask(demo_page, tmp_path, script, "--window-size=500,900")
    assert found.pop("count") >= 4
    assert found == {"small": [], "still": [], "open": '"Tap beside it to close"', "scrolls": False}


def test_an_error_in_a_script_would_be_seen(demo_page: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        ask(demo_page, tmp_path, "result.x = missing;")


@pytest.mark.skipif(not SCREENSHOT_RUNS, reason="HARNESS_SCREENSHOT_RUNS names no folder with runs")
@pytest.mark.parametrize(
    ("name", "size", "theme"), [("report", "1280,1500", LIGHT), ("report-phone", "500,1080", DARK)]
)
def test_screenshots_for_the_documentation(tmp_path: Path, name: str, size: str, theme: str) -> None:
    write_report(collect([Path(SCREENSHOT_RUNS)]), tmp_path / "out")
    IMAGES.mkdir(parents=True, exist_ok=True)
    target = IMAGES / f"{name}.png"
    page = tmp_path / "out" / "report.html"
    browse(page, tmp_path / "profile", theme, f"--window-size={size}", f"--screenshot={target}")
    assert target.stat().st_size > 10_000

"""What mkdocs does to the pages of docs/: links out of the folder, lists as GitHub reads them, the tutorial as a page.

Pages are written for GitHub. A link to a file of the repository outside docs/ becomes the file's name as code; one that
leads nowhere ends the build.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[2]
OUTWARD = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")
ITEM = re.compile(r"( *)([-*]|\d+\.) ")
FENCE = re.compile(r" *(```|~~~)")
NOTEBOOK, PAGE = "tutorial.ipynb", "tutorial.md"


def on_files(files: Files, config: Any) -> Files:
    """Adds the tutorial as a page, made from its notebook."""
    from mkdocs.structure.files import File

    cells = json.loads((ROOT / "docs" / NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    files.append(File.generated(config, PAGE, content=notebook_markdown(cells)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page as Python-Markdown has to read it to show what GitHub shows."""
    return spaced_lists(inside(markdown, Path(page.file.src_uri).parent)).replace(f"]({NOTEBOOK})", f"]({PAGE})")


def notebook_markdown(cells: list[dict[str, Any]]) -> str:
    """The cells of a notebook one after another; those with code as blocks of Python."""
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def inside(markdown: str, folder: Path) -> str:
    """Links that leave docs/ as the text that they have, in code. folder: of the page, below docs/."""

    def replaced(link: re.Match[str]) -> str:
        place = (ROOT / "docs" / folder / link[2]).resolve()
        if place.is_relative_to(ROOT / "docs"):
            return link[0]
        if not place.exists():
            raise FileNotFoundError(f"a page links to '{link[2]}', which is not in the repository")
        name = place.relative_to(ROOT).as_posix()
        return f"`{name}`" if link[1].strip("`") in (name, place.name) else f"{link[1]} (`{name}`)"

    return OUTWARD.sub(replaced, markdown)


def spaced_lists(markdown: str) -> str:
    """With an empty line before each list, and nested items four spaces in, where GitHub needs neither."""
    lines: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= bool(FENCE.match(line))
        before = lines[-1] if lines else ""
        item = None if fenced else ITEM.match(line)
        in_list = before.startswith(" ") or ITEM.match(before) is not None
        if item and before.strip() and not in_list:
            lines.append("")
        nested = not fenced and in_list and line.startswith("  ") and not line.startswith("    ")
        lines.append(f"  {line}" if nested else line)
    return "\n".join(lines) + "\n"

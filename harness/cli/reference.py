"""`python -m harness.cli.reference docs` writes the pages of a folder of docs that are made from the code."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from harness.app.reference import PAGES


def write_pages(folder: Path) -> None:
    """Replaces the pages in `folder`, and says where they are."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
        typer.echo(f"{folder / name}")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))

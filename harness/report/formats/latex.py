"""Tables as LaTeX with booktabs: `\\input` them in a document that loads booktabs, graphicx and textcomp."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from harness.report.chapters.table import Column, Table

WIDE = 8
ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\S{}",
    "°": r"\textdegree{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "λ": r"$\lambda$",
}
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def latex(table: Table) -> str:
    """A `table` environment: caption above, three rules, notes below; scaled to the line where it is wide."""
    wide = len(table.columns) > WIDE
    lines = [
        "% needs \\usepackage{booktabs,graphicx,textcomp}",
        "\\begin{table}[tbp]",
        "\\centering",
        f"\\caption{{{escape_latex(table.title)}}}",
        *(["\\resizebox{\\linewidth}{!}{%"] if wide else []),
        f"\\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in table.columns)}}}",
        "\\toprule",
        *_head(table.columns),
        "\\midrule",
        *(_row(table, row) for row in range(len(table.cells))),
        "\\bottomrule",
        f"\\end{{tabular}}{'}' if wide else ''}",
        *(f"\\par\\smallskip\\footnotesize {escape_latex(text)}" for text in (*table.supports, *table.notes)),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _head(columns: Sequence[Column]) -> Iterator[str]:
    if any(column.group for column in columns):
        cells, rules, start = [], [], 1
        for group, found in groupby(columns, key=lambda column: column.group):
            width = len(list(found))
            cells.append(f"\\multicolumn{{{width}}}{{c}}{{{escape_latex(group)}}}" if group else "& " * (width - 1))
            if group:
                rules.append(f"\\cmidrule(lr){{{start}-{start + width - 1}}}")
            start += width
        yield " & ".join(cells) + " \\\\"
        yield " ".join(rules)
    yield _line([escape_latex(column.title.removeprefix(column.group).strip()) for column in columns])


def _row(table: Table, row: int) -> str:
    cells = [escape_latex(cell) for cell in table.cells[row]]
    return _line([f"\\textbf{{{cell}}}" if (row, place) in table.bold else cell for place, cell in enumerate(cells)])


def _line(cells: Sequence[str]) -> str:
    # A line that starts with [ would be read as the option of the \\ before it.
    return " & ".join(f"{{}}{cell}" if cell.startswith(("[", "*")) else cell for cell in cells) + " \\\\"


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands, on one line; letters outside Latin-1 that it may lack become `?`."""
    flat = " ".join(text.split())
    escaped = "".join(ESCAPES.get(letter, letter) for letter in flat)
    raised = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda found: f"\\textsuperscript{{{found[0].translate(SUPERSCRIPTS)}}}", escaped)
    return "".join(letter if ord(letter) < 256 else "?" for letter in raised)

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.report.chapters.published import figure_1, table_1, table_2
from harness.report.chapters.table import Column, Table
from harness.report.formats.latex import escape_latex, latex
from harness.report.read.published import load_published

PUBLISHED = load_published()
ENGINE = next((path for name in ("pdflatex", "tectonic") if (path := shutil.which(name))), None)
AWKWARD = Table(
    title="100 % & more_or_less #1",
    columns=(Column(title="Method"), Column(title="A 1", numeric=True, group="A"), Column(title="A 2", group="A")),
    cells=(("[x]", "1.0†", "a\\b{c}"), ("*", "94.3≈§¹²", "~^$ <|>")),
    notes=("‡ One seed ± 2.",),
    supports=("Nothing: 5 % of λ.",),
    bold=frozenset({(1, 1)}),
)


def test_the_table_has_three_rules_and_its_notes() -> None:
    lines = latex(AWKWARD).splitlines()
    assert [line for line in lines if line.endswith("rule")] == ["\\toprule", "\\midrule", "\\bottomrule"]
    assert "\\begin{tabular}{lrl}" in lines
    assert "\\caption{100 \\% \\& more\\_or\\_less \\#1}" in lines
    assert " & \\multicolumn{2}{c}{A} \\\\" in lines
    assert "\\cmidrule(lr){2-3}" in lines
    assert "Method & 1 & 2 \\\\" in lines
    assert "{}[x] & 1.0\\textdagger{} & a\\textbackslash{}b\\{c\\} \\\\" in lines
    assert "\\par\\smallskip\\footnotesize Nothing: 5 \\% of $\\lambda$." in lines


def test_bold_and_raised_numbers() -> None:
    assert "\\textbf{94.3$\\approx$\\S{}\\textsuperscript{12}}" in latex(AWKWARD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % of a_b & c#d", "50 \\% of a\\_b \\& c\\#d"),
        ("two\nlines", "two lines"),
        ("25²", "25\\textsuperscript{2}"),
        ("naïve", "naïve"),
        ("漢", "?"),
    ],
)
def test_text_is_escaped(text: str, expected: str) -> None:
    assert escape_latex(text) == expected


@pytest.mark.parametrize("table", [figure_1(PUBLISHED), table_1(PUBLISHED), table_2(PUBLISHED), AWKWARD])
def test_every_line_has_as_many_cells_as_columns_and_braces_are_paired(table: Table) -> None:
    text = latex(table)
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    assert len(body) == len(table.cells)
    assert all(line.endswith(" \\\\") for line in body)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(table.columns) - 1}
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count("\\begin{") == text.count("\\end{")
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0


@pytest.mark.slow
@pytest.mark.skipif(ENGINE is None, reason="needs pdflatex or tectonic")
def test_the_tables_compile(tmp_path: Path) -> None:
    assert ENGINE is not None
    tables = "\n".join(latex(table) for table in (figure_1(PUBLISHED), table_1(PUBLISHED), AWKWARD))
    start = "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage{booktabs,graphicx,textcomp}\n"
    (tmp_path / "t.tex").write_text(f"{start}\\begin{{document}}\n{tables}\\end{{document}}\n", encoding="utf-8")
    options = ["-interaction=nonstopmode", "-halt-on-error"] if ENGINE.endswith("pdflatex") else []
    done = subprocess.run([ENGINE, *options, "t.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").is_file()

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.errors import UserError
from harness.report.chapters.choice import Choice
from harness.report.chapters.document import make_document
from harness.report.chapters.table import Column, Table, with_stems
from harness.report.formats.page import write_report, write_tables
from harness.report.read.runs import collect


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FIGURES = {
    "bars-tiny",
    *(f"sudoku-exact_match-{axis}" for axis in ("flops", "forward-flops", "samples", "updates", "seconds")),
    "sudoku-tiny-training",
    "sudoku-tiny-steps",
    "sudoku-tiny-egspo-sa-completion",
}


@pytest.fixture(scope="module")
def demo_report(synthetic_below: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The document and folder of the report of the demo's runs and one that failed."""
    place = tmp_path_factory.mktemp("demo")
    made = synthetic_below(place / "runs")
    made.demo()
    made.run(method="espo", state="failed", reason="loss became NaN")
    return write_report(collect([made.root]), place / "out" / "deep"), place / "out" / "deep"


def test_the_folder_holds_the_pages_the_tables_and_the_figures_in_three_formats(demo_report: tuple[Any, Path]) -> None:
    document, out = demo_report
    figures = {f"figures/{stem}.{kind}" for stem in FIGURES for kind in ("png", "svg", "pdf", "csv")}
    written = {name for name in files(out) if not name.startswith("tables/")}
    assert written == {"report.html", "report.md", "summary.csv", "table.csv", *figures}
    assert {figure.stem for figure in document.figures} == FIGURES


@pytest.mark.slow
def test_two_reports_in_two_processes_are_the_same_bytes(synthetic: Any, tmp_path: Path) -> None:
    synthetic.demo()
    synthetic.run(method="espo", state="failed", reason="loss became NaN")
    code = (
        "import sys; from pathlib import Path; from harness.report.read.runs import collect; from "
        "harness.report.formats.page import write_report; write_report(collect([Path(sys.argv[1])]), Path(sys.argv[2]))"
    )
    for name, hash_seed in (("one", "1"), ("two", "2")):
        arguments = [sys.executable, "-c", code, str(synthetic.root), str(tmp_path / name)]
        subprocess.run(arguments, check=True, env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)})
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_every_link_of_the_page_leads_to_a_file(demo_report: tuple[Any, Path]) -> None:
    _, out = demo_report
    links = re.findall(r"\]\(([^)]+)\)", (out / "report.md").read_text())
    # Per figure or family its picture, three files and the other axes; per linked table two.
    assert sum(link.startswith("figures/") for link in links) == 4 * (len(FIGURES) - 4) + 4
    assert {link for link in links if link.endswith(".md")}
    assert all((out / link).is_file() for link in links)


def test_the_page_gives_the_command_of_every_row_and_what_was_left_out(demo_report: tuple[Any, Path]) -> None:
    page = (demo_report[1] / "report.md").read_text()
    assert page.count("```sh\nharness run --method ") == 3
    assert page.count("--reward random") == 1
    assert (
        "| sudoku/espo/tiny/0a1b2c3d-seed0 | unfinished (failed: loss became NaN), 24 updates, 7 evaluations |" in page
    )
    assert page.count("| EGSPO-SA, random-reward control | random |") == 1


def test_a_run_evaluated_twice_has_its_command_once(synthetic: Any, tmp_path: Path) -> None:
    again = synthetic.evaluation("last", 24, synthetic.metrics(90), data="dir:papers")
    synthetic.run(records=[*synthetic.learning(38, 158), again])
    write_report(collect([synthetic.root]), tmp_path / "out")
    assert (tmp_path / "out" / "report.md").read_text().count("harness run --method") == 1


def test_an_unknown_metric_is_refused_before_anything_is_written(synthetic: Any, tmp_path: Path) -> None:
    synthetic.run()
    with pytest.raises(UserError, match="Did you mean 'cell_accuracy'"):
        write_report(collect([synthetic.root]), tmp_path / "out", Choice(metric="cell_acuracy"))
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_one_sentence(synthetic: Any, tmp_path: Path) -> None:
    synthetic.run()
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match=r"cannot be written to .*--out DIR"):
        write_report(collect([synthetic.root]), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_read_only_place_is_one_sentence(synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic.run()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"Read-only file system.*--out DIR"):
        write_report(collect([synthetic.root]), tmp_path / "out")


def test_a_run_without_curves_still_makes_a_report(synthetic: Any, tmp_path: Path) -> None:
    synthetic.run(records=[synthetic.evaluation("last", 24, synthetic.metrics(128))])
    document = write_report(collect([synthetic.root]), tmp_path / "out")
    assert [figure.stem for figure in document.figures] == ["bars-tiny", "sudoku-tiny-training", "sudoku-tiny-steps"]
    assert "50.0 [43.9, 56.1]‡" in (tmp_path / "out" / "report.md").read_text()


def test_reports_and_lists_never_import_torch_and_reports_only_leaf_modules_of_the_harness(
    synthetic: Any, tmp_path: Path
) -> None:
    synthetic.demo()
    code = (
        "import sys; from pathlib import Path; from harness.cli.report import report; "
        "from harness.cli.list import list_runs; runs = [Path(sys.argv[1])]; "
        "report(runs, Path(sys.argv[2])); print('MODULES', *sorted(sys.modules), 'MODULES'); "
        "list_runs(runs); print('MODULES', *sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(synthetic.root), str(tmp_path / "out")],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    _, reporting, _, listing = done.stdout.split("MODULES")
    modules = set(reporting.split())
    assert set(listing.split()).isdisjoint({"torch", "transformers", "accelerate", "peft", "pandas", "statsmodels"})
    ours = {name.split(".")[1] for name in modules if name.startswith("harness.")}
    assert ours <= {"cli", "config", "data", "distributed", "errors", "records", "registry", "report", "task"}


def test_every_table_is_written_in_three_formats_and_the_csv_files_are_readable(synthetic: Any, tmp_path: Path) -> None:
    synthetic.demo()
    tables = make_document(collect([synthetic.root])).tables
    short = [table for table in tables if len(table.cells) <= 60]
    write_tables(short, tmp_path)
    assert len(short) > 10
    for table in short:
        stem = table.stem
        assert (tmp_path / f"{stem}.md").read_text().startswith(f"# {table.title}\n\n| ")
        assert (tmp_path / f"{stem}.tex").read_text().count("\\begin{tabular}") == 1
        frame = pd.read_csv(tmp_path / f"{stem}.csv")
        assert list(frame.columns) == [column.title for column in table.columns]
        assert len(frame) == len(table.cells)


def test_the_budgets_of_all_tasks_are_one_file(demo_report: tuple[Any, Path]) -> None:
    assert set(pd.read_csv(demo_report[1] / "tables" / "budget.csv").quantity) == {"area", "budget"}


def test_a_table_of_many_rows_has_no_latex(tmp_path: Path) -> None:
    write_tables(
        [Table(title="Long", columns=(Column(title="A"),), cells=(("x",),) * 61, notes=(), stem="long")], tmp_path
    )
    assert {path.name for path in tmp_path.iterdir()} == {"long.md", "long.csv"}


def test_two_tables_of_one_title_have_two_files() -> None:
    table = Table(title="A: b/c, %", columns=(), cells=(), notes=())
    assert [named.stem for named in with_stems([table, table])] == ["a-b-c", "a-b-c--2"]


@pytest.mark.slow
def test_a_hundred_runs_take_less_than_ten_seconds(synthetic: Any, tmp_path: Path) -> None:
    for method in ("egspo", "egspo-sa", "d1", "agrpo", "espo"):
        for seed in range(20):
            synthetic.run(
                method=method, seed=seed, config_hash=f"{method:_<8}", records=synthetic.learning(38, 120 + seed)
            )
    start = time.process_time()
    write_report(collect([synthetic.root]), tmp_path / "out")
    assert time.process_time() - start < 10

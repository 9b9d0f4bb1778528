from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from harness import registry
from harness.cli.list import list_runs
from harness.cli.report import report
from harness.cli.terminal.tables import plain_table, show_table
from harness.errors import UserError
from harness.records.run_folder import CONFIG_FILE


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_report_prints_the_table_the_notes_and_the_paths(synthetic: Any, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.demo()
    synthetic.run(method="espo", state="running")
    report([synthetic.root], Path("out"))
    printed = capsys.readouterr().out
    assert "Sudoku, exact match, model tiny†, recipe tiny, data builtin†" in printed
    assert "EGSPO-SA, random-reward control  random" in printed
    assert "Page:    out/report.html" in printed
    assert "Text:    out/report.md" in printed
    assert "Figures: 9 in out/figures" in printed
    assert "Left out: 1; the reasons" in printed
    assert max(len(line) for line in printed.splitlines()) > 100


def test_a_report_as_a_document_has_the_rows_of_the_overview_and_the_files(
    synthetic: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic.demo()
    synthetic.run(method="espo", state="running")
    report([synthetic.root], Path("out"), figures="bars", as_json=True)
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    rows = {(one["method"], one["reward"]): one for one in found["rows"]}
    assert len(rows) == len(found["rows"])
    assert {(one["task"], one["metric"]) for one in rows.values()} == {("sudoku", "exact_match")}
    assert rows["egspo-sa", "task"]["seeds"] == [0, 1, 2]
    assert rows["egspo-sa", "task"]["low"] < rows["egspo-sa", "task"]["value"] < rows["egspo-sa", "task"]["high"]
    assert rows["egspo-sa", "task"]["decoding"] == {"num_steps": 8, "temperature": 0.0}
    assert (found["page"], found["text"]) == ("out/report.html", "out/report.md")
    assert all(Path(name).is_file() for name in (*found["figures"], *found["tables"], *found["numbers"]))
    assert (len(found["figures"]), len(found["left_out"]), shown.err) == (1, 1, "")


METHOD_FILE = """
from harness.registry import method

raise SystemExit("was run")

@method("mine", title="Mine (2025)", colour="#123456", ablations=("size",))
class Mine: ...
"""


@pytest.mark.slow
def test_a_users_own_method_has_its_title_its_colour_and_its_ablations(
    synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_included", [])
    for size in (1, 2):
        settings = {**synthetic.settings, "method": {"name": "mine", "size": size}}
        synthetic.run(method="mine", config_hash=f"0000000{size}", settings=settings)
    report([synthetic.root], Path("plain"))
    assert "\nmine (size=1) " in capsys.readouterr().out
    assert "Ablation" not in Path("plain/report.md").read_text()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text(METHOD_FILE)
    report([synthetic.root], Path("titled"), include_path=[Path("own")])
    assert "\nMine (2025) (size=1) " in capsys.readouterr().out
    assert "### Ablation: method.size" in Path("titled/report.md").read_text()
    assert "#123456" in Path("titled/figures/bars-tiny.svg").read_text()


def test_report_reads_and_writes_the_default_folders(synthetic: Any, tmp_path: Path) -> None:
    synthetic.run()
    (tmp_path / "results").mkdir()
    synthetic.root.rename(tmp_path / "results" / "runs")
    report()
    assert (tmp_path / "results" / "report" / "report.md").is_file()


@pytest.mark.parametrize("command", [report, list_runs])
def test_no_folder_and_no_runs_name_the_command_that_makes_one(command: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="harness run --method egspo-sa --task sudoku"):
        command()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"There are no runs in 'empty'.*harness run --method egspo-sa --task sudoku"):
        command([Path("empty")])


def test_report_of_nothing_finished_tells_why(synthetic: Any) -> None:
    synthetic.run(state="failed", reason="loss became NaN")
    with pytest.raises(UserError, match=r"1 left out.*loss became NaN.*harness list"):
        report([synthetic.root], Path("out"))
    assert not Path("out").exists()


def test_list_shows_every_state_with_the_latest_headline_metric(
    synthetic: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic.run(seed=0)
    synthetic.run(seed=1, state="running", updates=9, records=synthetic.learning(38, 158)[:3])
    synthetic.run(seed=2, state="failed", reason="loss became NaN", updates=3, records=[])
    (synthetic.run(seed=3) / CONFIG_FILE).write_text("{")
    list_runs([synthetic.root])
    cells = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if "seed" in line]
    assert cells[0] == "sudoku/egspo-sa/tiny/0a1b2c3d-seed0 finished 24 exact match 62.5 last"
    # 38 + (1 - exp(-1)) / (1 - exp(-3)) * 120 = 117.8: 118 of 256.
    assert (
        cells[1]
        == "sudoku/egspo-sa/tiny/0a1b2c3d-seed1 dead: the same command goes on with it 9 exact match 46.1 update 8"
    )
    assert cells[2] == "sudoku/egspo-sa/tiny/0a1b2c3d-seed2 failed: loss became NaN 3 - - -"
    assert cells[3].startswith("sudoku/egspo-sa/tiny/0a1b2c3d-seed3 corrupt: config.yaml cannot be read")


def test_the_functions_fit_typer(synthetic: Any) -> None:
    synthetic.run()
    application = typer.Typer()
    application.command("report")(report)
    application.command("list")(list_runs)
    runner = CliRunner()
    made = runner.invoke(application, ["report", str(synthetic.root), "--out", "out", "--metric", "validity"])
    assert made.exit_code == 0, made.output
    assert Path("out/figures/sudoku-validity-flops.png").is_file()
    assert "0a1b2c3d-seed0" in runner.invoke(application, ["list", str(synthetic.root)]).output


def test_plain_tables_align_numbers_right_and_text_left() -> None:
    text = plain_table(["Name", "N"], [["a", "1"], ["long name", "100"]], numeric=[False, True])
    assert text.splitlines() == ["Name         N", "---------  ---", "a            1", "long name  100"]


def test_a_terminal_gets_a_drawn_table_without_markup_read_from_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    show_table("Title", ["Name", "N"], [["[red]x[/red] 61.7 [55.6, 67.4]", "1"]], numeric=[False, True])
    printed = capsys.readouterr().out
    assert "[red]x[/red] 61.7 [55.6, 67.4]" in printed
    assert "│" in printed

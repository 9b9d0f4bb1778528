"""What is said to the user: one sentence that a terminal can show."""

from __future__ import annotations

import pytest

from harness.app.plan import RunRequest, plan
from harness.cli.main import main
from harness.errors import UserError, printable, require_name, unknown_choice


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünï→code ✓ 漢字", "plain, ünï→code ✓ 漢字"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("bell\x07 back\x08 null\0", "bell\\x07 back\\x08 null\\x00"),
        ("\x9b2J", "\\x9b2J"),
        ("\udcff", "\\udcff"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("two\nlines\tand a tab\r", "two\nlines\tand a tab\\r"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(text, shown):
    assert printable(text) == shown
    assert str(UserError(text)) == shown


def test_an_unknown_name_is_shown_as_text():
    assert str(unknown_choice("task", "\x1b[2J", ["sudoku"])) == "Unknown task '\\x1b[2J'. Choices: sudoku."


@pytest.mark.parametrize("name", ["GSAI-ML/LLaDA-8B-Instruct", "my model/é", "", "..", "x" * 1024])
def test_ordinary_names_pass(name):
    require_name("model.name", name)


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "--task", "sudoku", "--model"],
        ["run", "--method", "egspo", "--task", "sudoku", "--runs", "runs", "--model"],
        ["export", "--out", "out"],
        ["sft", "--data", "data.jsonl", "--out", "out", "--model"],
    ],
)
@pytest.mark.parametrize("name", ["\x1b[2Jx", "a\0b", "n" * 5000, "n" * 300, "~nobody/x", "a/../b c", "\udcff"])
def test_a_name_that_is_none_ends_every_command_with_one_line(tmp_path, monkeypatch, capsys, arguments, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    assert main([*arguments, name]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("harness: ")
    assert said.isprintable()
    assert len(said) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


@pytest.mark.parametrize("name", ["..", "model/..", ".", "model/../.."])
def test_a_run_s_folder_stays_below_the_runs_whatever_its_model_is_called(tmp_path, monkeypatch, name):
    (tmp_path / "above" / "here" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "here")
    planned = plan(RunRequest(method="egspo", task="sudoku", seed=0, model=name, recipe="tiny", runs=tmp_path / "runs"))
    assert planned.identity.model in ("here", "above")
    assert planned.folder.resolve().parent.parent == (tmp_path / "runs/sudoku/egspo").resolve()

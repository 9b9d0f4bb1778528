"""Files on which `harness grade` once gave a wrong verdict, a wrong count or a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.scoring.sandbox.client import missing

needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
# File to task, items, and those that are right for the robust and, where it matters, for the official grader.
CODE = {
    "humaneval_plain_completion.jsonl": ("humaneval", 1, 1, 0),
    "humaneval_missing_typing_import.jsonl": ("humaneval", 1, 1, 0),
    "mbpp_missing_typing_import.jsonl": ("mbpp", 1, 0, 0),
    "evalplus_mbpp_ids.jsonl": ("mbpp", 1, 1, 1),
    "mbpp_bash_block_first.jsonl": ("mbpp", 1, 1, 1),
    "mbpp_usage_block_last.jsonl": ("mbpp", 1, 1, 1),
    "mbpp_unclosed_fence.jsonl": ("mbpp", 1, 1, 0),
    "mbpp_trailing_fence.jsonl": ("mbpp", 1, 1, 0),
    "mbpp_fence_after_text.jsonl": ("mbpp", 1, 1, 1),
    "mbpp_fence_in_docstring.jsonl": ("mbpp", 1, 1, 0),
    "mbpp_fence_attributes.jsonl": ("mbpp", 1, 1, 0),
}
MATHS = {"lmeval_gsm8k_two_filters.jsonl": ("gsm8k", 2, 1, 1), "bom.jsonl": ("gsm8k", 1, 1, 1)}


def check(capsys: pytest.CaptureFixture[str], file: Path, task: str, n: int, robust: int, official: int | None) -> None:
    assert main(["grade", str(file), "--task", task, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["n"], summary["correct"]["robust"]) == (n, robust)
    assert official in (None, summary["correct"]["official"])


@needs_sandbox
@pytest.mark.parametrize("name", CODE)
def test_programs_get_the_verdict_that_is_wanted(cases_folder, data_folder, monkeypatch, capsys, name):
    monkeypatch.setenv("HARNESS_DATA", str(data_folder))
    check(capsys, cases_folder / "grading" / name, *CODE[name])


@pytest.mark.parametrize("name", MATHS)
def test_files_of_other_forms_are_read(cases_folder, capsys, name):
    check(capsys, cases_folder / "grading" / name, *MATHS[name])


def test_one_answer_of_a_document_is_not_two(cases_folder, capsys):
    file = cases_folder / "grading/lmeval_gsm8k_two_filters.jsonl"
    assert main(["grade", str(file), "--task", "gsm8k", "--k", "2"]) == 2
    assert "pass@2 needs 2 completions of every item; one has 1" in capsys.readouterr().err


def test_an_empty_file_is_an_error(cases_folder, capsys):
    assert main(["grade", str(cases_folder / "grading/empty.jsonl"), "--task", "gsm8k"]) == 2
    assert "nothing to grade" in capsys.readouterr().err


def test_damaged_files_are_one_sentence(cases_folder, capsys):
    files = sorted((cases_folder / "records").iterdir())
    assert len(files) >= 4
    for file in files:
        assert main(["grade", str(file), "--task", file.name.partition("-")[0]]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"harness: {file.name} ")
        assert said.count("\n") == 1

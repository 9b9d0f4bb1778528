"""Grading files of completions: every form of row, streaming, verdict files, pass@k, and what is refused."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.data.sources import DataSource
from harness.evaluation.forms import CompletionFile
from harness.evaluation.grade import grade_items
from harness.evaluation.lookup import Lookup
from harness.evaluation.rows import stream_rows
from harness.records.jsonl import RecordError
from harness.registry import get_task
from harness.scoring.sandbox.client import missing
from harness.task.base import TaskOptions

BUILTIN = DataSource(kind="builtin")
RIGHT, WRONG = "<answer>18</answer>", "<answer>17</answer>"
needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
ROW = {"question": "q", "generation": RIGHT, "ground_truth": 18.0}


def write(path: Path, *rows: dict) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """One row of GSM8K and one of MBPP, laid out as the real data."""
    folder = tmp_path / "data"
    for name in ("gsm8k", "mbpp"):
        (folder / name).mkdir(parents=True)
    write(folder / "gsm8k/test.jsonl", {"question": "q", "answer": "#### 18"})
    row = {"task_id": 11, "prompt": "Double it.", "code": "def f(x): pass", "test_imports": []}
    (folder / "mbpp/sanitized-mbpp.json").write_text(json.dumps([row | {"test_list": ["assert f(2) == 4"]}]))
    return folder


def summary(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main(["grade", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["grade", *map(str, arguments)]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {"question": "q", "generations": RIGHT, "ground_truth": "#### 18"},
        {"prompt": "q", "completion": RIGHT, "target": "18"},
        {"doc_id": 3, "doc": {"question": "q", "answer": "so\n#### 18"}, "target": "x", "resps": [[RIGHT]]},
        {"doc_id": 3, "doc": {"question": "q"}, "target": "so\n#### 18", "resps": [[RIGHT]]},
    ],
)
def test_every_form_of_row_is_read(tmp_path, capsys, name, row):
    result = summary(capsys, write(tmp_path / name, row), "--task", "gsm8k")
    assert (result["n"], result["correct"]) == (1, {"official": 1, "robust": 1})


def test_d1_s_document_is_read(tmp_path, capsys):
    path = tmp_path / "gsm_0_generations.json"
    rows = [{"question": "q", "generations": text, "ground_truth": 18.0} for text in (RIGHT, WRONG)]
    path.write_text(json.dumps({"metrics": {"wall_time": 1}, "generations": rows}, indent=2))
    assert summary(capsys, path, "--task", "gsm8k")["correct"]["official"] == 1
    path.write_text(json.dumps(rows))
    assert summary(capsys, path, "--task", "gsm8k")["correct"]["official"] == 1


def test_one_verdict_per_completion_goes_to_the_file(tmp_path, capsys):
    out = tmp_path / "new" / "verdicts.jsonl"
    rows = [ROW | {"id": "a"}, ROW | {"id": "b", "generation": WRONG}, ROW | {"id": "c", "generation": "none"}]
    summary(capsys, write(tmp_path / "rows.jsonl", *rows), "--task", "gsm8k", "--out", out)
    verdicts = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(v["id"], v["correct"], v["extracted"], v["reason"]) for v in verdicts] == [
        ("a", True, "18", ""),
        ("b", False, "17", "wrong"),
        ("c", False, None, "no answer"),
    ]
    assert [v["reward"] for v in verdicts] == [2.5, 0.5, 0.0]
    assert list(out.parent.iterdir()) == [out]


def test_grader_and_profile_are_chosen(tmp_path, capsys):
    path = write(tmp_path / "rows.jsonl", ROW | {"generation": "\\boxed{1,018}", "ground_truth": "1018"})
    assert summary(capsys, path, "--task", "gsm8k")["accuracy"] == {"official": 0.0, "robust": 1.0}
    assert summary(capsys, path, "--task", "gsm8k", "--profile", "agrpo")["mean_reward"] == 3.0


def test_the_summary_says_both_numbers_with_intervals_and_why_they_differ(tmp_path, capsys):
    path = write(tmp_path / "rows.jsonl", ROW, ROW | {"generation": "\\boxed{1,018}", "ground_truth": "1018"})
    assert main(["grade", str(path), "--task", "gsm8k", "--grader", "official"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["official", "50.00%"]
    assert lines[1].split()[:2] == ["robust", "100.00%"]
    assert lines[-1].split(maxsplit=1) == ["1", "official takes another answer or a part of it"]


@needs_sandbox
def test_human_eval_s_form_is_graded_by_number_with_pass_at_k(tmp_path, capsys):
    right, wrong = "    return number - int(number)\n", "    return 0\n"
    rows = [{"task_id": "HumanEval/2", "completion": text} for text in (right, wrong, wrong, right)]
    path = write(tmp_path / "samples.jsonl", *rows)
    result = summary(capsys, path, "--task", "humaneval", "--data", "hub", "--bare-answers")
    assert (result["correct"]["robust"], result["pass_at_k"]) == (2, {"1": 0.5})


def test_pass_at_k_is_the_unbiased_estimate_for_the_numbers_that_are_asked_for(tmp_path, capsys):
    rows = [ROW | {"id": "a", "generation": text} for text in (RIGHT, RIGHT, WRONG, WRONG)]
    rows += [ROW | {"id": "b", "generation": WRONG} for _ in range(4)]
    path = write(tmp_path / "rows.jsonl", *rows)
    result = summary(capsys, path, "--task", "gsm8k", "--k", "2,1")
    # Of item a two tries are right: 1 - C(2, 2) / C(4, 2) = 5/6 for k = 2; of item b none.
    assert result["pass_at_k"] == pytest.approx({"1": 0.25, "2": 5 / 12})
    assert summary(capsys, path, "--task", "gsm8k")["pass_at_k"] == {}


@pytest.mark.parametrize(
    ("k", "said"),
    [
        ("1,5", "pass@5 needs 5 completions of every item; one has 1"),
        ("one", "--k 'one' is not a list"),
        ("0", "above 0"),
    ],
)
def test_a_k_that_the_completions_do_not_allow_is_refused_and_leaves_no_file(tmp_path, capsys, k, said):
    path, out = write(tmp_path / "rows.jsonl", ROW), tmp_path / "verdicts.jsonl"
    assert said in refusal(capsys, path, "--task", "gsm8k", "--k", k, "--out", out)
    assert not out.exists()


@needs_sandbox
def test_mbpp_s_rows_are_found_by_their_number(tmp_path, capsys, data_folder):
    code = "def f(x):\n    return 2 * x"
    path = write(tmp_path / "samples.jsonl", {"task_id": 11, "completion": f"```python\n{code}\n```"})
    assert summary(capsys, path, "--task", "mbpp", "--data", data_folder)["correct"]["robust"] == 1


def test_our_own_samples_are_found_by_their_id(tmp_path, capsys):
    task = get_task("sudoku")()
    example = task.examples("test", DataSource(kind="builtin"))[0]
    row = {"id": example.id, "prompt": "p", "text": example.target["solution"], "steps": 8}
    path = write(tmp_path / "samples.jsonl", row)
    arguments = (path, "--task", "sudoku", "--data", "builtin")
    assert summary(capsys, *arguments, "--bare-answers")["correct"]["robust"] == 1
    assert summary(capsys, *arguments)["correct"]["robust"] == 0


@pytest.mark.slow
def test_twenty_thousand_rows_take_no_more_memory_than_a_thousand(tmp_path):
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as stream:
            stream.writelines(json.dumps(ROW) + "\n" for _ in range(count))
        task = get_task("gsm8k")(TaskOptions(bare_answers=False))
        tracemalloc.start()
        graded = grade_items(task, CompletionFile(path).items(Lookup(task, "test", BUILTIN)))
        assert sum(1 for _ in graded) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(20_000) < 1.5 * peak(1_000)


def test_a_document_is_decoded_element_by_element(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('{"generations": [{"a": 1}, {"a": 2}, {"a"')
    rows = stream_rows(path)
    assert [next(rows).value, next(rows).value] == [{"a": 1}, {"a": 2}]
    with pytest.raises(RecordError, match=r"rows\.json is damaged after row 2"):
        next(rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1}\n', "row 1, with a, has none of these forms: doc and resps;"),
        ("nonsense\n", "rows.jsonl line 1 is not JSON"),
        ("[1]\n", "row 1, without names, has none of these forms"),
        ('{"question": "q", "ground_truth": 18, "generation": 7}\n', "completion that is not text"),
        ('{"question": "q", "ground_truth": "many", "generation": "x"}\n', "is not a number"),
        (
            '{"task_id": "nope", "completion": "x"}\n',
            "No example in gsm8k's test split from 'dir:data' has the id 'nope'",
        ),
    ],
)
def test_bad_rows_are_one_sentence_and_leave_no_file(tmp_path, capsys, data_folder, content, said):
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_text(content)
    arguments = (path, "--task", "gsm8k", "--out", out, "--data", data_folder)
    assert said in refusal(capsys, *arguments)
    assert sorted(tmp_path.iterdir()) == [data_folder, path]


def test_a_missing_file_and_an_unknown_grader_are_refused(tmp_path, capsys):
    assert "No file" in refusal(capsys, tmp_path / "none.jsonl", "--task", "gsm8k")
    path = write(tmp_path / "rows.jsonl", ROW)
    assert "Did you mean 'robust'" in refusal(capsys, path, "--task", "gsm8k", "--grader", "robusst")

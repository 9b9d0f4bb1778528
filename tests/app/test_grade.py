"""grade_file, which Python programs call, and what harness grade says and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.app.grade import grade as grade_file
from harness.cli.main import main
from harness.errors import UserError
from harness.records.jsonl import RecordError
from harness.report.analysis.statistics import items_interval
from harness.scoring.sandbox.client import missing

needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
RIGHT, WRONG, NONE = "<answer>\n\\boxed{7}\n</answer>", "<answer>8</answer>", "I do not know."
PROGRAM = {"prompt": "Double it.", "target": ["assert f(2) == 4"]}
CODE = "def f(x):\n    return 2 * x\n"


def rows_file(folder: Path, *completions: object, name: str = "rows.jsonl", **fields: object) -> Path:
    rows = [{"prompt": "q", "target": "7", "completion": text} | fields for text in completions]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def test_the_summary_is_typed_and_whole(tmp_path):
    path = rows_file(tmp_path, RIGHT, WRONG, NONE)
    summary = grade_file(path, task="gsm8k")
    assert (summary.file, summary.form) == ("rows.jsonl", "completions with targets")
    assert (summary.rows, summary.n, summary.repeats, summary.unknown, summary.bare_answers) == (3, 3, 0, 0, False)
    assert summary.correct == {"official": 1, "robust": 1}
    assert summary.answered["robust"] == 2
    assert summary.accuracy["robust"] == pytest.approx(1 / 3)
    interval = items_interval(summary.totals["robust"])
    assert interval is not None
    assert interval.low == pytest.approx(0.0615, abs=1e-4)
    assert json.loads(json.dumps(summary.to_json()))["correct"] == {"official": 1, "robust": 1}


def test_the_options_of_the_command_are_arguments(tmp_path):
    path, out = rows_file(tmp_path, "\\boxed{7}", "\\boxed{8}", id="a"), tmp_path / "verdicts.jsonl"
    summary = grade_file(str(path), task="gsm8k", grader="official", profile="agrpo", k=(2,), out=str(out))
    assert (summary.grader, summary.profile, summary.pass_at, summary.mean_reward) == (
        "official",
        "agrpo",
        {2: 1.0},
        1.5,
    )
    assert [json.loads(line)["grader"] for line in out.read_text().splitlines()] == ["official"] * 2
    for wrong in ({"grader": "x"}, {"k": (0,)}, {"profile": "x"}, {"task": "x"}, {"data": "nowhere"}):
        with pytest.raises(UserError):
            grade_file(path, **({"task": "gsm8k"} | wrong))


def test_the_command_says_what_it_read_in_one_line_beside_its_table(tmp_path, capsys):
    assert main(["grade", str(rows_file(tmp_path, RIGHT, NONE)), "--task", "gsm8k"]) == 0
    captured = capsys.readouterr()
    assert captured.err == (
        "rows.jsonl: completions with targets, rows 2, items graded 2; answers without tags or fences not counted\n"
    )
    assert captured.out.splitlines()[0].split() == [
        *("robust", "50.00%", "[9.45%,", "90.55%]", "1", "of", "2", "items", "correct,", "1", "without", "an", "answer")
    ]


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (
            [],
            1,
            "No completion (of 2) holds an answer in the form that the robust grader of gsm8k asks for; add",
        ),
        (["--bare-answers"], 0, "answers without tags or fences counted"),
        (["--no-bare-answers"], 1, "add --bare-answers"),
    ],
)
def test_where_no_completion_holds_an_answer_the_flag_is_named_and_the_code_is_1(tmp_path, capsys, flags, code, said):
    out = tmp_path / "out.jsonl"
    path = rows_file(tmp_path, "7", "9")
    assert main(["grade", str(path), "--task", "gsm8k", "--out", str(out), *flags]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert bool(captured.out) == (code == 0)
    assert len(out.read_text().splitlines()) == 2


@needs_sandbox
@pytest.mark.parametrize(
    ("texts", "flags", "code", "said"),
    [
        ([CODE, CODE], [], 1, "No completion (of 2) holds an answer in the form that the robust grader of mbpp"),
        ([CODE, CODE], ["--bare-answers"], 0, ""),
        ([CODE, f"```python\n{CODE}```"], [], 0, ""),
        (["I do not know."], ["--bare-answers"], 1, "answers without tags or fences were read too (--bare-answers)"),
        ([f"<answer>{CODE}</answer>"], ["--grader", "official"], 1, "--grader robust reads more forms"),
    ],
)
def test_programs_without_fences_are_never_a_silent_zero(tmp_path, capsys, texts, flags, code, said):
    path = rows_file(tmp_path, *texts, **PROGRAM)
    assert main(["grade", str(path), "--task", "mbpp", *flags]) == code
    assert said in capsys.readouterr().err


def grade_into(folder: Path, out: Path) -> int:
    return main(["grade", str(rows_file(folder, RIGHT)), "--task", "gsm8k", "--out", str(out)])


def test_verdicts_are_written_through_links(tmp_path, capsys):
    real, link = tmp_path / "real.out", tmp_path / "link.out"
    real.write_text("old\n")
    link.symlink_to(real)
    assert grade_into(tmp_path, link) == 0
    assert link.is_symlink()
    assert json.loads(real.read_text())["correct"] is True
    (tmp_path / "dangling").symlink_to(tmp_path / "new" / "file")
    assert grade_into(tmp_path, tmp_path / "dangling") == 0
    assert (tmp_path / "new" / "file").read_text() == real.read_text()


@pytest.mark.parametrize("kind", ["pipe", "folder", "null", "full", "link to a pipe", "the file itself"])
def test_what_is_no_regular_file_is_never_replaced(tmp_path, capsys, kind):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link to a pipe").symlink_to(tmp_path / "pipe")
    places = {"null": Path("/dev/null"), "full": Path("/dev/full"), "the file itself": tmp_path / "rows.jsonl"}
    place = places.get(kind, tmp_path / kind)
    kinds = {path.name: path.lstat().st_mode for path in (*tmp_path.iterdir(), *map(Path, ("/dev/null", "/dev/full")))}
    assert grade_into(tmp_path, place) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert str(place) in said[0]
    after = {path.name: path.lstat().st_mode for path in (*tmp_path.iterdir(), *map(Path, ("/dev/null", "/dev/full")))}
    assert after.items() - kinds.items() == {("rows.jsonl", (tmp_path / "rows.jsonl").lstat().st_mode)}


def test_a_disk_that_is_full_at_the_write_gives_one_sentence_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for the disk; it acts in the middle of the writing."""
    path, out = rows_file(tmp_path, *[RIGHT] * 3000), tmp_path / "out.jsonl"
    code = (
        "import resource as r, sys; from harness.cli.main import main; "
        "r.setrlimit(r.RLIMIT_FSIZE, (200_000, 200_000)); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "grade", str(path), "--task", "gsm8k", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"harness: Cannot read or write '{out}': File too large.")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


@needs_sandbox
def test_a_reason_with_half_a_surrogate_pair_is_written_as_an_escape(tmp_path):
    code = "def f(x):\n    raise ValueError('\\ud83d')\n"
    out = tmp_path / "out.jsonl"
    grade_file(rows_file(tmp_path, f"```python\n{code}```", **PROGRAM), task="mbpp", out=out)
    assert "ValueError" in json.loads(out.read_text(encoding="utf-8"))["reason"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"completion": "\ud800"}, "rows.jsonl line 1 holds half a surrogate pair"),
        ({"prompt": "\udfff"}, "rows.jsonl line 1 holds half a surrogate pair"),
        ({"target": {"\ud83d": 1}}, "rows.jsonl line 1 holds half a surrogate pair"),
    ],
)
def test_half_a_surrogate_pair_anywhere_in_a_row_is_refused(tmp_path, fields, said):
    with pytest.raises(RecordError, match=said):
        grade_file(rows_file(tmp_path, RIGHT, **fields), task="gsm8k")


@pytest.mark.parametrize(
    "content",
    ['{"a": "%s"}', '{"generations": ["%s"]}', '{"0": {"prediction": ["%s"]}}', "[[[%s", '{"a":' * 300 + '"%s"'],
)
def test_a_document_that_is_one_huge_value_ends_soon(tmp_path, content):
    """60 MB are to end in 10 seconds; the deadline is ten times that."""
    path = tmp_path / "huge.json"
    path.write_text(content % ("7" * 60_000_000))
    command = [sys.executable, "-m", "harness", "grade", str(path), "--task", "gsm8k"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2
    assert done.stderr.startswith("harness: huge.json ")
    assert done.stderr.count("\n") == 1


def test_an_object_with_millions_of_members_that_are_no_rows_is_refused_after_a_few(tmp_path):
    path = tmp_path / "many.json"
    path.write_text("{" + ", ".join(f'"k{number}": {number}' for number in range(200_000)) + "}")
    with pytest.raises(UserError, match="over 100 members that are not rows"):
        grade_file(path, task="gsm8k")


def test_importing_the_application_imports_no_torch():
    code = "import sys, harness.app.grade, harness.cli.grade; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

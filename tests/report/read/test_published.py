from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.registry import published_folder
from harness.report.read.published import Value, load_published

PUBLISHED = load_published()
MATHS = ("gsm8k", "math500")
LLADA, MOE = "LLaDA-8B-Instruct", "LLaDA-MoE-7B-A1B-Instruct"


def find(paper: str, method: str, task: str, length: str, **wanted: object) -> list[Value]:
    return [
        value
        for value in PUBLISHED.values
        if (value.paper, value.method, value.task, value.length) == (paper, method, task, length)
        and all(getattr(value, name) == what for name, what in wanted.items())
    ]


@pytest.mark.parametrize(
    ("paper", "method", "task", "length", "value"),
    [
        ("egspo", "EGSPO-SA", "sudoku", "best", 94.3),
        ("egspo", "EGSPO", "gsm8k", "best", 85.7),
        ("d1", "diffu-GRPO", "sudoku", "256", 12.9),
        ("justgrpo", "JustGRPO", "gsm8k", "256", 89.1),
        ("espo", "ESPO", "countdown", "mean", 81.0),
    ],
)
def test_values_that_papers_print(paper: str, method: str, task: str, length: str, value: float) -> None:
    found = find(paper, method, task, length, model="LLaDA-8B-Instruct", variant="")
    assert [row.value for row in found] == [value]


@pytest.mark.parametrize(
    ("paper", "method", "model", "task", "length", "value"),
    [
        ("gdsd", "GDSD", LLADA, "sudoku", "best", 89.8),
        ("gdsd", "GDSD-TLC", LLADA, "sudoku", "best", 92.0),
        ("gdsd", "ESPO", LLADA, "sudoku", "best", 92.7),
        ("gdsd", "GDSD-TLC", "Dream-v0-Instruct-7B", "countdown", "best", 84.8),
        ("gdsd", "wd1", "Dream-v0-Instruct-7B", "countdown", "best", 42.2),
        ("dmpo", "DMPO", "LLaDA-1.5", "countdown", "256", 79.3),
        ("dmpo", "Coupled-GRPO (DiffuCoder)", LLADA, "countdown", "256", 42.58),
        ("dmpo", "DMPO", LLADA, "countdown", "unstated", 83.2),
        ("d-treerpo", "TraceRL", MOE, "math500", "512", 44.1),
        ("d-treerpo", "TraceRL", LLADA, "math500", "512", 39.1),
        ("gdpo", "GDPO", LLADA, "countdown", "256", 64.1),
        ("gdpo", "GDPO", LLADA, "countdown", "512", 60.2),
        ("dare", "base", "LLaDA2.1-mini", "mbpp", "unstated", 62.6),
        ("dirl", "DiRL", "SDAR-8B", "math500", "unstated", 83.05),
        ("papo", "PAPO", LLADA, "countdown", "unstated", 42.2),
        ("daca-grpo", "DACA-GRPO", LLADA, "constraint tasks", "unstated", 36.3),
    ],
)
def test_values_of_other_papers_and_models(
    paper: str, method: str, model: str, task: str, length: str, value: float
) -> None:
    assert [row.value for row in find(paper, method, task, length, model=model)] == [value]


def test_the_values_of_one_method_on_two_bases_of_one_name_are_told_apart() -> None:
    found = {value.variant: value.value for value in find("dmpo", "DMPO", "countdown", "256", model=LLADA)}
    assert found == {"": 80.86, "from a model fine-tuned first": 67.19}


@pytest.mark.parametrize(
    ("method", "papers"),
    [
        ("spg", {"spg", "egspo", "justgrpo", "ctrl", "dare", "informed-masking", "gdsd"}),
        ("wd1", {"wd1", "spg", "egspo", "espo", "d2", "b1", "d-treerpo", "gdsd"}),
        ("gdpo", {"gdpo", "informed-masking", "d-treerpo"}),
        ("justgrpo", {"justgrpo"}),
        ("coupled-grpo", {"diffucoder", "dare", "dmpo"}),
        ("tracerl", {"tracerl", "d-treerpo"}),
        ("d2-stepmerge", {"d2", "egspo", "ctrl", "mask-aware-pg", "d-treerpo"}),
        ("gdsd", {"gdsd"}),
        ("bgpo", {"bgpo", "dare"}),
        ("dmpo", {"dmpo", "gdsd"}),
    ],
)
def test_the_papers_that_print_a_method_are_found_by_its_name_here(method: str, papers: set[str]) -> None:
    values = [value for value in PUBLISHED.values if PUBLISHED.method_here(value) == method]
    assert {value.paper for value in values} == papers
    assert any(value.whose == "own" for value in values)


def test_a_method_that_only_sounds_like_one_of_ours_is_none() -> None:
    ours = {value.method for value in PUBLISHED.values if PUBLISHED.method_here(value)}
    assert ours == set(PUBLISHED.methods)
    others = {"wd1++", "wd1+b1", "SPG+IM", "ESPO+IM", "GDPO+IM", "d2+EGI", "JustGRPO+EGI", "CJ-GRPO", "d1 + k2 penalty"}
    assert others <= {value.method for value in PUBLISHED.values}
    assert not others & ours


def test_values_on_items_that_are_only_called_math_are_not_taken_for_math500() -> None:
    (gdsd,) = find("gdsd", "GDSD", "math500", "best", model=LLADA)
    (dmpo,) = find("dmpo", "DMPO", "math500", "256", model=LLADA, variant="")
    assert (gdsd.items, dmpo.items) == ("", "math500")


def test_the_protocol_stands_beside_the_value() -> None:
    (own,) = find("egspo", "EGSPO-SA", "mbpp", "best")
    assert (own.items, own.shots, own.tokens_per_step) == ("mbpp-sanitized", 0, 2)
    assert (own.checkpoint, own.training, own.grade) == ("best-on-test-per-length", "lora", "confirmed")
    dream = {find("egspo", "EGSPO", task, "best", model="Dream-v0-Instruct-7B")[0].tokens_per_step for task in MATHS}
    assert dream == {1}
    (espo,) = find("espo", "ESPO", "mbpp", "256")
    assert (espo.items, espo.shots, espo.tokens_per_step, espo.training) == ("mbpp-500", 3, 1, "full")
    (spg,) = find("spg", "SPG w/ Mixture", "sudoku", "256", variant="")
    assert (spg.items, spg.shots, spg.checkpoint) == ("sudoku-spg", 3, "best-on-test-by-mean")


def test_what_is_not_stated_is_empty_and_no_zero() -> None:
    (dare, *_) = find("dare", "BGPO", "gsm8k", "512", model="LLaDA-8B-Instruct")
    assert (dare.shots, dare.tokens_per_step, dare.checkpoint, dare.training) == (None, None, "", "")


def test_the_two_values_of_one_paper_for_one_cell_are_both_kept() -> None:
    both = find("wd1", "wd1", "sudoku", "256")
    assert sorted(value.value for value in both) == [25.2, 76.4]
    assert all("of the same paper prints" in value.note for value in both)


def test_every_item_set_belongs_to_the_task_of_its_values() -> None:
    for value in PUBLISHED.values:
        assert not value.items or PUBLISHED.item_sets[value.items].task == value.task


def test_percentages_lie_between_0_and_100() -> None:
    assert all(0 <= value.value <= 100 for value in PUBLISHED.values if value.unit == "%")
    assert {value.metric for value in PUBLISHED.values if value.unit != "%"} == {"gain", "ratio"}


def test_every_paper_has_values_and_every_grade_is_used() -> None:
    assert {value.paper for value in PUBLISHED.values} == set(PUBLISHED.papers)
    assert {value.grade for value in PUBLISHED.values} == set(PUBLISHED.grades)


def test_every_published_setting_is_about_a_paper_the_test_sets_or_lora() -> None:
    with open(published_folder() / "settings.csv", encoding="utf-8", newline="") as stream:
        topics = {row["topic"] for row in csv.DictReader(stream)}
    assert topics
    assert topics <= {*PUBLISHED.papers, "test-sets", "lora-coverage"}


def test_the_base_is_untrained_everywhere() -> None:
    assert {(value.checkpoint, value.training) for value in PUBLISHED.values if value.method == "base"} == {
        ("none", "none")
    }


def test_the_ceiling_is_that_of_d1s_puzzles_alone() -> None:
    ceiling = PUBLISHED.ceiling("sudoku-d1", "cell_accuracy")
    assert ceiling is not None
    assert (ceiling.value, ceiling.sd) == (93.4, 0.8)
    assert PUBLISHED.ceiling("sudoku-spg", "cell_accuracy") is None


def test_decimals_are_those_of_the_paper() -> None:
    (two,) = find("egspo", "EGSPO-SA", "gsm8k", "best", model="LLaDA-8B-Instruct")
    (one,) = find("egspo", "EGSPO", "gsm8k", "best", model="LLaDA-8B-Instruct")
    assert (two.value, two.decimals) == (85.03, 2)
    assert (one.value, one.decimals) == (85.7, 1)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(published_folder(), tmp_path / "published")
    return tmp_path / "published"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("confirmed", "certain", r"egspo.csv line 2: grade 'certain' is not one of confirmed, read, recounted"),
        ("93.6", "nan", r"egspo.csv line 2 has a number that cannot be read \(nan is not finite\)"),
        ("93.6", "93,6", r"egspo.csv line 2 has too many or too few cells"),
        ("sudoku-d1", "sudoku-d2", r"egspo.csv line 2: items 'sudoku-d2' is not one of countdown-d1"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(copied: Path, old: str, new: str, message: str) -> None:
    path = copied / "values" / "egspo.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        load_published(copied)


def test_a_missing_file_and_a_missing_column_are_one_sentence(copied: Path) -> None:
    (copied / "grades.csv").write_text("grade\nread\n")
    with pytest.raises(UserError, match="it needs grade, meaning"):
        load_published(copied)
    (copied / "values" / "spg.csv").unlink()
    (copied / "grades.csv").write_text((published_folder() / "grades.csv").read_text())
    with pytest.raises(UserError, match=r"The file of published numbers '.*spg.csv' is missing"):
        load_published(copied)

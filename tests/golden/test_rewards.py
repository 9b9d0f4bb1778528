"""Rewards and official graders, case by case, against the code of EGSPO, d1, AGRPO and ESPO; and what we do
instead where that code is known to be wrong."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import pytest

from harness.registry import get_task
from harness.scoring.agrpo import agrpo_answer
from harness.scoring.code import first_block
from harness.scoring.sandbox.client import missing
from harness.task.base import OFFICIAL, Example, Task, TaskOptions

from .conftest import GOLDEN

# EGSPO's code scores 0.5 or 0 for each of these and 1.5 or 1 is right: it loses the import of tests with a single
# function, and its list of forbidden words also finds ` os` in an import that harms nothing, and in comments.
CODE_DEFECTS = {"one_test_fn": 1.5, "unsafe_import": 1.5, "name_with_os_word": 1.0, "comment_sys": 1.0}


def cases(name: str) -> list[dict[str, Any]]:
    path = GOLDEN / "rewards" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"no rewards/{name}.jsonl in the golden folder {GOLDEN}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def task(name: str, profile: str = "official") -> Task:
    """Without the reading of bare answers, in which the official rewards are those of the published code."""
    return get_task(name)(TaskOptions(profile=profile, bare_answers=False))


def module(name: str) -> Any:
    return sys.modules[get_task(name).__module__]


def parts(name: str, profile: str, example: Example, completion: str) -> dict[str, float]:
    return {key: round(value, 9) for key, value in task(name, profile).reward_parts(example, completion).items()}


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 9) for key, value in values.items()}


def has_power(case: dict[str, Any]) -> bool:
    return "**" in case["completion"]


def test_gsm8k():
    for case in cases("gsm8k"):
        text, scores = case["completion"], case["scores"]
        example = task("gsm8k").example_for("", case["answer"])
        verdict = task("gsm8k").grade(example, text, OFFICIAL)
        read = scores["d1_eval"]["extracted"]
        assert verdict.correct == scores["d1_eval"]["correct"], case["id"]
        assert verdict.extracted == (None if read is None else repr(float(read))), case["id"]
        official = scores["egspo_and_d1"]
        assert parts("gsm8k", "official", example, text) == rounded(
            {
                "correctness": official["correctness"],
                "integer": official["int"],
                "strict_format": official["strict_format"],
                "soft_format": official["soft_format"],
                "tags": official["xmlcount"],
            }
        ), case["id"]
        assert agrpo_answer(text) == scores["agrpo"]["parsed"], case["id"]
        assert module("gsm8k").espo_answer(text) == scores["espo"]["extracted"], case["id"]
        assert parts("gsm8k", "espo", example, text) == {"correctness": scores["espo"]["correctness"]}, case["id"]
        assert parts("gsm8k", "agrpo", example, text) == agrpo_parts(scores["agrpo"]), case["id"]


def agrpo_parts(scores: dict[str, float]) -> dict[str, float]:
    return {
        "correctness": scores["correctness"],
        "thinking": scores["thinking_format"],
        "answer_tags": scores["answer_format"],
    }


def test_math():
    for case in cases("math"):
        text, scores = case["completion"], case["scores"]
        example = task("math500").example_for("", case["answer"])
        verdict = task("math500").grade(example, text, OFFICIAL)
        assert {"extracted": verdict.extracted, "correct": verdict.correct} == scores["d1_eval"], case["id"]
        official = scores["egspo_and_d1"]
        assert parts("math500", "official", example, text) == {
            "correctness": official["correctness_math"],
            "form": official["boxed_and_answer_tags_format"],
        }, case["id"]
        assert agrpo_answer(text) == scores["agrpo"]["parsed"], case["id"]
        assert parts("math500", "agrpo", example, text) == agrpo_parts(scores["agrpo"]), case["id"]
        assert parts("math500", "espo", example, text) == scores["espo"], case["id"]


def test_countdown():
    for case in cases("countdown"):
        text, scores = case["completion"], case["scores"]
        example = module("countdown").make_example("", case["numbers"], case["target"])
        agrpo = parts("countdown", "agrpo", example, text)
        official = {"correctness": scores["agrpo"]["correctness"], "form": round(scores["agrpo"]["format"], 9)}
        assert agrpo == official, case["id"]
        if has_power(case):
            continue
        verdict = task("countdown").grade(example, text, OFFICIAL)
        assert verdict.extracted == scores["d1_eval"]["extracted"], case["id"]
        assert verdict.correct == scores["d1_eval"]["correct"], case["id"]
        for profile, source in (("official", "egspo_and_d1"), ("espo", "espo")):
            assert parts("countdown", profile, example, text)["correctness"] == scores[source]["score"], case["id"]


def test_a_power_in_countdown_is_well_formed_and_wrong_because_powers_of_powers_never_end():
    powers = [case for case in cases("countdown") if has_power(case)]
    assert any(case["scores"]["egspo_and_d1"]["score"] == 1.0 for case in powers)
    for case in powers:
        example = module("countdown").make_example("", case["numbers"], case["target"])
        boxed_alone = case["scores"]["egspo_and_d1"]["extracted"] is None
        reward = parts("countdown", "official", example, case["completion"])["correctness"]
        assert reward == (0.0 if boxed_alone else 0.1), case["id"]
        assert not task("countdown").grade(example, case["completion"], OFFICIAL).correct, case["id"]


def test_sudoku():
    for case in cases("sudoku"):
        text, scores = case["completion"], case["scores"]
        example = module("sudoku").make_example("", case["puzzle"], case["solution"])
        verdict = task("sudoku").grade(example, text, OFFICIAL)
        read = scores["d1_eval"]
        assert (verdict.extracted or "") == read["extracted"], case["id"]
        assert (verdict.ratio.part, verdict.ratio.whole) == (read["correct_cells"], read["empty_cells"]), case["id"]
        for profile, source in (("official", "egspo_and_d1"), ("espo", "espo")):
            assert parts("sudoku", profile, example, text) == rounded({"correctness": scores[source]["score"]})
        agrpo = parts("sudoku", "agrpo", example, text)
        assert agrpo["form"] == scores["agrpo"]["format"], case["id"]
        if isinstance(scores["agrpo"]["correctness"], float):
            assert agrpo["correctness"] == round(scores["agrpo"]["correctness"], 9), case["id"]


def test_agrpos_reward_for_a_sudoku_without_blanks_is_0_and_no_division_by_zero():
    errors = [case for case in cases("sudoku") if isinstance(case["scores"]["agrpo"]["correctness"], dict)]
    assert [case["scores"]["agrpo"]["correctness"] for case in errors] == [{"error": "ZeroDivisionError"}]
    example = module("sudoku").make_example("", errors[0]["puzzle"], errors[0]["solution"])
    assert parts("sudoku", "agrpo", example, errors[0]["completion"])["correctness"] == 0.0


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
def test_code():
    golden = cases("code")
    examples = [Example(id=case["id"], question="", target={"tests": case["tests"]}) for case in golden]
    texts = [case["completion"] for case in golden]
    official = task("mbpp").rewards(examples, texts)
    espo = task("mbpp", "espo").rewards(examples, texts)
    corrected = Counter()
    for case, reward, other in zip(golden, official, espo, strict=True):
        scores = case["scores"]
        assert first_block(case["completion"]) == scores["egspo_eval"]["extract_answer_code"], case["id"]
        assert (first_block(case["completion"]) or "") == scores["espo"]["extract_code"], case["id"]
        assert other.parts["form"] == scores["espo"]["code_format"], case["id"]
        ours = reward.parts["correctness"] + reward.parts["in_answer"]
        if case["tag"] in CODE_DEFECTS:
            assert ours == CODE_DEFECTS[case["tag"]], case["id"]
            corrected[case["tag"]] += ours != scores["egspo"]["coding_reward"]
        else:
            assert ours == scores["egspo"]["coding_reward"], case["id"]
    assert set(corrected.values()) == {4}

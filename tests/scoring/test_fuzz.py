"""No text up to 20 kB makes an extractor, a reward or a grader raise, and reading it takes under 50 milliseconds."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.registry import get_task
from harness.scoring.answers import ANY_CLOSE, ANY_OPEN, final_answer, first_tagged, official_first_answer, until_end
from harness.scoring.blocks import fenced_blocks
from harness.scoring.boxed import first_boxed, last_boxed, official_boxed, shallow_boxes
from harness.scoring.code import espo_form, first_block
from harness.scoring.expressions import evaluate
from harness.scoring.maths.hendrycks import same_text
from harness.scoring.official_format import soft_format, strict_format, tag_counts, whole_number
from harness.scoring.programs import defined_names, read_program
from harness.task.base import GRADERS, TaskOptions

PIECES = (
    "<answer>",
    "</answer>",
    "<reasoning>\n",
    "\n</reasoning>\n",
    "<think>",
    "\\boxed{",
    "\\boxed ",
    "\\fbox{",
    "\\frac",
    "\\sqrt",
    "\\text{ ",
    "{",
    "}",
    "(",
    ")",
    "=",
    "$",
    "%",
    "```python\n",
    "```",
    "#### ",
    "The answer is ",
    "9**9**9",
    "1/0",
    "2*3+4",
    "1,234.5",
    "-",
    ".",
    " ",
    "\n",
    "٣",
    "²",
    "\uff12",
    "\ud800",
    "\x00",
    "<|endoftext|>",
    "nan",
    "1e999",
    "def f(",
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=30).map("".join)
LONG = st.builds(lambda part, count: (part * count)[:20_000], TEXTS, st.integers(1, 20_000))
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

EXTRACTORS = (
    until_end,
    official_first_answer,
    first_boxed,
    last_boxed,
    official_boxed,
    shallow_boxes,
    first_block,
    lambda text: list(fenced_blocks(text)),
    espo_form,
    evaluate,
    soft_format,
    strict_format,
    tag_counts,
    whole_number,
    lambda text: final_answer(text, bare=True),
    lambda text: read_program(text, bare=True, completes=lambda code: "f" in defined_names(code)),
    lambda text: first_tagged(text, ANY_OPEN, ANY_CLOSE),
    lambda text: same_text(text, "1"),
)
TASKS = {
    "gsm8k": get_task("gsm8k")().example_for("", "18"),
    "math500": get_task("math500")().example_for("", "\\frac{1}{2}"),
    "countdown": get_task("countdown")().example_for("", [[2, 3, 4], 10]),
    "sudoku": get_task("sudoku")().example_for("2030012002100002", "2431312442131342"),
}


@QUICK
@given(TEXTS | LONG)
def test_no_extractor_raises(text):
    for extract in EXTRACTORS:
        extract(text)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["official", "agrpo", "espo", "correctness"])
@pytest.mark.parametrize("name", TASKS)
@QUICK
@given(text=TEXTS | LONG)
@example(text="<answer>" + "(" * 19_000)
@example(text="<answer>9**9**9</answer>")
@example(text="<answer>" + "٣" * 19_000 + "</answer>")
def test_no_grader_or_reward_raises(name, profile, text):
    task = get_task(name)(TaskOptions(profile=profile))
    score = task.score_one(TASKS[name], text)
    assert set(score.verdicts) == set(GRADERS)
    assert set(score.metrics) == set(task.metrics)


@pytest.mark.parametrize(
    "part", [*PIECES, "<answer></answer>", "\\boxed{1}", "\\boxed{1\n", "</reasoning>", "a", "=1", "1 "]
)
def test_20_kilobytes_are_read_within_ten_times_50_milliseconds(part, processor_time):
    middle = (part * 20_000)[:19_960]
    for text in (middle, f"<answer>{middle}</answer>", f"<reasoning>{middle}", f"\\boxed{{{middle}"):
        for extract in EXTRACTORS:
            with processor_time() as seconds:
                extract(text)
                assert seconds() < 0.5, extract


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("part", PIECES)
def test_the_official_readings_end_within_ten_times_50_milliseconds_on_20_kilobytes(name, part, processor_time):
    task = get_task(name)(TaskOptions(bare_answers=False))
    text = "<answer>" + (part * 20_000)[:19_980]
    with processor_time() as seconds:
        task.grade(TASKS[name], text, "official")
        task.reward_parts(TASKS[name], text)
        assert seconds() < 0.5

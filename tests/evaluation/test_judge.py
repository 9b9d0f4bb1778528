"""Scoring that several processes share: each scores its part, and all have all scores in the order of the items."""

from __future__ import annotations

import dataclasses

import pytest

from harness.distributed.shard import ALONE
from harness.evaluation.judge import score_together
from harness.registry import get_task

TEXTS = ["<answer>7</answer>", "<answer>8</answer>", "none", "<answer>07</answer>", "<answer>9</answer>"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_parts_of_the_processes_make_the_whole(count: int) -> None:
    task = get_task("gsm8k")()
    examples = [task.example_for("q", "7")] * len(TEXTS)
    parts = [
        score_together(task, examples, TEXTS, dataclasses.replace(ALONE, index=index, count=count))
        for index in range(count)
    ]
    assert [score for part in parts for score in part] == task.score(examples, TEXTS)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1

"""Scoring beside generation: when it begins, what is scored once, and how it ends."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from harness.distributed.shard import ALONE
from harness.errors import SandboxError
from harness.evaluation.beside import Scoring
from harness.task.base import Example, Task

PATIENCE = 60
EXAMPLE = Example(id="0", question="", target={})


class Lengths(Task):
    """Scores a completion by its length, once it is allowed to. calls: the completions of each call; began: whether
    there was one."""

    name = "lengths"
    metrics = ("length",)

    def __init__(self, *, elsewhere: bool, allowed: bool = True) -> None:
        super().__init__()
        vars(self)["scores_elsewhere"] = elsewhere
        self.began, self.allowed, self.interrupted = threading.Event(), threading.Event(), False
        self.calls: list[tuple[str, ...]] = []
        if allowed:
            self.allowed.set()

    def examples(self, split: str, source: Any) -> list[Example]:
        return []

    def prompt(self, example: Example) -> list[Any]:
        return []

    def score(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Any]:
        self.calls.append(tuple(completions))
        self.began.set()
        assert self.allowed.wait(PATIENCE)
        if self.interrupted or "broken" in completions:
            raise SandboxError("it is broken")
        return [len(text) for text in completions]

    def interrupt(self) -> None:
        self.interrupted = True
        self.allowed.set()


def items(*texts: str, first: int = 0) -> list[tuple[int, Example, str]]:
    return [(first + number, EXAMPLE, text) for number, text in enumerate(texts)]


def test_what_others_score_begins_at_once_and_what_comes_meanwhile_is_scored_together() -> None:
    task = Lengths(elsewhere=True, allowed=False)
    with Scoring[int, int](task, task.score) as scoring:
        scoring.add(items("a", "bb"))
        assert task.began.wait(PATIENCE)
        scoring.add(items("ccc", first=2))
        scoring.add(items("", first=3))
        task.allowed.set()
        assert scoring.results() == {0: 1, 1: 2, 2: 3, 3: 0}
    assert task.calls == [("a", "bb"), ("ccc", "")]
    assert not task.interrupted


def test_what_this_process_scores_waits_for_the_end_of_generation() -> None:
    task = Lengths(elsewhere=False)
    with Scoring[int, int](task, task.score) as scoring:
        scoring.add(items("a"))
        scoring.add(items("bb", first=1))
        assert task.calls == []
        assert scoring.results() == {0: 1, 1: 2}
    assert task.calls == [("a", "bb")]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_key_is_scored_once(elsewhere: bool) -> None:
    task = Lengths(elsewhere=elsewhere)
    with Scoring[tuple[str, str], int](task, task.score) as scoring:
        for text in ("a", "a", "bb", "a"):
            scoring.add([(("0", text), EXAMPLE, text)])
            assert scoring.results()["0", text] == len(text)
    assert task.calls == [("a",), ("bb",)]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_fault_of_the_sandbox_is_raised_where_the_results_are_asked_for(elsewhere: bool) -> None:
    task = Lengths(elsewhere=elsewhere)
    with Scoring[int, int](task, task.score) as scoring:
        scoring.add(items("broken"))
        with pytest.raises(SandboxError, match="it is broken"):
            scoring.gathered(ALONE)


def test_an_interruption_of_generation_ends_the_scoring_that_goes_on() -> None:
    task = Lengths(elsewhere=True, allowed=False)

    def interrupted() -> None:
        with Scoring[int, int](task, task.score) as scoring:
            scoring.add(items("a"))
            assert task.began.wait(PATIENCE)
            scoring.add(items("b", first=1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert task.interrupted
    assert task.calls == [("a",)]


def test_the_results_of_all_processes_are_in_the_order_of_the_keys() -> None:
    task = Lengths(elsewhere=True)
    two = dataclasses.replace(
        ALONE, all_gather_items=lambda mine: [*mine, (0, 70), (3, 71)] if mine != [None] else mine
    )
    with Scoring[int, int](task, task.score) as scoring:
        scoring.add(items("bb", "a", first=1))
        assert scoring.gathered(two) == [70, 2, 1, 71]

"""GSM8K, grade-school word problems with a number for an answer (Cobbe et al. 2021, arXiv 2110.14168).

    accuracy            the number is the stored one, however it is written (the robust grader)
    official_accuracy   d1's evaluation parser: the first boxed number of the text, else the last number of the
                        first answer block, equal as a float

Rewards by profile (parts are added up):
    official  EGSPO and d1: correctness 2 for the same text as the stored answer, integer 0.5, strict and soft
              format 0.5 each, tag counts up to 0.5
    agrpo     correctness 3 by math-verify, thinking and answer tags 0.5 each
    espo      correctness 1 for the same text as the stored answer
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from harness.data.hub import HubSplit
from harness.errors import UserError
from harness.generators.problem import CARELESS_SHARE, demonstrate, demonstrate_worked, generated_examples
from harness.generators.word_problems import draw
from harness.registry import task
from harness.scoring.agrpo import agrpo_parts
from harness.scoring.answers import final_answer, official_first_answer
from harness.scoring.boxed import last_boxed, shallow_boxes
from harness.scoring.maths.equal import equal
from harness.scoring.official_format import answer_text, soft_format, strict_format, tag_counts, whole_number
from harness.task.base import OFFICIAL, Demonstration, Example, Message, Verdict, outcome, required, worked
from harness.task.rows import RowsTask

NUMBER = re.compile(r"-?\d+\.?\d*")
DOTS = re.compile(r"\.+")
ANSWER_IS = re.compile(r"The answer is (-?[0-9.,]+).")
AFTER_HASHES = re.compile(r"#### (-?[0-9.,]+)")
WHOLE = re.compile(r"-?[0-9]+")
STORED = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
CALCULATOR = re.compile(r"<<[^<>]*>>")
REVISION = "740312add88f781978c0658806c59bc2815b9866"

PROMPT = """\
{question}

Think it through step by step between <reasoning> and </reasoning>. Then write the result, a single number in \
\\boxed{{}}, between <answer> and </answer>."""


def stored_answer(text: str) -> str:
    """The number after #### in an answer of the data set, the text itself without one."""
    return text.split("####")[1].strip() if "####" in text else text.strip()


def official_number(text: str) -> float | None:
    """The number that d1's evaluation reads: of the first box that holds one, else of the first answer block."""
    for box in shallow_boxes(text):
        content = box.strip()
        if content and not DOTS.fullmatch(content):
            number = _first_or_last(content, first=True)
            if number is not None:
                return number
    return _first_or_last((official_first_answer(text) or "").strip(), first=False)


def _first_or_last(content: str, *, first: bool) -> float | None:
    number = _float(content)
    if number is not None:
        return number
    found = NUMBER.findall(content)
    return _float(found[0 if first else -1]) if found else None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def espo_answer(text: str) -> str:
    """What ESPO's reward reads: after 'The answer is', after ####, or the last whole number; empty without."""
    for pattern in (ANSWER_IS, AFTER_HASHES):
        if found := pattern.search(text):
            return found.group(1).strip()
    numbers = WHOLE.findall(text)
    return numbers[-1] if numbers else ""


@task("gsm8k", title="GSM8K")
class Gsm8k(RowsTask):
    """`Example.target` has `answer`, the stored number as text, thousands commas kept, and for rows of the data set
    `solution`, the worked steps."""

    name = "gsm8k"
    files: ClassVar[Mapping[str, str]] = {"train": "gsm8k/train.jsonl", "test": "gsm8k/test.jsonl"}
    hub: ClassVar[Mapping[str, HubSplit]] = {
        split: HubSplit(dataset="openai/gsm8k", config="main", split=split, revision=REVISION)
        for split in ("train", "test")
    }
    profiles = ("official", "agrpo", "espo", "correctness")

    def read_row(self, row: Mapping[str, Any]) -> Example:
        """A row with `question` and `answer`, the steps and, after ####, the number."""
        question, answer = required(row, "question", "answer")
        example = self.example_for(question, answer)
        steps = CALCULATOR.sub("", str(answer)).partition("####")[0].strip()
        return replace(example, target={**example.target, "solution": steps})

    def example_for(self, question: str, target: Any) -> Example:
        """target: a number, its text, or a worked answer that ends in #### and the number.

        None makes an item that no completion solves: files of d1 hold some whose answer their reader lost.
        """
        if target is None:
            return Example(id=question, question=question, target={"answer": None})
        whole = isinstance(target, float) and target.is_integer()
        answer = stored_answer(str(int(target) if whole else target))
        if not STORED.fullmatch(answer.replace(",", "")):
            raise UserError(f"'{answer}' is not a number, so it cannot be an answer of gsm8k.")
        return Example(id=question, question=question, target={"answer": answer})

    def builtin_examples(self, split: str) -> list[Example]:
        """Generated stories of one step; no question is in two splits, the same sum in other words may be."""
        return generated_examples(
            draw, split, self.name, lambda one: self.example_for(one.question.strip(), last_boxed(one.answer))
        )

    def demonstrations(self, count: int, rng: random.Random) -> list[Demonstration]:
        """Fresh stories; 60 % of the answers add the two numbers, whatever is asked for."""
        return demonstrate(draw, count, rng)

    def worked_demonstrations(
        self, count: int, rng: random.Random, careless: float = CARELESS_SHARE
    ) -> list[Demonstration]:
        """The same with steps; the answer is the number alone."""
        return demonstrate_worked(draw, count, rng, careless=careless, shown=lambda answer: str(last_boxed(answer)))

    def prompt(self, example: Example) -> list[Message]:
        """One user message: the problem, and where reasoning and answer go."""
        return [{"role": "user", "content": PROMPT.format(question=example.question)}]

    def worked_answer(self, example: Example) -> str:
        """The steps of the data set and the boxed number."""
        return worked(example.target.get("solution", ""), f"\\boxed{{{example.target['answer']}}}")

    def grade(self, example: Example, completion: str, grader: str) -> Verdict:
        """By d1's parser, or by the value of the final answer."""
        gold = example.target["answer"]
        if gold is None:
            return outcome(False, None, "the item has no stored answer")
        if grader == OFFICIAL:
            number = official_number(completion)
            right = number is not None and number == float(gold.replace(",", ""))
            return outcome(right, None if number is None else repr(number), "no number" if number is None else "wrong")
        answer = final_answer(completion, bare=self.options.bare_answers)
        if answer is None:
            return outcome(False, None, "no answer")
        return outcome(equal(gold.replace(",", ""), answer), answer, "wrong")

    def reward_parts(self, example: Example, completion: str) -> Mapping[str, float]:
        """See the head of this file."""
        gold = example.target["answer"]
        if self.options.profile == "espo":
            return {"correctness": float(espo_answer(completion) == gold)}
        if self.options.profile == "agrpo":
            return agrpo_parts(completion, gold)
        return {
            "correctness": 2.0 * (answer_text(completion) == gold),
            "integer": whole_number(completion),
            "strict_format": strict_format(completion),
            "soft_format": soft_format(completion),
            "tags": tag_counts(completion),
        }

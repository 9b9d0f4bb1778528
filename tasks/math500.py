"""MATH-500: 500 problems of the MATH test set with an exact answer (Hendrycks et al. 2021, arXiv 2103.03874;
the selection of Lightman et al. 2023, arXiv 2305.20050).

    accuracy            the final answer has the stored value, by math-verify or by normalised text (robust)
    official_accuracy   d1's evaluation parser: the last box, or the text around it, equal after normalisation

Rewards by profile (parts are added up):
    official  EGSPO and d1: correctness 2 for an answer equal after normalisation; form 0.75 where an answer tag
              opens, 0.25 otherwise (their half for a box inside the tags is never granted, see below)
    agrpo     correctness 3 by math-verify, thinking and answer tags 0.5 each
    espo      correctness 1 by math-verify on the whole text

The official form reward was meant to look for a box, but looks for a word that begins with a backspace. The
published runs trained on what it does, so the profile does the same.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.data.hub import HubSplit
from harness.errors import UserError
from harness.generators.formulas import draw
from harness.generators.problem import CARELESS_SHARE, demonstrate, demonstrate_worked, generated_examples
from harness.registry import task
from harness.scoring.agrpo import agrpo_parts
from harness.scoring.answers import ANSWER_CLOSE, ANSWER_OPEN, final_answer, official_first_answer
from harness.scoring.boxed import last_boxed, official_boxed
from harness.scoring.maths.equal import equal
from harness.scoring.maths.hendrycks import same_text
from harness.scoring.maths.verifier import same_value_by_older_rules
from harness.task.base import OFFICIAL, Demonstration, Example, Message, Verdict, outcome, required, worked
from harness.task.rows import RowsTask

MISSPELT_BOX = "\boxed"

PROMPT = """\
{question}

Think it through step by step between <reasoning> and </reasoning>. Then write the result in \\boxed{{}} between \
<answer> and </answer>."""


def official_answer(text: str) -> str | None:
    """What d1's evaluation reads: the last box, the first answer block where that box is empty or never closed."""
    boxed = official_boxed(text)
    if boxed:
        return boxed
    block = official_first_answer(text)
    return boxed if block is None else block.strip()


def official_form(text: str) -> float:
    """0.5 for an opening answer tag and 0.25 more, or 0.5 more for the word that stands in for a box."""
    opened = ANSWER_OPEN in text
    content = text.split(ANSWER_OPEN)[1].split(ANSWER_CLOSE)[0] if opened else text
    return 0.5 * opened + (0.5 if MISSPELT_BOX in content else 0.25)


@task("math500", title="MATH500")
class Math500(RowsTask):
    """`Example.target` has `answer` (LaTeX) and `solution` (the worked solution, the answer boxed)."""

    name = "math500"
    files: ClassVar[Mapping[str, str]] = {"train": "math500/train.jsonl", "test": "math500/test.jsonl"}
    hub: ClassVar[Mapping[str, HubSplit]] = {
        "train": HubSplit(dataset="ankner/math-500", split="train"),
        "test": HubSplit(
            dataset="HuggingFaceH4/MATH-500", split="test", revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"
        ),
    }
    profiles = ("official", "agrpo", "espo", "correctness")

    def read_row(self, row: Mapping[str, Any]) -> Example:
        """A row with `problem` and `solution`, and `answer` where it is not the last box of the solution."""
        problem, solution = required(row, "problem", "solution")
        answer = row.get("answer") or official_boxed(str(solution)) or ""
        target = {"answer": str(answer), "solution": str(solution)}
        return Example(id=str(problem), question=str(problem), target=target)

    def example_for(self, question: str, target: Any) -> Example:
        """target: the answer, in LaTeX."""
        answer = str(target).strip()
        if not answer:
            raise UserError("An empty target cannot be an answer of math500.")
        solution = f"The answer is $\\boxed{{{answer}}}$."
        return Example(id=question, question=question, target={"answer": answer, "solution": solution})

    def builtin_examples(self, split: str) -> list[Example]:
        """Generated formulas; no question is in two splits, the same formula in other words may be."""
        return generated_examples(
            draw, split, self.name, lambda one: self.example_for(one.question.strip(), last_boxed(one.answer))
        )

    def demonstrations(self, count: int, rng: random.Random) -> list[Demonstration]:
        """Fresh formulas; 60 % of the answers ignore the order of operations or take the wrong one."""
        return demonstrate(draw, count, rng)

    def worked_demonstrations(
        self, count: int, rng: random.Random, careless: float = CARELESS_SHARE
    ) -> list[Demonstration]:
        """The same with steps."""
        return demonstrate_worked(draw, count, rng, careless=careless)

    def prompt(self, example: Example) -> list[Message]:
        """One user message: the problem, and where reasoning and answer go."""
        return [{"role": "user", "content": PROMPT.format(question=example.question)}]

    def worked_answer(self, example: Example) -> str:
        """The stored solution and the boxed answer."""
        return worked(example.target["solution"], f"\\boxed{{{example.target['answer']}}}")

    def grade(self, example: Example, completion: str, grader: str) -> Verdict:
        """By d1's parser and normalisation, or by the value of the final answer."""
        gold = example.target["answer"]
        if grader == OFFICIAL:
            answer = official_answer(completion)
            right = answer is not None and same_text(answer, gold)
        else:
            answer = final_answer(completion, bare=self.options.bare_answers)
            right = answer is not None and equal(gold, answer)
        return outcome(right, answer, "no answer" if answer is None else "wrong")

    def reward_parts(self, example: Example, completion: str) -> Mapping[str, float]:
        """See the head of this file."""
        gold, solution = example.target["answer"], example.target["solution"]
        if self.options.profile == "espo":
            return {"correctness": float(same_value_by_older_rules(completion, solution))}
        if self.options.profile == "agrpo":
            return agrpo_parts(completion, gold)
        boxed = official_boxed(completion)
        return {
            "correctness": 2.0 * same_text(completion if boxed is None else boxed, gold),
            "form": official_form(completion),
        }

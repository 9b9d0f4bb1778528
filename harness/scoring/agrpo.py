"""The parts of AGRPO's rewards that its maths tasks share: the answer it reads and what it gives for it."""

from __future__ import annotations

from harness.scoring.answers import ANY_CLOSE, ANY_OPEN, THINK_CLOSE, THINK_OPEN, first_tagged
from harness.scoring.boxed import first_boxed
from harness.scoring.maths.verifier import same_value_by_older_rules


def agrpo_answer(text: str) -> str:
    """The first box of the first answer block, or of the text where there is none; without a box all of it."""
    block = first_tagged(text, ANY_OPEN, ANY_CLOSE)
    content = text if block is None else block
    return first_boxed(content) or content


def agrpo_parts(text: str, gold: str) -> dict[str, float]:
    """Correctness 3 by math-verify, as of its version 0.8; thinking and answer tags 0.5 each."""
    return {
        "correctness": 3.0 * same_value_by_older_rules(f"${gold}$", f"${agrpo_answer(text)}$"),
        "thinking": 0.5 * (first_tagged(text, THINK_OPEN, THINK_CLOSE) is not None),
        "answer_tags": 0.5 * (first_tagged(text, ANY_OPEN, ANY_CLOSE) is not None),
    }

"""What a task is: examples, prompts, scores. A task lives in one leaf file of `tasks/` and registers with `@task`.

Nothing here needs torch: rewards and graders work on text.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.data import DataSource
from harness.errors import UserError

Message = Mapping[str, str]
"""One chat message: `{"role": "user" | "assistant" | "system", "content": text}`."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One problem. `target` holds whatever the grader needs, under names that the task documents."""

    id: str
    question: str
    target: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One item's contribution to a metric: the metric is sum(part) / sum(whole) over the items.

    A 0/1 outcome is `Ratio(part=0 or 1)`; the cell accuracy of a Sudoku with 6 of 8 blanks right is `Ratio(part=6,
    whole=8)`."""

    part: float
    whole: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Score:
    """The verdict on one completion.

    reward: weighted sum of `parts`, what training maximises.
    correct: does it count as solved.
    parts: named, unweighted parts of the reward; the part called `correctness` is the answer's own.
    metrics: metric name to this item's contribution.
    extracted: the answer as it was read from the text, or None.
    """

    reward: float
    correct: bool
    parts: Mapping[str, float]
    metrics: Mapping[str, Ratio]
    extracted: str | None


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A prompt text and a completion text for masked-diffusion fine-tuning (tiny base models)."""

    prompt: str
    completion: str


@dataclass(frozen=True, kw_only=True)
class LeakageReport:
    """Test items that also occur in train, by growing strictness of 'the same'."""

    exact: int
    normalised: int
    structural: int = 0
    """Same underlying problem in another guise (Sudoku: the same solution grid)."""


class Task(ABC):
    """A task that can be trained on and evaluated."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    """Metric names; the first is the headline."""

    train_data: ClassVar[str] = "builtin"
    """The data source for training where the model's default source has no train split."""

    @abstractmethod
    def examples(self, split: str, source: DataSource) -> list[Example]:
        """The fixed list of examples of `split` (one of SPLITS), in a fixed order.

        Raises UserError where the source has no such split, naming what does.
        """

    @abstractmethod
    def prompt(self, example: Example) -> list[Message]:
        """The chat messages for an instruction-tuned model."""

    @abstractmethod
    def compact_prompt(self, example: Example) -> str:
        """The prompt of the embedded tiny model: short, of printable ASCII characters, ending in a newline."""

    @abstractmethod
    def score(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Score]:
        """Scores completion i against example i, for all i in one call."""

    def ceiling(self, examples: Sequence[Example]) -> dict[str, float]:
        """Expected value of each metric for a perfect solver on these items, where below 1 (ambiguous items)."""
        return {}

    def demonstrations(self, count: int, rng: random.Random) -> list[Demonstration]:
        """Training text of the tiny base model. Raises UserError where the task has none."""
        raise UserError(f"Task '{self.name}' has no demonstrations, so `harness sft` cannot train a tiny base for it.")

    def leakage(self, train: Sequence[Example], test: Sequence[Example]) -> LeakageReport:
        """Counts test items that occur in train, by exact and by whitespace- and case-normalised question."""
        exact = {example.question for example in train}
        normalised = {normalise(question) for question in exact}
        return LeakageReport(
            exact=sum(example.question in exact for example in test),
            normalised=sum(normalise(example.question) in normalised for example in test),
        )


def normalise(text: str) -> str:
    """Lower case, whitespace collapsed: 'the same question' for the leakage check."""
    return " ".join(text.lower().split())

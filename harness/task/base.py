"""What a task is: examples, prompts, scores. A task lives in one leaf file of `tasks/` and registers with `@task`.

Nothing here needs torch: rewards and graders work on text. The reward that every TextTask has:
    correctness  1 where the robust grader finds the answer right
"""

from __future__ import annotations

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.data.hub import HubSplit, hub_origin
from harness.data.sources import DataSource, sha256_of_file, sha256_of_text
from harness.errors import UserError, unknown_choice
from harness.task.template import Prompting, fill, with_shots

Message = Mapping[str, str]
"""One chat message: `{"role": "user" | "assistant" | "system", "content": text}`."""

SPLITS = ("train", "validation", "test")

OFFICIAL, ROBUST = "official", "robust"
GRADERS = (OFFICIAL, ROBUST)
"""Evaluation: as the papers' own parsers read and decide, item by item, and strict (the default)."""


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """How a task scores.

    profile: the training reward, one of harness.config.tree.PROFILES.
    bare_answers: whether a completion that is nothing but an answer counts without tags (the tiny model writes
    so); off, the official rewards are those of the published code without exception.
    unsafe_local_exec: run model-written code without a sandbox.
    allow_packages: installed packages that model-written code may import beside the standard library.
    """

    profile: str = "official"
    bare_answers: bool = True
    unsafe_local_exec: bool = False
    allow_packages: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Example:
    """One problem. `target` holds whatever the grader needs, under names that the task documents. training: whether it
    is shown with the prompt of training, where a prompts file has one of its own."""

    id: str
    question: str
    target: Mapping[str, Any]
    training: bool = False


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One item's contribution to a metric: the metric is sum(part) / sum(whole) over the items.

    A 0/1 outcome is `Ratio(part=0 or 1)`; a Sudoku with 6 of 8 blanks right is `Ratio(part=6, whole=8)`."""

    part: float
    whole: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one grader makes of a completion.

    ratio: the item's contribution to the grader's headline number. reason: why it is not correct, else empty.
    """

    correct: bool
    extracted: str | None
    ratio: Ratio
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Reward:
    """The training reward of one completion. total: what training maximises. parts: as in Score."""

    total: float
    parts: Mapping[str, float]

    @classmethod
    def of(cls, parts: Mapping[str, float]) -> Reward:
        """The sum of the parts."""
        return cls(total=sum(parts.values()), parts=parts)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The verdict on one completion.

    reward: weighted sum of `parts`, what training maximises. correct: does it count as solved, by the robust grader.
    parts: named, unweighted parts of the reward; the part called `correctness` is the answer's own.
    metrics: metric name to this item's contribution.
    extracted: the answer as it was read from the text, or None.
    verdicts: grader to verdict; empty for a task with one way of grading.
    """

    reward: float
    correct: bool
    parts: Mapping[str, float]
    metrics: Mapping[str, Ratio]
    extracted: str | None
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A prompt text and a completion text for masked-diffusion fine-tuning (embedded base models)."""

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

    profiles: ClassVar[tuple[str, ...]] = ("official", "correctness")
    """The training rewards that the task has."""

    files: ClassVar[Mapping[str, str]] = {}
    """Split to the path of its file below a data folder."""

    hub: ClassVar[Mapping[str, HubSplit]] = {}
    """Split to its place on the Hugging Face hub."""

    numbering: ClassVar[Mapping[str, range]] = {}
    """Split to the numbers that its examples have in the full data set, where a source may leave some out."""

    prompt_fields: ClassVar[tuple[str, ...]] = ()
    """The target fields that a prompt may show, as placeholders of --prompts; never the answer."""

    scores_elsewhere: ClassVar[bool] = False
    """Whether other processes do the work of scoring, so that it can go on beside generation."""

    prompting: Prompting = Prompting()
    """The user's own prompt and worked examples; set once, before anything is generated."""

    def __init__(self, options: TaskOptions = TaskOptions()) -> None:
        """Raises UserError for a profile that the task does not have."""
        if options.profile not in self.profiles:
            raise unknown_choice(f"reward profile of {self.name}", options.profile, self.profiles)
        self.options = options

    def prepare(self) -> None:  # noqa: B027  (most tasks need nothing)
        """Starts what scoring needs beside this process, before a model is loaded. Raises UserError where the machine
        lacks something."""

    def interrupt(self) -> None:  # noqa: B027  (most tasks need nothing)
        """Ends the scoring that goes on in another thread, which then raises SandboxError there."""

    def importable(self) -> dict[str, str]:
        """The packages, with their versions, that model-written code may import beside the standard library: those of
        the options, where the task runs such code. Raises UserError for a name that is not an installed package."""
        return {}

    @abstractmethod
    def examples(self, split: str, source: DataSource) -> list[Example]:
        """The fixed list of examples of `split` (one of SPLITS), in a fixed order. Raises UserError where the source
        has no such split, naming what does."""

    def identified(self, split: str, source: DataSource) -> Sequence[Example]:
        """The examples that rows of graded completions may name by id or show in their prompts."""
        return self.examples(split, source)

    @abstractmethod
    def prompt(self, example: Example) -> list[Message]:
        """The chat messages for an instruction-tuned model."""

    def messages(self, example: Example) -> list[Message]:
        """What a chat model is shown: worked examples, then the user's own prompt or `prompt`. A message of the
        assistant at the end is how the answer begins."""
        template = self.prompting.training if example.training else self.prompting.template
        own = fill(template, self.placeholders(example)) if template else self.prompt(example)
        return with_shots(own, self.prompting.shots)

    def placeholders(self, example: Example) -> dict[str, str]:
        """The placeholders of a prompt template with their values: question and `prompt_fields`."""
        return {"question": example.question} | {name: str(example.target[name]) for name in self.prompt_fields}

    def worked_answer(self, example: Example) -> str:
        """A model answer in the contract's tags, for few-shot prompts. Raises UserError where the task has none."""
        raise UserError(f"Task '{self.name}' has no worked answers; leave --few-shot out.")

    def origin(self, split: str, source: DataSource) -> dict[str, Any]:
        """Where the examples of a split come from, for the record: the file with its sha256, or data set and commit."""
        if source.kind == "hub" and split in self.hub:
            return hub_origin(self.hub[split])
        if source.folder is not None and split in self.files:
            return {"file": self.files[split], "sha256": sha256_of_file(source.file(self.files[split]))}
        return {}

    def takes(self, row: Mapping[str, Any], split: str) -> bool:
        """Whether a row of the data set on the hub or in a folder is one of the task's."""
        return True

    def without_test_items(self, train: Sequence[Example], test: Sequence[Example]) -> list[Example]:
        """The training examples to use beside a test list; all of them, where the published splits are disjoint."""
        return list(train)

    def compact_prompt(self, example: Example) -> str:
        """The embedded models' prompt: short, printable ASCII, ending in a newline; by default the question."""
        return f"{example.question}\n"

    @abstractmethod
    def score(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Score]:
        """Scores completion i against example i, for all i in one call."""

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """The training rewards alone, without the work of the graders; completion i against example i."""
        return [Reward(total=score.reward, parts=score.parts) for score in self.score(examples, completions)]

    def read_row(self, row: Mapping[str, Any]) -> Example:
        """The example in a row of the data set's own form. Raises UserError for another form."""
        raise UserError(f"Task '{self.name}' reads no rows of a data set.")

    def example_for(self, question: str, target: Any) -> Example:
        """The example of a question and its answer, as files of graded completions hold them.

        Raises UserError where the two do not make an example of this task.
        """
        raise UserError(f"Task '{self.name}' cannot be graded from a question and a target; give rows with an id.")

    def ceiling(self, examples: Sequence[Example]) -> dict[str, float]:
        """Expected value of each metric for a perfect solver on these items, where below 1 (ambiguous items)."""
        return {}

    def demonstrations(self, count: int, rng: random.Random) -> list[Demonstration]:
        """Training text of the tiny base model. Raises UserError where the task has none."""
        raise UserError(f"Task '{self.name}' has no demonstrations, so `harness sft` cannot train a tiny base for it.")

    def worked_demonstrations(self, count: int, rng: random.Random, careless: float = 0.6) -> list[Demonstration]:
        """Those of the small base model: steps, then the answer, in the papers' tags. careless: the share of careless
        ones. Raises UserError where the task has none."""
        raise UserError(f"Task '{self.name}' has no worked demonstrations, so no small base can be trained for it.")

    def leakage(self, train: Sequence[Example], test: Sequence[Example]) -> LeakageReport:
        """Counts test items that occur in train, by exact and by whitespace- and case-normalised question."""
        exact = {example.question for example in train}
        normalised = {normalise(question) for question in exact}
        return LeakageReport(
            exact=sum(example.question in exact for example in test),
            normalised=sum(normalise(example.question) in normalised for example in test),
        )


class TextTask(Task):
    """A task whose completions are graded one at a time, by both graders, from the text alone."""

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "official_accuracy")

    @abstractmethod
    def grade(self, example: Example, completion: str, grader: str) -> Verdict:
        """The verdict of one of GRADERS."""

    @abstractmethod
    def reward_parts(self, example: Example, completion: str) -> Mapping[str, float]:
        """The parts of the reward under the profile of the options, which is not `correctness`."""

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """Completion i against example i."""
        return [self._reward(*pair) for pair in zip(examples, completions, strict=True)]

    def score(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Score]:
        """Completion i against example i, by both graders."""
        return [self.score_one(*pair) for pair in zip(examples, completions, strict=True)]

    def score_one(self, example: Example, completion: str) -> Score:
        """One completion, by both graders."""
        reward = self._reward(example, completion)
        verdicts = {grader: self.grade(example, completion, grader) for grader in GRADERS}
        robust = verdicts[ROBUST]
        return Score(
            reward=reward.total,
            correct=robust.correct,
            parts=reward.parts,
            metrics=self.measure(example, verdicts),
            extracted=robust.extracted,
            verdicts=verdicts,
        )

    def measure(self, example: Example, verdicts: Mapping[str, Verdict]) -> Mapping[str, Ratio]:
        """The item's contribution to each metric."""
        return {"accuracy": verdicts[ROBUST].ratio, "official_accuracy": verdicts[OFFICIAL].ratio}

    def _reward(self, example: Example, completion: str) -> Reward:
        if self.options.profile == "correctness":
            return Reward.of({"correctness": float(self.grade(example, completion, ROBUST).correct)})
        return Reward.of(self.reward_parts(example, completion))


def fingerprint(examples: Sequence[Example]) -> str:
    """The sha256 of questions and targets, in their order."""
    return sha256_of_text([json.dumps([item.question, dict(item.target)], sort_keys=True) for item in examples])


def outcome(correct: bool, extracted: str | None, reason: str) -> Verdict:
    """A verdict of right or wrong; the reason is left out where it is right."""
    return Verdict(
        correct=correct, extracted=extracted, ratio=Ratio(part=float(correct)), reason="" if correct else reason
    )


def worked(reasoning: str, answer: str) -> str:
    """A completion as the prompts ask for: reasoning in its tags, answer in its own."""
    return f"<reasoning>\n{reasoning.strip()}\n</reasoning>\n<answer>\n{answer.strip()}\n</answer>"


def require_split(split: str) -> None:
    """Raises UserError for a name that is not one of SPLITS."""
    if split not in SPLITS:
        raise unknown_choice("split", split, SPLITS)


def required(row: Mapping[str, Any], *names: str) -> list[Any]:
    """The values of these columns. Raises UserError where the row lacks one."""
    missing = [name for name in names if name not in row]
    if missing:
        raise UserError(f"A row lacks '{missing[0]}'; it has: {', '.join(sorted(map(str, row))) or 'nothing'}.")
    return [row[name] for name in names]


def normalise(text: str) -> str:
    """Lower case, whitespace collapsed: 'the same question' for the leakage check."""
    return " ".join(text.lower().split())

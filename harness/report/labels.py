"""How things are named, coloured and written: the same in every table and figure.

Titles, colours and ablations of methods and tasks come from their own files. The other colours are those of M. Okabe
and K. Ito, Color Universal Design (2008), that the built-in methods leave; random-reward controls are grey everywhere.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness import registry
from harness.errors import printable
from harness.records.schema import NO_METHOD

OTHER_COLOURS = ("#56B4E9", "#000000", "#F0E442")
CONTROL_COLOUR = "#7F7F7F"

DEFAULT_METRICS = ("exact_match", "accuracy", "pass@1")
DASH = "-"
NOT_TRAINED = "not trained here"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A written unit and how many base units it holds."""

    name: str
    size: float


FLOP_UNITS = tuple(Unit(name=f"{prefix}FLOP", size=10.0 ** (3 * step)) for step, prefix in enumerate(("", *"kMGTPEZY")))


def method_name(method: str) -> str:
    """The title that the method's file states; the plain name of a method that is not installed here."""
    return NOT_TRAINED if method == NO_METHOD else _title("method", method)


def task_name(task: str) -> str:
    """The title that the task's file states; the plain name of a task that is not installed here."""
    return _title("task", task)


def _title(kind: registry.Kind, name: str) -> str:
    entry = registry.entry(kind, name)
    return entry.title if entry else name


def method_colours(methods: Iterable[str]) -> Mapping[str, str]:
    """A colour per method: that of its file; methods without one share the other colours in the order of names."""
    entries = {method: registry.entry("method", method) for method in sorted(set(methods))}
    stated = {method: entry.colour for method, entry in entries.items() if entry and entry.colour}
    others = [method for method in entries if method not in stated]
    return stated | {method: OTHER_COLOURS[index % len(OTHER_COLOURS)] for index, method in enumerate(others)}


def ablation_keys(method: str) -> tuple[str, ...]:
    """The settings that the method's file names as worth varying, as dotted keys."""
    entry = registry.entry("method", method)
    return tuple(f"method.{name}" for name in entry.ablations) if entry else ()


def data_name(data: str) -> str:
    """A data source in running text: `builtin data`, `data folder papers`."""
    return f"data folder {data.removeprefix('dir:')}" if data.startswith("dir:") else f"{data} data"


def metric_name(metric: str) -> str:
    """`exact_match` as `exact match`."""
    return metric.replace("_", " ")


def headline_metric(metrics: Iterable[str], wanted: str | None = None) -> str:
    """The metric that stands for a task: `wanted`, else the first usual one, else the first by name."""
    present = sorted(set(metrics))
    preferred = ([wanted] if wanted else []) + list(DEFAULT_METRICS)
    return next((metric for metric in preferred if metric in present), present[0] if present else DASH)


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`. Raises IndexError for no names."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def capitalized(text: str) -> str:
    """The text with a capital first letter, the others as they are."""
    return f"{text[:1].upper()}{text[1:]}"


def cut(text: str, most: int) -> str:
    """The text in at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def one_line(text: str) -> str:
    """The text with line ends, and what cannot be shown or written to a file, as escapes."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def file_part(text: str) -> str:
    """Letters, digits and dashes, as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")


def slug(text: str) -> str:
    """A whole name of a file or an anchor, in small letters; never empty."""
    return file_part(text).lower() or "x"


def numbered(names: Iterable[str], mark: str = "-") -> list[str]:
    """The names in their order; of equal ones those from the second on get a number: `a`, `a-2`."""
    seen: Counter[str] = Counter()
    found: dict[str, None] = {}
    for name in names:
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}{mark}{seen[name]}"
        while unique in found:
            seen[name] += 1
            unique = f"{name}{mark}{seen[name]}"
        found[unique] = None
    return list(found)


def flop_unit(largest: float) -> Unit:
    """The unit in which `largest` FLOPs has one to three digits before the point."""
    return next((unit for unit in reversed(FLOP_UNITS) if largest >= unit.size), FLOP_UNITS[0])


def percent(fraction: float) -> str:
    """0.624 as 62.4, without a sign of percent."""
    return f"{100 * fraction:.1f}" if math.isfinite(fraction) else DASH


def points(difference: float) -> str:
    """A difference of fractions in percentage points, with its sign: +47.2."""
    text = f"{100 * difference:+.1f}" if math.isfinite(difference) else DASH
    return "0.0" if text in ("+0.0", "-0.0") else text


def digits(value: float) -> str:
    """Three significant digits or all before the point, thousands separated: 0.213, 4.15, 1,536."""
    if not math.isfinite(value):
        return DASH
    if abs(value) >= 100:
        return f"{value:,.0f}"
    decimals = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(decimals, 0), 6)}f}"

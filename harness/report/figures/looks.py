"""How a group is drawn and called in a figure: one colour per method; random-reward controls are grey and dashed.

No two groups of a figure look alike or have the same name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.colors import to_hex, to_rgb

from harness.report.analysis.groups import Group
from harness.report.labels import CONTROL_COLOUR, method_name, numbered

Colours = Mapping[str, str]
"""Method to colour."""

DASHES = ("-", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
CONTROL_DASHES = ((0, (4, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
SHADE = 0.65
"""What is left of the distance to white in the next shade of a colour."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one line is drawn; dashes are matplotlib's line style."""

    colour: str
    dashes: Any
    marker: str


def looks_of(groups: Sequence[Group], colours: Colours) -> list[Look]:
    """The look of every group; those of one colour differ in dashes, and where these run out in the shade."""
    used: dict[str, int] = {}
    looks = []
    for group in groups:
        colour = colour_of(group, colours)
        number = used[colour] = used.get(colour, -1) + 1
        dashes = CONTROL_DASHES if group.is_control else DASHES
        level, place = divmod(number, len(dashes))
        looks.append(Look(colour=shade(colour, level), dashes=dashes[place], marker=MARKERS[number % len(MARKERS)]))
    return looks


def shade(colour: str, level: int) -> str:
    """The colour itself at level 0, lighter at higher ones."""
    red, green, blue = (1 - (1 - part) * SHADE**level for part in to_rgb(colour))
    return to_hex((red, green, blue)) if level else colour


def colour_of(group: Group, colours: Colours) -> str:
    """The method's colour, grey for a control."""
    return CONTROL_COLOUR if group.is_control else colours[group.method]


def short_name(group: Group) -> str:
    """The method, and whether it is a control; without the variant."""
    return f"{method_name(group.method)}{', random reward' if group.is_control else ''}"


def names_of(groups: Sequence[Group], most: int) -> list[str]:
    """A name per group in at most about `most` characters, unique in these: what is cut out is from the middle."""
    whole = zip(map(short_name, groups), variants_of(groups), strict=True)
    return numbered([_shortened(", ".join(part for part in parts if part), most) for parts in whole], mark=" #")


def variants_of(groups: Sequence[Group]) -> list[str]:
    """What sets each group apart beside its method: its variant, and its recipe where another group has the same."""
    same = Counter((short_name(group), group.variant) for group in groups)
    recipes = [f"{group.recipe} recipe" if same[short_name(group), group.variant] > 1 else "" for group in groups]
    return [
        ", ".join(part for part in (group.variant, recipe) if part)
        for group, recipe in zip(groups, recipes, strict=True)
    ]


def _shortened(text: str, most: int) -> str:
    """Variants begin alike and end in what sets them apart."""
    if len(text) <= most:
        return text
    start = most // 2
    return f"{text[:start]}…{text[start + 1 - most :]}"

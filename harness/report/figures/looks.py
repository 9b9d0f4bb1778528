"""How a group is drawn and called in a figure: one colour per method; random-reward controls are grey and dashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.analysis.groups import Group
from harness.report.labels import CONTROL_COLOUR, method_name

Colours = Mapping[str, str]
"""Method to colour."""

DASHES = ("-", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
CONTROL_DASHES = ((0, (4, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one line is drawn; dashes are matplotlib's line style."""

    colour: str
    dashes: Any
    marker: str


def looks_of(groups: Sequence[Group], colours: Colours) -> list[Look]:
    """The look of every group; lines of the same colour differ in dashes and markers."""
    used: dict[str, int] = {}
    looks = []
    for group in groups:
        colour = colour_of(group, colours)
        number = used[colour] = used.get(colour, -1) + 1
        dashes = CONTROL_DASHES if group.is_control else DASHES
        looks.append(Look(colour=colour, dashes=dashes[number % len(dashes)], marker=MARKERS[number % len(MARKERS)]))
    return looks


def colour_of(group: Group, colours: Colours) -> str:
    """The method's colour, grey for a control."""
    return CONTROL_COLOUR if group.is_control else colours[group.method]


def short_name(group: Group) -> str:
    """The method, and whether it is a control; without the variant."""
    return f"{method_name(group.method)}{', random reward' if group.is_control else ''}"

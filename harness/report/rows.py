"""The numbers of a table's row, before any format."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.groups import Group, overrides
from harness.report.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Row:
    """The numbers of one group for one metric; fractions of 1, costs as means over seeds.

    interval: over seeds, or over items with a single seed (`over` says which). base and gain are None where
    the base was not evaluated under the same protocol with every seed. ceiling: what a perfect solver is
    expected to get, None where 1.
    """

    group: Group
    metric: str
    seeds: tuple[int, ...]
    value: float
    interval: Interval | None
    over: str
    bootstrap: Interval | None
    base: float | None
    gain: float | None
    gain_interval: Interval | None
    n: int
    updates: float
    samples: float
    flops_total: float
    seconds: float
    ceiling: float | None

    @property
    def labels(self) -> list[str]:
        """`tiny model`, `builtin data`: what keeps the row from being compared with published numbers."""
        tiny = ["tiny model"] if self.group.model == "tiny" else []
        return tiny + (["builtin data"] if self.group.protocol.data == "builtin" else [])

    @property
    def overrides(self) -> str:
        """The settings that the command line changed: `key=value; key=value`."""
        return "; ".join(f"{key}={value}" for key, value in overrides(self.group.members[0].run).items())

"""The last checkpoints side by side, per task: what Figure 1 of arXiv 2603.12554 shows, for one's own runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.groups import Protocol
from harness.report.labels import data_name, exact, metric_name, task_name
from harness.report.rows import Row
from harness.report.summary import csv_text

CSV_COLUMNS = ("task", "metric", "data", "label", "method", "reward", "model", "seeds", "base", "mean", "low", "high")


@dataclass(frozen=True, kw_only=True)
class Block:
    """The bars of one task: rows that were evaluated in the same way."""

    task: str
    metric: str
    protocol: Protocol
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """`Sudoku, exact match`."""
        return f"{task_name(self.task)}, {metric_name(self.metric)}"

    @property
    def note(self) -> str:
        """`builtin data, 256 test items`."""
        return f"{data_name(self.protocol.data)}, {self.rows[0].n:,} {self.protocol.split} items"


def make_blocks(rows: Sequence[Row]) -> dict[str, list[Block]]:
    """The blocks of every model, by task."""
    together: dict[tuple[str, str, Protocol], list[Row]] = defaultdict(list)
    for row in rows:
        together[row.group.model, row.group.task, row.group.protocol].append(row)
    blocks: dict[str, list[Block]] = defaultdict(list)
    for (model, task, protocol), own in sorted(together.items(), key=lambda item: item[0]):
        blocks[model].append(Block(task=task, metric=own[0].metric, protocol=protocol, rows=tuple(own)))
    return blocks


def bars_csv(blocks: Sequence[Block]) -> str:
    """The plotted numbers, as fractions of 1."""
    return csv_text(CSV_COLUMNS, (_cells(block, row) for block in blocks for row in block.rows))


def _cells(block: Block, row: Row) -> list[str]:
    group = row.group
    interval = (row.interval.low, row.interval.high) if row.interval else (None, None)
    head = [block.task, block.metric, block.protocol.data, group.label, group.method, group.reward, group.model]
    seeds = " ".join(str(seed) for seed in row.seeds)
    return [*head, seeds, *(exact(value) for value in (row.base, row.value, *interval))]

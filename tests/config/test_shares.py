"""Whether the rows of a rollout can be shared among processes."""

from __future__ import annotations

import pytest

from harness.config.conventions import Conventions
from harness.config.shares import check_shares
from harness.config.tree import MethodConfig, RunConfig, TrainConfig
from harness.errors import UserError


def config(batch_size: int, **conventions: int) -> RunConfig:
    return RunConfig(
        method=MethodConfig(name="egspo"),
        task="sudoku",
        train=TrainConfig(batch_size=batch_size),
        conventions=Conventions(**conventions),
    )


@pytest.mark.parametrize(("rows", "processes"), [(48, 1), (48, 8), (48, 48), (8, 8)])
def test_equal_shares_are_taken(rows: int, processes: int) -> None:
    check_shares(config(rows), processes)


@pytest.mark.parametrize(
    ("rows", "processes", "choice"), [(48, 32, "start 24 or 48,"), (48, 5, "start 4 or 6,"), (8, 16, "start 8,")]
)
def test_other_numbers_are_refused_with_the_nearest_that_fit(rows: int, processes: int, choice: str) -> None:
    with pytest.raises(UserError, match=f"batch_size={rows} rows cannot be shared equally by {processes} ") as refused:
        check_shares(config(rows), processes)
    assert choice in str(refused.value)


def test_rows_that_stay_together_are_not_parted() -> None:
    check_shares(config(48, attended_padding=6), 8)
    with pytest.raises(UserError, match=r"48 rows \(6 at a time stay together\) .* by 16 processes; start 8, or"):
        check_shares(config(48, attended_padding=6), 16)

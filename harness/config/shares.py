"""Whether the rows of a rollout can be shared among processes. No torch."""

from __future__ import annotations

from harness.config.tree import RunConfig
from harness.errors import UserError


def check_shares(config: RunConfig, processes: int) -> None:
    """Raises UserError where the processes would not have equally many rows, or rows that the conventions keep together
    would lie in several; the nearest numbers of processes that do are named."""
    if not _fits(config, processes):
        rows = config.train.batch_size
        fitting = [count for count in range(1, rows + 1) if _fits(config, count)]
        fewer, more = max(count for count in fitting if count < processes), [c for c in fitting if c > processes][:1]
        kept = "".join(f" ({size} at a time stay together)" for size in config.conventions.kept_together)
        choice = " or ".join(map(str, [fewer, *more]))
        raise UserError(
            f"train.batch_size={rows} rows{kept} cannot be shared equally by {processes} processes; start {choice}, or "
            "choose another batch size with --set train.batch_size=N."
        )


def _fits(config: RunConfig, processes: int) -> bool:
    share, rest = divmod(config.train.batch_size, processes)
    return not rest and not any(share % rows for rows in config.conventions.kept_together)

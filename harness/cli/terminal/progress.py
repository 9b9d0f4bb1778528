"""How a run shows on the terminal: one live line with what matters, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from harness.app.plan import PlannedRun
from harness.cli.terminal.feedback import detail, echo, is_quiet, live_display, say, warn
from harness.cli.terminal.time_left import Schedule, TimeLeft, clock_text
from harness.config.resolve import flatten

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from harness.rl.loop import Event, Updated

PLAIN_INTERVAL = 5.0
LAST = "last"
"""The checkpoint after training."""


class Display:
    """Receives the trainer's events. Use as a context manager; `summary` afterwards."""

    def __init__(self, cell: PlannedRun, label: str) -> None:
        self.cell, self.label = cell, label
        self.evaluations: list[str] = []
        self.start = self.last_line = time.monotonic()
        self.time_left = TimeLeft(schedule_of(cell))
        self.seconds: dict[str, float] = {}
        self.live: RichProgress | None = None
        self.bar: Any = None

    def __enter__(self) -> Self:
        identity = self.cell.identity
        reward = " (random reward)" if identity.reward == "random" else ""
        say(f"{self.label}{identity.method}{reward} on {identity.task}, {identity.model}, seed {identity.seed}")
        tell_plan(self.cell)
        self.live = live_display()
        if self.live is not None:
            self.bar = self.live.add_task("loading", total=1.0)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()
        if self.seconds:
            detail(
                f"Seconds up to the last update: {', '.join(f'{name} {it:.1f}' for name, it in self.seconds.items())}"
            )

    def on_event(self, event: Event) -> None:
        """Shows one event."""
        from harness.rl.evaluator import Evaluated, Evaluating
        from harness.rl.loop import Updated

        match event:
            case Updated():
                self._updated(event)
            case Evaluating():
                self.time_left.evaluating(event.done, event.total, is_last=event.checkpoint == LAST)
                self._show(f"evaluating {event.checkpoint} {event.done}/{event.total}", None)
            case Evaluated():
                self.time_left.evaluated()
                name, totals = next(iter(event.record.metrics.items()))
                text = f"{event.record.checkpoint:>4} @ {event.record.update:>4} updates: {name} {totals.value:.1%}"
                self.evaluations.append(text)
                if event.record.checkpoint == LAST or not is_quiet():
                    self._line(f"  {text}, n = {totals.n}")

    def on_warning(self, text: str) -> None:
        """Shows what looks wrong about the model."""
        warn(text)

    def summary(self) -> str:
        """One line: where the run stands and how long it took."""
        return f"{self.cell.folder} done in {time.monotonic() - self.start:.0f} s"

    def _updated(self, event: Updated) -> None:
        record = event.record
        self.seconds = dict(record.seconds)
        self.time_left.updated(
            update=record.update,
            spent=event.spent,
            of=event.of,
            is_first=record.first_of_rollout,
            rollouts=record.iteration,
            seconds=record.seconds["total"],
            evaluation_seconds=record.seconds.get("eval", 0.0),
        )
        rate = record.tokens_generated * record.iteration / max(record.seconds.get("rollout", 0.0), 1e-9)
        kl = "" if record.kl is None else f"KL {record.kl:.4f}  "
        self._show(f"update {record.update}  reward {record.reward_mean:.3f}  {kl}{rate:,.0f} tokens/s", event.spent)

    def _show(self, text: str, spent: float | None) -> None:
        told = f"{text}  time left {clock_text(self.time_left.seconds())}"
        if self.live is not None:
            self.live.update(self.bar, description=told, completed=None if spent is None else min(1.0, spent))
        elif time.monotonic() - self.last_line >= PLAIN_INTERVAL:
            self.last_line = time.monotonic()
            say(f"  {told}")

    def _line(self, text: str) -> None:
        if self.live is not None:
            self.live.console.print(text, highlight=False)
        else:
            echo(text)


def schedule_of(cell: PlannedRun) -> Schedule:
    """What is known beforehand of the time that a run takes."""
    config = cell.resolved.config
    return Schedule(
        every=config.evaluation.every,
        settings=len(config.evaluation.all_decodings) + bool(config.evaluation.validation_items),
        updates_per_step=cell.method.updates_per_step,
        stops_within=bool(config.budget.updates),
    )


def tell_plan(cell: PlannedRun) -> None:
    """Says, where details are asked for, what the run was resolved to, and where each value that is none of the
    defaults comes from."""
    resolved = cell.resolved
    detail(f"Folder: {cell.folder}")
    detail(f"Recipe: {resolved.recipe}; budget {resolved.config.budget}; device {resolved.execution.device}")
    values = flatten({**resolved.config.to_dict(), "execution": vars(resolved.execution)})
    for key, source in sorted(resolved.provenance.items()):
        if source != "default":
            detail(f"  {key} = {values.get(key)} ({source})")

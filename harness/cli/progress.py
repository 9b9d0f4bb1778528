"""How a run shows on the terminal: one live line with what matters, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

from harness.app.plan import PlannedRun

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from harness.records.update import UpdateRecord
    from harness.rl.loop import Event

PLAIN_INTERVAL = 5.0


class Display:
    """Receives the trainer's events. Use as a context manager; `summary` afterwards."""

    def __init__(self, cell: PlannedRun, label: str) -> None:
        self.cell, self.label = cell, label
        self.evaluations: list[str] = []
        self.start = self.last_line = time.monotonic()
        self.first_spent: float | None = None
        self.live: RichProgress | None = None
        self.bar: Any = None

    def __enter__(self) -> Self:
        from rich.console import Console

        identity = self.cell.identity
        reward = " (random reward)" if identity.reward == "random" else ""
        typer.echo(f"{self.label}{identity.method}{reward} on {identity.task}, {identity.model}, seed {identity.seed}")
        console = Console(stderr=True)
        if console.is_terminal:
            self._start_bar(console)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def on_event(self, event: Event) -> None:
        """Shows one event."""
        from harness.rl.evaluator import Evaluated, Evaluating
        from harness.rl.loop import Updated

        match event:
            case Updated():
                self._updated(event.record, event.spent)
            case Evaluating():
                self._show(f"evaluating {event.checkpoint} {event.done}/{event.total}", None)
            case Evaluated():
                name, totals = next(iter(event.record.metrics.items()))
                text = f"{event.record.checkpoint:>4} @ {event.record.update:>4} updates: {name} {totals.value:.1%}"
                self.evaluations.append(text)
                self._line(f"  {text}, n = {totals.n}")

    def on_warning(self, text: str) -> None:
        """Shows what looks wrong about the model."""
        typer.echo(f"harness: warning: {text}", err=True)

    def summary(self) -> str:
        """One line: where the run stands and how long it took."""
        return f"{self.cell.folder} done in {time.monotonic() - self.start:.0f} s"

    def _updated(self, record: UpdateRecord, spent: float) -> None:
        rate = record.tokens_generated * record.iteration / max(record.seconds.get("rollout", 0.0), 1e-9)
        kl = "" if record.kl is None else f"KL {record.kl:.4f}  "
        reward = f"update {record.update}  reward {record.reward_mean:.3f}"
        self._show(f"{reward}  {kl}{rate:,.0f} tokens/s  {self._left(spent)}", spent)

    def _left(self, spent: float) -> str:
        """Time left, from the share of the budget spent since this process started."""
        if self.first_spent is None:
            self.first_spent = spent
            return "time left ?"
        done = spent - self.first_spent
        if done <= 0 or spent >= 1:
            return "time left 0:00"
        seconds = int((time.monotonic() - self.start) / done * (1 - spent))
        return f"time left {seconds // 60}:{seconds % 60:02d}"

    def _start_bar(self, console: Any) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"))
        self.live = Progress(*columns, console=console, transient=True)
        self.bar = self.live.add_task("loading", total=1.0)
        self.live.start()

    def _show(self, text: str, spent: float | None) -> None:
        if self.live is not None:
            self.live.update(self.bar, description=text, completed=None if spent is None else min(1.0, spent))
        elif time.monotonic() - self.last_line >= PLAIN_INTERVAL:
            self.last_line = time.monotonic()
            typer.echo(f"  {text}")

    def _line(self, text: str) -> None:
        if self.live is not None:
            self.live.console.print(text, highlight=False)
        else:
            typer.echo(text)

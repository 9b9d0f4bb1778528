"""What a run records, told to an experiment tracker too: TensorBoard, Weights & Biases or Trackio, by accelerate.

The run folder has everything in any case, and a tracker is never in the way of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.app.plan import PlannedRun
from harness.config.resolve import flatten

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from harness.rl.loop import Event

PROJECT = "harness"
"""The project, for trackers that sort runs into projects."""


@contextmanager
def tracked(
    planned: PlannedRun, on_event: Callable[[Event], None], on_warning: Callable[[str], None], *, is_main: bool
) -> Iterator[Callable[[Event], None]]:
    """What to call with a run's events, so that on_event and the run's tracker, if it has one, are told of them."""
    if not (planned.resolved.execution.track and is_main):
        yield on_event
        return
    tracking = Tracking(planned, on_warning)

    def on_both(event: Event) -> None:
        on_event(event)
        tracking.on_event(event)

    try:
        yield on_both
    finally:
        tracking.finish()


class Tracking:
    """Tells the tracker of `planned` of every event; one that fails is warned of and told of nothing more.

    It is started at the first event, and goes on with its own record of a run that is resumed.
    """

    def __init__(self, planned: PlannedRun, on_warning: Callable[[str], None]) -> None:
        self._planned, self._on_warning, self._has_failed = planned, on_warning, False
        self._tracker: GeneralTracker | None = None

    def on_event(self, event: Event) -> None:
        """Tells of an update or an evaluation."""
        told = numbers(event)
        if told is not None:
            step, values = told
            self._try(lambda: self._started(step).log(values, step=step))

    def finish(self) -> None:
        """Sends what is left."""
        if self._tracker is not None:
            self._try(self._tracker.finish)

    def _started(self, step: int) -> GeneralTracker:
        if self._tracker is None:
            tracker = make(self._planned, step)
            tracker.start()
            tracker.store_init_configuration(settings(self._planned))
            self._tracker = tracker
        return self._tracker

    def _try(self, action: Callable[[], object]) -> None:
        if self._has_failed:
            return
        try:
            action()
        except Exception as error:  # whatever a tracker may raise: a run does not end for its pictures
            self._has_failed = True
            name = self._planned.resolved.execution.track
            self._on_warning(f"{name} failed and is told of nothing more ({error}); the run folder has everything")


def make(planned: PlannedRun, step: int) -> GeneralTracker:
    """accelerate's tracker for the run. step: the first that it is told of; TensorBoard forgets what it has from there
    on, the others take no step twice."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    name, home = planned.resolved.execution.track, planned.identity.folder.as_posix()
    kind: Callable[..., GeneralTracker] = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        return kind(name, planned.folder, purge_step=step)
    if name == "wandb":
        files = planned.folder / ".wandb"  # hidden, since it holds a config.yaml that is not a run's
        files.mkdir(exist_ok=True)
        return kind(PROJECT, name=home, id=home.replace("/", "-"), resume="allow", dir=str(files))
    return kind(PROJECT, name=home, resume="allow")


def numbers(event: Event) -> tuple[int, dict[str, float]] | None:
    """The update and the numbers of an event, named as in metrics.jsonl and eval.jsonl; None where it has none.

    Those of an evaluation stand under its split, completion length and number of unmasking steps.
    """
    from harness.rl.evaluator import Evaluated
    from harness.rl.loop import Updated

    match event:
        case Updated(record=record):
            return record.update, {f"train/{name}": value for name, value in _flat(record.to_json()).items()}
        case Evaluated(record=record):
            metrics = {name: totals.value for name, totals in record.metrics.items()}
            place = f"eval-{record.split}-{record.decoding['completion_length']}-{record.decoding['num_steps']}"
            return record.update, {f"{place}/{name}": value for name, value in _flat(metrics).items()}
    return None


def settings(planned: PlannedRun) -> dict[str, str | int | float | bool]:
    """The configuration, dotted key to value; what no tracker takes stands as text."""
    values = flatten(planned.resolved.config.to_dict())
    return {key: value if isinstance(value, str | int | float) else str(value) for key, value in values.items()}


def _flat(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the values and those one level below."""
    below = {
        f"{key}/{name}": one for key, part in values.items() if isinstance(part, Mapping) for name, one in part.items()
    }
    found = {**values, **below}
    return {
        key: float(value) for key, value in found.items() if isinstance(value, int | float) and math.isfinite(value)
    }

"""Scoring beside generation: what other processes score is scored while the next batch is generated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

from harness.distributed.shard import Shard
from harness.task.base import Example, Task

Key = TypeVar("Key", int, tuple[str, str])
Result = TypeVar("Result")


class Scoring(Generic[Key, Result]):
    """Scores items once each, as soon as they are there if other processes do it, and otherwise when the results are
    asked for. Left by an exception, it ends what runs.

    score: of `task`: the results of completion i against example i.
    """

    def __init__(self, task: Task, score: Callable[[Sequence[Example], Sequence[str]], Sequence[Result]]) -> None:
        self._task, self._score = task, score
        self._seen: set[Key] = set()
        self._waiting: deque[tuple[Key, Example, str]] = deque()
        self._found: dict[Key, Result] = {}
        self._pool = ThreadPoolExecutor(1)
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: type[BaseException] | None, *details: object) -> None:
        if raised is not None and not all(one.done() for one in self._running):
            self._task.interrupt()
        self._pool.shutdown(cancel_futures=True)

    def add(self, items: Iterable[tuple[Key, Example, str]]) -> None:
        """Items to score, each with a key and its completion; those whose key is known already are not scored again."""
        new = {item[0]: item for item in items if item[0] not in self._seen}
        self._seen.update(new)
        self._waiting.extend(new.values())
        if new and self._task.scores_elsewhere:
            self._running.append(self._pool.submit(self._score_waiting))

    def results(self) -> dict[Key, Result]:
        """The results of all items so far. Raises what scoring has raised."""
        running, self._running = self._running, []
        for one in running:
            one.result()
        self._score_waiting()
        return self._found

    def gathered(self, shard: Shard) -> list[Result]:
        """The results of all processes in the order of their keys."""
        mine: dict[Key, Result] = {}
        with shard.together():
            mine |= self.results()
        return [result for _, result in sorted(shard.gather_items(list(mine.items())), key=lambda pair: pair[0])]

    def _score_waiting(self) -> None:
        """All that wait at once, so that one slow program delays no more than its own batch."""
        items = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if items:
            keys, examples, texts = zip(*items, strict=True)
            self._found.update(zip(keys, self._score(examples, texts), strict=True))

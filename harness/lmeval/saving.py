"""lm-eval warns that it cannot save its results and ends as if all were well; here that is an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lm_eval.loggers import evaluation_tracker

from harness.errors import UserError


class _Failures(logging.Handler):
    """The errors that were being handled while something was logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the error; lm-eval's warning does not name it."""
        if (error := sys.exc_info()[1]) is not None:
            self.found.append(error)


@contextmanager
def saved() -> Iterator[None]:
    """Raises UserError at the end where lm-eval could not save results or samples inside."""
    logger, failures = evaluation_tracker.eval_logger, _Failures()
    level = logger.level
    logger.addHandler(failures)
    logger.setLevel(min(logging.WARNING, logger.getEffectiveLevel()))
    try:
        yield
    finally:
        logger.removeHandler(failures)
        logger.setLevel(level)
    if failures.found:
        first = failures.found[0]
        reason = first.strerror if isinstance(first, OSError) and first.strerror else first
        raise UserError(
            f"lm-eval could not save all of its results: {reason}. What is below --output_path is not whole; make "
            "room or name another folder, and repeat the command."
        )

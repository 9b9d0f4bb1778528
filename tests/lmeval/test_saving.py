"""A disk that is full when lm-eval saves: lm-eval warns and goes on, `harness lm-eval` ends with a sentence and 2."""

from __future__ import annotations

import builtins
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.loggers.evaluation_tracker import EvaluationTracker, eval_logger

from harness.cli.main import main

NO_SPACE = os.strerror(errno.ENOSPC)
SAMPLE = {
    "doc_id": 0,
    "doc_hash": "a",
    "prompt_hash": "b",
    "target_hash": "c",
    "arguments": [("2 + 2",)],
    "resps": [["4"]],
    "filtered_resps": ["4"],
    "target": "4",
}
REAL = ["lm-eval", "run", "--model", "diffusion_lm", "--model_args", "pretrained=tiny", "--tasks", "harness_sudoku"]


def evaluates(out: Path) -> Callable[[], None]:
    """lm-eval's command line from where it has its results."""

    def evaluate() -> None:
        tracker = EvaluationTracker(output_path=str(out))
        tracker.general_config_tracker.model_name_sanitized = "tiny"
        tracker.save_results_aggregated(results={"results": {}}, samples={"sudoku": [SAMPLE]})
        tracker.save_results_samples(task_name="sudoku", samples=[dict(SAMPLE)])

    return evaluate


def fill_disk(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Files whose names begin with `name` cannot be written."""
    write, opened = Path.write_text, builtins.open

    def write_text(path: Path, *arguments: Any, **options: Any) -> int:
        if path.name.startswith(name):
            raise error
        return write(path, *arguments, **options)

    def open_file(path: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(path, Path) and path.name.startswith(name):
            raise error
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", write_text)
    monkeypatch.setattr(builtins, "open", open_file)


@pytest.mark.parametrize("name", ["results_", "samples_"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, NO_SPACE), NO_SPACE),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), os.strerror(errno.EDQUOT)),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (TypeError("a value that is no JSON"), "a value that is no JSON"),
    ],
    ids=["full", "quota", "closed", "fault"],
)
def test_results_that_were_not_saved_are_a_sentence_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    error: Exception,
    reason: str,
) -> None:
    # A handler of an earlier test may write to a stream that is closed by now, and logging would say so.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", evaluates(tmp_path))
    fill_disk(monkeypatch, name, error)
    assert main(["lm-eval", "run"]) == 2
    said = capsys.readouterr().err
    assert f"harness: lm-eval could not save all of its results: {reason}. " in said
    assert "Traceback" not in said


def test_it_is_noticed_however_quiet_lm_eval_is_told_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", evaluates(tmp_path))
    monkeypatch.setattr(eval_logger, "level", logging.CRITICAL)
    fill_disk(monkeypatch, "results_", OSError(errno.ENOSPC, NO_SPACE))
    assert main(["lm-eval", "run"]) == 2
    assert (eval_logger.level, eval_logger.handlers) == (logging.CRITICAL, [])


def test_results_that_were_saved_end_with_0_also_beside_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate() -> None:
        eval_logger.warning("a warning about something else")
        evaluates(tmp_path)()

    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", evaluate)
    assert main(["lm-eval", "run"]) == 0
    assert len(list((tmp_path / "tiny").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("tasks_indexed_once")
def test_a_whole_evaluation_on_a_full_disk_ends_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_disk(monkeypatch, "results_", OSError(errno.ENOSPC, NO_SPACE))
    assert main([*REAL, "--limit", "2", "--output_path", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "|harness_sudoku|" in printed.out
    assert (
        printed.err.rstrip()
        .splitlines()[-1]
        .startswith(f"harness: lm-eval could not save all of its results: {NO_SPACE}.")
    )

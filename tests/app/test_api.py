"""The public names of the package: lazily imported, never hidden by a module, and as docs/api.md shows them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.errors import UserError

from ..documents.pages import blocks

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "api.md").read_text()
SMALL = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 8}


def python(code: str) -> list[str]:
    """The lines that a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_importing_the_package_loads_nothing_heavy_and_no_room() -> None:
    code = (
        "import sys, harness\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'pandas', 'yaml', 'numpy')])\n"
        "print([name for name in sys.modules if name.startswith('harness.')])\n"
        "print(harness.evaluate.__module__, 'torch' in sys.modules)\n"
    )
    assert python(code) == ["[]", "[]", "harness.app.evaluate False"]


def test_every_public_name_is_there_and_listed() -> None:
    assert {name for name in harness.__all__ if callable(getattr(harness, name))} == set(harness._MODULES)
    assert set(harness.__all__) < set(dir(harness))
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'trian'"):
        harness.trian  # noqa: B018


def test_no_module_takes_a_public_name() -> None:
    """`import harness.sft` would put a module in the place of the function."""
    modules = {path.stem for path in (CHECKOUT / "harness").glob("*.py")}
    packages = {path.parent.name for path in (CHECKOUT / "harness").glob("*/__init__.py")}
    assert not set(harness.__all__) & (modules | packages)


@pytest.mark.slow
def test_the_page_names_every_function_and_its_blocks_form_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(re.findall(r"^\| `harness\.(\w+)`", PAGE, re.M)) == set(harness.__all__)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    program = "\n".join(block.text for block in blocks("api.md") if block.kind == "python")
    exec(compile(program, "docs/api.md", "exec"), {})
    assert len(list(tmp_path.glob("runs/sudoku/*/tiny/*/config.yaml"))) == 2
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_returns_its_record_and_a_finished_one_is_returned_as_it_is(tmp_path: Path) -> None:
    events: list[object] = []
    options = {"method": "egspo", "task": "sudoku", "overrides": SMALL, "runs": tmp_path}
    first = harness.run(**options, budget={"updates": 2}, on_event=events.append)
    assert (first.status.state, first.status.updates) == ("finished", 2)
    assert (first.evaluation.checkpoint, first.evaluation.update) == ("last", 2)
    assert first.folder.is_relative_to(tmp_path / "sudoku" / "egspo" / "tiny")
    assert events
    events.clear()
    assert harness.run(**options, budget="updates=2", on_event=events.append) == first
    assert events == []


def test_a_finished_run_without_its_evaluations_is_refused(tmp_path: Path) -> None:
    options = {"method": "egspo", "task": "sudoku", "overrides": SMALL, "runs": tmp_path, "budget": "updates=1"}
    run = harness.run(**options)
    (run.folder / "eval.jsonl").unlink()
    with pytest.raises(UserError, match="has lost its records"):
        harness.run(**options)


def test_tasks_and_methods_come_with_their_options() -> None:
    assert harness.load_task("sudoku", profile="correctness").options.profile == "correctness"
    assert harness.load_method("egspo-sa", num_selected=2).config.num_selected == 2
    with pytest.raises(UserError, match=r"Did you mean 'method\.num_selected'"):
        harness.load_method("egspo-sa", num_selekted=2)
    with pytest.raises(UserError, match="Did you mean 'sudoku'"):
        harness.load_task("sudoko")


def test_a_loaded_model_has_the_dtype_that_is_asked_for() -> None:
    model = harness.load_model("tiny", task="countdown", dtype="bfloat16", device="cpu")
    assert str(next(model.predictor.parameters()).dtype) == "torch.bfloat16"
    assert str(next(harness.load_model("tiny").predictor.parameters()).dtype) == "torch.float32"

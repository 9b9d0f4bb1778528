"""A user's own method and task: found by --include-path and HARNESS_PATH in every process, with recipes, protocol and
tiny weights beside them."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from harness import registry
from harness.app.launch import Cell
from harness.app.new import new
from harness.app.plan import PlannedRun, RunRequest, plan
from harness.app.workers import run_cells
from harness.cli.lm_eval import without_include_paths
from harness.cli.main import SUBCOMMANDS, main
from harness.config import recipes
from harness.config.decoding import Decoding
from harness.config.recipes import evaluation_decoding, load_recipe
from harness.errors import UserError
from harness.models.tiny import fresh_tiny, save_tiny, tiny_tasks, tiny_weights
from harness.report.analysis.groups import make_groups
from harness.report.chapters.settings import command
from harness.report.read.runs import collect

WITHOUT_FILES = {"doctor", "bench", "lm-eval"}
"""Commands that name no method, task or run, and lm-eval's, which hands its arguments on."""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder `own` of the current one, not included yet; what is loaded from it is forgotten afterwards."""
    monkeypatch.setattr(registry, "_included", [])
    monkeypatch.delenv(registry.PATH_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    new("method", "mine", Path("own"))
    new("task", "backwards", Path("own"))
    yield tmp_path / "own"
    for module in [module for module in sys.modules if module.startswith("harness_leaf.own_")]:
        del sys.modules[module]
    for key in [key for key in registry._registered if key[0].startswith("harness_leaf.own_")]:
        del registry._registered[key]


@pytest.fixture
def included(own: Path) -> Path:
    registry.add_include_path(own)
    return own


def planned(method: str, task: str, recipe: str = "") -> PlannedRun:
    return plan(RunRequest(method=method, task=task, recipe=recipe, runs=Path("runs")))


def test_the_variable_stands_for_the_option(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new("method", "second", Path("more"))
    monkeypatch.setenv("HARNESS_PATH", os.pathsep.join(["own", "", str(own.parent / "more")]))
    assert registry.include_paths() == (own, own.parent / "more")
    assert {"mine", "second", "egspo"} <= set(registry.names("method"))
    assert registry.own_file("method", "mine") == own / "mine.py"
    assert registry.own_file("method", "egspo") is registry.own_file("task", "mine") is None
    registry.add_include_path(Path("own"))
    assert registry.include_paths() == (own, own.parent / "more")


def test_a_folder_of_the_variable_may_be_empty_and_must_be_there(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    monkeypatch.setenv("HARNESS_PATH", "empty")
    assert "mine" not in registry.names("method")
    monkeypatch.setenv("HARNESS_PATH", f"own{os.pathsep}nowhere")
    assert main(["list", "methods"]) == 2
    assert capsys.readouterr().err == (
        "harness: HARNESS_PATH names 'nowhere', which is not a folder; it takes folders of *.py files with ':' between "
        "them.\n"
    )


@pytest.mark.parametrize("name", [one.name for one in SUBCOMMANDS if one.name not in WITHOUT_FILES])
def test_every_command_that_names_a_method_a_task_or_a_run_takes_the_option(name: str) -> None:
    assert "--include-path" in options_of(name)


def options_of(name: str) -> str:
    application = typer.Typer(add_completion=False)
    application.command()(next(one for one in SUBCOMMANDS if one.name == name).load())
    return " ".join(option for parameter in typer.main.get_command(application).params for option in parameter.opts)


def test_lm_eval_gets_all_arguments_but_ours() -> None:
    given = ["run", "--include-path", "a b", "--tasks=x=1", "--include_path", "yaml", "--include-path=c", "--limit"]
    assert without_include_paths(given) == (
        [Path("a b"), Path("c")],
        ["run", "--tasks=x=1", "--include_path", "yaml", "--limit"],
    )
    with pytest.raises(UserError, match="--include-path needs a folder behind it"):
        without_include_paths(["run", "--include-path"])


def test_recipes_and_protocol_lie_beside_the_files(included: Path) -> None:
    tiny = load_recipe("tiny", method="mine", task="backwards")
    places = [(layer.source, str(layer.file.relative_to(included)), layer.section) for layer in tiny]
    assert places == [("protocol", "protocols/backwards.yaml", "tiny"), ("recipe", "recipes/mine.yaml", "tiny")]
    assert evaluation_decoding("backwards", tiny=True) == Decoding(completion_length=16, block_length=16, num_steps=8)
    config = planned("mine", "backwards").resolved.config
    assert (config.method.options, config.train.batch_size, config.rollout.num_steps) == ({"num_draws": 2}, 64, 4)


def test_a_recipe_stands_on_a_shipped_one_without_the_options_of_its_method(included: Path) -> None:
    ours, theirs = (planned(name, "math500", "paper").resolved for name in ("mine", "egspo"))
    assert ours.config.method.options == {"num_draws": 8}
    assert ours.config.optimizer == theirs.config.optimizer
    assert ours.config.conventions == theirs.config.conventions
    assert ours.config.optimizer.learning_rate == 3e-5
    assert planned("mine", "sudoku", "paper").resolved.config.method.options == {"num_draws": 4}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tiny: {extends: 'egspo:tiny', without: [methods]}", "'methods'. Did you mean 'method'"),
        ("tiny: {without: method}", "has 'without' where nothing is extended"),
        ("tiny: 3", "'tiny' of a recipe must be a mapping"),
        ("tiny: {extends: 'egspo:tiny'}", "num_selected"),
    ],
)
def test_what_is_wrong_with_an_own_recipe_is_one_sentence(included: Path, text: str, words: str) -> None:
    (included / "recipes" / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=words):
        planned("mine", "sudoku")


def test_an_own_protocol_says_how_to_evaluate(included: Path) -> None:
    protocol = included / "protocols" / "backwards.yaml"
    protocol.write_text("tiny: {train: {batch_size: 8}, evaluation: {items: 4}}")
    with pytest.raises(UserError, match=r"section 'tiny' lacks evaluation\.decoding, which"):
        planned("mine", "backwards")
    protocol.unlink()
    recipes._sections.cache_clear()
    with pytest.raises(UserError, match=r"which has no protocol; .* Write one to 'own/protocols/backwards\.yaml', or"):
        planned("mine", "backwards")


def test_every_method_can_be_planned_on_an_own_task(included: Path) -> None:
    names = registry.names("method")
    folders = [planned(name, "backwards").folder for name in names]
    assert len(set(folders)) == len(names) == 16
    assert Path("runs/backwards/mine/tiny") in {folder.parent for folder in folders}
    assert {planned(name, "backwards", "paper").resolved.config.data.test for name in names} == {"builtin"}


def test_the_tiny_model_says_how_to_get_its_weights_and_finds_them_beside_the_task(included: Path) -> None:
    with pytest.raises(UserError) as caught:
        tiny_weights("backwards")
    assert "`harness sft --task backwards --out own/tiny-backwards --include-path own`" in str(caught.value)
    (included / "tiny-backwards").mkdir()
    assert "backwards" not in tiny_tasks(), "a training that was interrupted leaves the folder empty"
    save_tiny(fresh_tiny(0), included / "tiny-backwards")
    assert tiny_weights("backwards") == included / "tiny-backwards"
    (included / "tiny-sudoku").mkdir()
    save_tiny(fresh_tiny(0), included / "tiny-sudoku")
    assert tiny_weights("sudoku").parent.name == "weights"


def test_an_own_method_trains_on_an_own_task_and_its_record_and_report_name_the_folder(own: Path) -> None:
    include = ["--include-path", "own"]
    sft = ["--steps", "2", "--batch-size", "8", "--completion-length", "16", "--out", "own/tiny-backwards"]
    assert main(["sft", "--task", "backwards", *include, *sft]) == 0
    small = [f"--set={setting}" for setting in ("train.batch_size=8", "train.group_size=4", "evaluation.items=4")]
    run = ["run", "--method", "mine", "--task", "backwards", "--budget", "updates=1", "--runs", "runs", *small]
    assert main([*run, *include]) == 0
    (group,) = make_groups(collect([Path("runs")]).runs)
    words = shlex.split(command(group))
    assert words[words.index("--include-path") + 1] == "own"
    assert words.count("--include-path") == 1
    environment = json.loads((group.members[0].run.folder / "environment.json").read_text())
    assert {kind: (one["folder"], one["file"]) for kind, one in environment["own_files"].items()} == {
        "method": ("own", "mine.py"),
        "task": ("own", "backwards.py"),
    }


def test_other_processes_get_the_folders_of_the_option_and_of_the_variable(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new("method", "second", Path("more"))
    monkeypatch.setenv("HARNESS_PATH", "own")
    registry.add_include_path(Path("more"))
    handed: list[Any] = []

    class RememberedError(Exception):
        pass

    def remember(size: int, *, initargs: Any, **options: Any) -> None:
        handed.append(initargs[0])
        raise RememberedError

    monkeypatch.setattr("harness.app.workers.ProcessPoolExecutor", remember)
    request = RunRequest(method="mine", task="sudoku", runs=Path("runs"))
    with pytest.raises(RememberedError):
        next(run_cells([request], jobs=2))
    assert handed == [(own, own.parent / "more")]
    cell = pickle.loads(pickle.dumps(Cell(request=request, include_paths=registry.include_paths())))
    assert cell.include_paths == (own, own.parent / "more")

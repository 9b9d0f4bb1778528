"""harness new: its files are those that the pages show, their commands are accepted, and a name has to be free."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer

from harness import registry
from harness.app.new import README, new, render
from harness.cli.main import PASS_ON, SUBCOMMANDS, main
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Prompts, Rewards, Rollout, ScoredRollouts

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [("method", "mine", "methods.md"), ("task", "backwards", "tasks.md")]
BLOCKS = re.compile(r"^`([^`\s]+)`.*?\n\n```(?:python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_included", [])
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def gradient() -> Callable[[DiffusionLM], torch.Tensor]:
    """Takes the gradient of all weights, as one list, and leaves none."""

    def take(model: DiffusionLM) -> torch.Tensor:
        weights = [weight for weight in model.predictor.parameters() if weight.grad is not None]
        values = torch.cat([weight.grad.flatten() for weight in weights])  # type: ignore[union-attr]
        model.predictor.zero_grad()
        return values

    return take


def section(page: str) -> str:
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")
    return text.partition("\n## Adding a ")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("kind", "name", "page"), PAGES)
def test_the_page_shows_the_files_and_the_commands_as_they_are_written(kind: str, name: str, page: str) -> None:
    rendered = render(kind, name, Path(name))  # type: ignore[arg-type]
    files = {str(path): text for path, text in rendered.items()}
    commands = re.findall(r"```sh\n(.*?)```", files.pop(f"{name}/{README}"), re.DOTALL)
    assert dict(BLOCKS.findall(section(page))) == files
    assert re.findall(r"```sh\n(.*?)```", section(page), re.DOTALL) == [f"harness new {kind} {name}\n", *commands]


def test_four_files_are_written_named_and_commands_follow(capsys: Capture) -> None:
    assert main(["new", "method", "my-method", "--dir", "own"]) == 0
    files = ["own/my_method.py", "own/recipes/my-method.yaml", "own/test_my_method.py", "own/README.md"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [*files, "Next:"]
    assert lines[5].startswith("  harness run --method my-method,egspo,d1 --task sudoku --include-path own ")
    assert sorted(str(path) for path in Path().rglob("*.*")) == sorted(files)
    registry.add_include_path(Path("own"))
    assert registry.entry("method", "my-method").title == "My method"  # type: ignore[union-attr]
    assert registry.get_method("my-method").__name__ == "MyMethodMethod"


def test_a_method_and_a_task_share_a_folder_and_its_readme_stays(capsys: Capture) -> None:
    for kind, name in (("method", "mine"), ("task", "backwards")):
        assert main(["new", kind, name, "--dir", "own"]) == 0
    assert "own/README.md was there and stays as it is.\n" in capsys.readouterr().out
    assert Path("own/README.md").read_text().startswith("# Mine\n")
    registry.add_include_path(Path("own"))
    assert {"mine", "egspo"} <= set(registry.names("method"))
    assert {"backwards", "sudoku"} <= set(registry.names("task"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model", "mine"], "Unknown kind 'model'. Choices: method, task."),
        (["method", "My-Method"], "'My-Method' cannot be the name of a method: it takes small letters"),
        (["method", "my method"], "'my method' cannot be the name"),
        (["method", "1st"], "'1st' cannot be the name"),
        (["task", "a--b"], "'a--b' cannot be the name of a task"),
        (["task", "../up"], "'../up' cannot be the name of a task"),
        (["method", "egspo"], "There is a method 'egspo' already, in '"),
        (["method", "diffu-grpo"], "There is a method 'diffu-grpo' already, in '"),
        (["task", "sudoku"], "There is a task 'sudoku' already, in '"),
        (["task", "json"], "A file json.py would hide Python's module 'json' from its test"),
        (["method", "torch"], "A file torch.py would hide Python's module 'torch' from its test"),
        (["method", "held"], "There is a method 'held' already, in 'held/other.py'"),
        (["task", "taken"], "'taken/test_taken.py' is there already; choose another name, or another folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_and_nothing_is_written(
    capsys: Capture, arguments: list[str], words: str
) -> None:
    Path("held").mkdir()
    Path("held/other.py").write_text('@method("other", "held")\nclass Other: ...\n')
    Path("taken").mkdir()
    Path("taken/test_taken.py").touch()
    before = sorted(Path().rglob("*"))
    assert main(["new", *arguments]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(("kind", "name"), [("method", "mine"), ("task", "backwards"), ("task", "none")])
def test_every_command_of_a_readme_is_accepted(kind: str, name: str) -> None:
    commands = new(kind, name, Path("a folder")).commands  # type: ignore[arg-type]
    assert len(commands) >= 2
    for words in map(shlex.split, commands):
        command = next(one for one in SUBCOMMANDS if one.name == words[1])
        application = typer.Typer(add_completion=False)
        application.command(context_settings=PASS_ON if command.passes_on else None)(command.load())
        context = typer.main.get_command(application).make_context(words[1], words[2:])
        assert Path("a folder") in (context.params.get("include_path") or [Path(word) for word in context.args])


def test_what_is_written_passes_the_linter() -> None:
    new("method", "mine", Path("own"))
    new("task", "backwards", Path("own"))
    for check in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *check, "--config", str(CHECKOUT / "pyproject.toml"), "own"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_with_every_step_drawn_once_the_method_is_the_policy_gradient(
    random_model: DiffusionLM, gradient: Callable[[DiffusionLM], torch.Tensor]
) -> None:
    """Two tokens in two steps of two rows with rewards 1 and 0: advantages 1/2 and -1/2, a mean over the rows."""
    new("method", "mine", Path("own"))
    registry.add_include_path(Path("own"))
    ids_BC, step_BC = torch.tensor([[5, 6], [7, 8]]), torch.tensor([[0, 1], [1, 0]])
    prompts, zero_BC = Prompts(ids_BP=torch.tensor([[1], [2]]), mask_BP=None), torch.zeros(2, 2)
    rollout = Rollout(
        prompts=prompts,
        completion_ids_BC=ids_BC,
        unmask_step_BC=step_BC.short(),
        logprob_BC=zero_BC,
        entropy_BC=zero_BC,
        num_steps_B=torch.tensor([2, 2]),
        num_steps=2,
        mask_id=random_model.special.mask_id,
    )
    rewards = Rewards(total_B=torch.tensor([1.0, 0.0], dtype=torch.float64), parts={})
    scored = ScoredRollouts(rollout=rollout, rewards=rewards, group_size=2)
    method = registry.get_method("mine")()
    (update,) = method.prepare(scored, random_model, None, torch.tensor([[0, 1], [0, 1]])).updates
    sum(method.loss(random_model, part)[0] for part in update.parts).backward()
    ours = gradient(random_model)

    mask = random_model.special.mask_id
    inputs = torch.tensor([[1, mask, mask], [1, 5, mask], [2, mask, mask], [2, mask, 8]])
    logprob = random_model.completion_logits(inputs, None, 2).log_softmax(-1)
    chosen = logprob[0, 0, 5] + logprob[1, 1, 6] - logprob[2, 1, 8] - logprob[3, 0, 7]
    (-chosen / 2 / 2).backward()
    assert torch.allclose(ours, gradient(random_model), atol=1e-6)
    assert ours.abs().max() > 1e-3

"""Grids over configuration keys."""

from pathlib import Path

import pytest

from harness.app.grid import grid
from harness.cli.main import main
from harness.errors import UserError


def written(folder: Path, text: str) -> Path:
    file = folder / "grid.yaml"
    file.write_text(text)
    return file


def test_without_settings_there_is_one_cell_that_changes_nothing() -> None:
    assert grid([]) == [{}]


def test_settings_with_several_values_make_every_combination_the_last_key_fastest() -> None:
    assert grid(["optimizer.learning_rate=0.1,0.2", "train.group_size=4", "reward=task,random"]) == [
        {"optimizer.learning_rate": 0.1, "train.group_size": 4, "reward": "task"},
        {"optimizer.learning_rate": 0.1, "train.group_size": 4, "reward": "random"},
        {"optimizer.learning_rate": 0.2, "train.group_size": 4, "reward": "task"},
        {"optimizer.learning_rate": 0.2, "train.group_size": 4, "reward": "random"},
    ]


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("evaluation.lengths=[8, 16]", [[8, 16]]),
        ("evaluation.lengths=[8, 16],[32]", [[8, 16], [32]]),
        ("evaluation.decodings=[{num_steps: 4}, {num_steps: 8}]", [[{"num_steps": 4}, {"num_steps": 8}]]),
        ("model.name='a,b'", ["a,b"]),
        ("model.adapter=", [None]),
        ("a= 1 , 2", [1, 2]),
    ],
)
def test_brackets_and_quotes_hold_one_value_together(setting: str, values: list[object]) -> None:
    key = setting.partition("=")[0]
    assert [cell[key] for cell in grid([setting])] == values


def test_a_file_of_lists_makes_every_combination_and_goes_with_settings(tmp_path: Path) -> None:
    file = written(tmp_path, "optimizer: {learning_rate: [0.1, 0.2]}\nreward: random\n")
    assert grid(["train.group_size=4,8"], file) == [
        {"optimizer.learning_rate": rate, "reward": "random", "train.group_size": size}
        for rate in (0.1, 0.2)
        for size in (4, 8)
    ]


def test_a_file_of_cells_makes_those_alone(tmp_path: Path) -> None:
    file = written(tmp_path, "- {method: {beta: 0.1}, reward: task}\n- {method.beta: 0.2}\n")
    assert grid([], file) == [{"method.beta": 0.1, "reward": "task"}, {"method.beta": 0.2}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a mapping of keys to lists"),
        ("[]", "must be a mapping"),
        ("[1, 2]", "must be a mapping"),
        ("7", "must be a mapping"),
        ("reward: []", "gives no values for 'reward'"),
        ("a: [", "is not valid YAML"),
        ("train.group_size: [4]", "stands in --grid and in --set"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        grid(["train.group_size=4"], written(tmp_path, text))
    assert words in str(error.value)


def test_a_missing_file_an_empty_value_and_an_endless_grid_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        grid([], tmp_path / "none.yaml")
    with pytest.raises(UserError, match="the list of values of 'a' is not valid YAML"):
        grid(["a=1,,2"])
    hundred = ",".join(map(str, range(100)))
    with pytest.raises(UserError, match="has 1,000,000 cells, and the most is 10,000"):
        grid([f"a={hundred}", f"b={hundred}", f"c={hundred}"])


def test_the_command_line_runs_every_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["train.batch_size=8", "train.group_size=4", "evaluation.items=4", "optimizer.learning_rate=1e-3,2e-3"]
    command = ["run", "--method", "egspo", "--task", "sudoku", "--budget", "updates=2", "--runs", str(tmp_path)]
    assert main([*command, "--keep", "all", *(part for one in small for part in ("--set", one))]) == 0
    assert "[2/2]" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("status.json"))) == 2

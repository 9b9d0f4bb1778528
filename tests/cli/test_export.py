"""harness export on the tiny model: what it writes, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from harness.app.export import parse_size
from harness.cli.main import main
from harness.errors import UserError
from harness.models.tiny import tiny_weights

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, *arguments: str) -> str:
    """The one sentence that a refused export says."""
    capsys.readouterr()
    assert main(["export", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_the_tiny_model_is_written_as_it_is_shipped(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "tiny"
    assert main(["export", "tiny", "--task", "sudoku", "--out", str(out)]) == 0
    shipped = tiny_weights("sudoku")
    assert (out / "config.json").read_bytes() == (shipped / "config.json").read_bytes()
    written, weights = load_file(out / "model.safetensors"), load_file(shipped / "model.safetensors")
    assert written.keys() == weights.keys()
    assert all(written[name].equal(weights[name]) for name in weights)
    size = sum(weight.nbytes for weight in weights.values())
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{len(weights)} tensors, {size:,} bytes, in {out}: model.safetensors"
    assert said[1:] == ["README.md there is the model card; it states no licence, which is yours to add."]


def test_an_exported_folder_exports_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["export", "tiny", "--out", str(first)]) == 0
    assert main(["export", str(first), "--out", str(second)]) == 0
    assert (second / "README.md").read_text().startswith("---\n# No license is stated")
    assert (second / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()


def test_a_place_that_is_taken_is_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").touch()
    monkeypatch.setattr("harness.models.checkpoints.load_model", lambda *arguments, **options: pytest.fail("loaded"))
    assert "is not an empty folder" in refused(capsys, "tiny", "--out", str(tmp_path))


def test_a_model_without_adapter_has_nothing_to_merge(tmp_path: Path, capsys: Capture) -> None:
    assert "'tiny' has no adapter to merge" in refused(capsys, "tiny", "--merge", "--out", str(tmp_path / "out"))


def test_an_unknown_model_is_refused(tmp_path: Path, capsys: Capture) -> None:
    said = refused(capsys, "nothing", "--out", str(tmp_path / "out"))
    assert "Model 'nothing' is neither a folder nor a hub id" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_without_config_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in refused(capsys, str(tmp_path / "empty"), "--out", str(tmp_path / "out"))


@pytest.mark.parametrize("content", ["", "config: 3", "config: {model: 3, task: x}", "{", "identity: {}"])
def test_a_damaged_run_is_refused(tmp_path: Path, capsys: Capture, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    assert "config.yaml' is damaged" in refused(capsys, str(tmp_path), "--out", str(tmp_path / "out"))


def test_a_run_without_checkpoint_is_refused(
    tmp_path: Path, capsys: Capture, describe_run: Callable[..., None]
) -> None:
    describe_run(tmp_path, {"name": "tiny"}, "sudoku")
    assert "has no checkpoint yet" in refused(capsys, str(tmp_path), "--out", str(tmp_path / "out"))


def test_an_adapter_goes_with_a_model_and_not_with_a_run(
    tmp_path: Path, capsys: Capture, describe_run: Callable[..., None]
) -> None:
    describe_run(tmp_path, {"name": "tiny"}, "sudoku")
    said = refused(capsys, str(tmp_path), "--adapter", "someone/lora", "--out", str(tmp_path / "out"))
    assert "is a run and has its own weights; --adapter goes with a model" in said


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5_000_000_000),
        ("500 mb", 500_000_000),
        ("1.5GiB", 1_610_612_736),
        ("2KiB", 2048),
        ("1000", 1000),
        ("7B", 7),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5 gigabytes", "5TB", "0", "0.1", "1e9"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a size; give 500MB, 5GB, or a number of bytes"):
        parse_size(text)


def test_a_run_of_the_tiny_model_exports_the_weights_it_trained(tmp_path: Path) -> None:
    sizes = ("train.batch_size=16", "evaluation.items=4", "budget.updates=1", "budget.samples=0")
    settings = [part for size in sizes for part in ("--set", size)]
    runs = tmp_path / "runs"
    assert main(["run", "--method", "egspo", "--task", "sudoku", "--runs", str(runs), *settings]) == 0
    (run,) = runs.glob("sudoku/egspo/tiny/*")
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    written = load_file(tmp_path / "out" / "model.safetensors")
    (checkpoint,) = run.glob("checkpoints/update-*/weights.safetensors")
    trained = {name.removeprefix("model."): weight for name, weight in load_file(checkpoint).items()}
    assert written.keys() == trained.keys()
    assert all(written[name].equal(trained[name]) for name in written)
    shipped = load_file(tiny_weights("sudoku") / "model.safetensors")
    assert not written["lm_head.weight"].equal(shipped["lm_head.weight"])

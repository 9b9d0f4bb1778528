"""What a name on the command line stands for, and how its results are filed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.app.models import NamedModel, named_model
from harness.config.tree import LoraConfig, ModelConfig


def named(name: str, **options: str) -> NamedModel:
    return named_model(name, task="sudoku", **options)


@pytest.mark.parametrize(
    ("name", "options", "label"),
    [
        ("tiny", {}, "tiny"),
        ("GSAI-ML/LLaDA-8B-Instruct", {}, "GSAI-ML--LLaDA-8B-Instruct"),
        ("org/model", {"adapter": "me/lora"}, "org--model+me--lora"),
        ("org/model", {"adapter": "me/lora", "adapter_subfolder": "a/step-200"}, "org--model+me--lora+a--step-200"),
    ],
)
def test_results_of_different_weights_have_different_places(name: str, options: dict[str, str], label: str) -> None:
    assert named(name, **options).label == label


def test_a_folder_is_filed_under_its_last_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "LLaDA"
    folder.mkdir()
    assert named(f"{folder}/").label == "LLaDA"
    monkeypatch.chdir(folder)
    assert named(".").label == "LLaDA"


def test_a_run_states_its_own_model_and_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, describe_run: Callable[..., None]
) -> None:
    run = tmp_path / "egspo" / "tiny" / "0123abcd-seed0"
    run.mkdir(parents=True)
    describe_run(run, {"name": "org/model", "lora": {"rank": 8}}, "countdown")
    found = named(str(run))
    assert found.config == ModelConfig(name="org/model", lora=LoraConfig(rank=8))
    assert (found.task, found.run, found.label) == ("countdown", run, "egspo-0123abcd-seed0")
    assert found.has_adapter
    monkeypatch.chdir(run)
    assert named(".").label == "egspo-0123abcd-seed0"
    assert named(".", dtype="bfloat16", device="cpu").config.dtype == "bfloat16"


def test_only_low_rank_adapters_count_as_adapters() -> None:
    assert not named("tiny").has_adapter
    assert named("tiny", adapter="me/lora").has_adapter

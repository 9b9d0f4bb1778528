"""Published checkpoints: which are refused and why, and what is fetched. No test reaches the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from harness.app.checkpoints import published_checkpoint
from harness.cli.main import main
from harness.errors import UserError
from harness.models import hub

BASE = "GSAI-ML/LLaDA-8B-Instruct"
EGSPO = "fatemehdoudi97/egspo-llada-8b"
COMMIT = "0123456789" * 4


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Replaces the hub by a folder that has every subfolder; what was asked of it."""
    calls = []

    def snapshot_download(name, *, revision, allow_patterns, cache_dir):
        calls.append((name, allow_patterns, Path(cache_dir)))
        folder = tmp_path / "snapshots" / COMMIT
        for pattern in allow_patterns:
            (folder / pattern).parent.mkdir(parents=True, exist_ok=True)
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return calls


def pull(names, tmp_path) -> int:
    return main(["data", "pull", "--checkpoints", names, "--to", str(tmp_path / "home")])


def test_a_checkpoint_of_a_layout_that_is_read_is_found_by_name_or_by_method_and_task():
    assert published_checkpoint("egspo-sa", "sudoku") == published_checkpoint("egspo-sa/sudoku")
    assert published_checkpoint("coupled-grpo/mbpp").layout == "Dream"


def test_one_of_another_layout_is_refused_by_name_with_the_reason(monkeypatch):
    from harness.models import layouts

    monkeypatch.delitem(layouts.LAYOUTS, "Dream")
    said = r"'gdsd-dream/sudoku' \(diffusion-reasoning/gdsd_sudoku_dream\) cannot be loaded: its layout is Dream, and"
    with pytest.raises(UserError, match=said):
        published_checkpoint("gdsd-dream/sudoku")


def test_an_adapter_is_fetched_from_its_subfolder_and_its_base_beside_it(asked, tmp_path, capsys):
    assert pull("egspo-sa/sudoku,egspo/math500", tmp_path) == 0
    assert [name for name, _, _ in asked] == [BASE, EGSPO, BASE, EGSPO]
    assert {cache for _, _, cache in asked} == {tmp_path / "home" / "hub"}
    assert asked[1][1] == ["sudoku/egspo-sa/adapter_config.json", "sudoku/egspo-sa/adapter_model.safetensors"]
    assert asked[3][1][0].startswith("math/egspo/")
    said = capsys.readouterr().out
    assert f"{EGSPO}@{COMMIT}/sudoku/egspo-sa on {BASE}" in said
    assert f"use them with HF_HOME={tmp_path / 'home'} HF_HUB_OFFLINE=1" in said


def test_a_full_model_is_fetched_alone_and_without_code(asked, tmp_path):
    assert pull("justgrpo/gsm8k", tmp_path) == 0
    ((name, patterns, _),) = asked
    assert name == "nzl-thu/LLaDA-Instruct-JustGRPO-GSM8K"
    assert not any(pattern.endswith((".py", ".bin")) for pattern in patterns)


def test_an_unknown_name_fetches_nothing(asked, tmp_path, capsys):
    assert pull("egspo-sa/sudoku,egspo-sa/sodoku", tmp_path) == 2
    assert "Did you mean 'egspo-sa/sudoku'" in capsys.readouterr().err
    assert asked == []


def test_a_hub_that_does_not_answer_is_one_sentence(monkeypatch, tmp_path, capsys):
    def snapshot_download(name, *, revision, allow_patterns, cache_dir):
        raise LocalEntryNotFoundError("No connection.\nMore.")

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    assert pull("llada-1.5", tmp_path) == 2
    captured = capsys.readouterr().err
    assert (
        "Model 'GSAI-ML/LLaDA-1.5' is not a folder, and could not be fetched from the hub (No connection)" in captured
    )
    assert captured.count("\n") == 1

"""The small embedded model: its vocabulary, and the folder that it is written to."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

import harness
from harness import registry
from harness.config.embedded import embedded
from harness.errors import UserError
from harness.models import small
from harness.models.diffusion_lm import DiffusionLM
from harness.models.small import LENGTH, fresh_small, learn_tokenizer, save_small, small_weights

TASKS = ["gsm8k", "math500", "sudoku", "countdown", "mbpp", "humaneval"]


@pytest.fixture(scope="module")
def model() -> DiffusionLM:
    """Untrained, of all six tasks."""
    return fresh_small([registry.get_task(name)() for name in TASKS], 0)


@pytest.fixture(scope="module")
def folder(model: DiffusionLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, written."""
    place = tmp_path_factory.mktemp("small")
    save_small(model, place)
    return place


@pytest.mark.parametrize("name", TASKS)
def test_a_completion_of_any_task_has_a_token_to_spare_and_comes_back_as_it_was(model: DiffusionLM, name: str) -> None:
    for row in registry.get_task(name)().worked_demonstrations(100, random.Random(9)):
        ids = model.tokenizer.encode(row.completion)
        assert len(ids) < LENGTH
        assert model.tokenizer.decode([*ids, model.special.end_ids[0], model.special.mask_id]) == row.completion


def test_a_tag_is_one_token_and_so_is_every_digit(model: DiffusionLM) -> None:
    encode, decode = model.tokenizer.encode, model.tokenizer.decode
    text = "<answer>\n2431 12\n</answer>"
    assert [decode([one]) for one in encode(text)] == ["<answer>", "\n", *"2431 12", "\n", "</answer>"]
    assert [decode([one]) for one in encode(" return sum(x")] == [" return", " sum", "(", "x"]
    assert decode(encode("\u00e9\t\u4e2d")) == "\u00e9\t\u4e2d"


def test_the_same_texts_give_the_same_vocabulary() -> None:
    texts = ["low lower lowest", "new newer newest", "wide wider widest"] * 20
    first, second = (learn_tokenizer(texts).backend_tokenizer.to_str() for _ in range(2))
    assert first == second


def test_the_model_has_under_a_million_weights_and_its_files_under_two_megabytes(
    model: DiffusionLM, folder: Path
) -> None:
    assert sum(one.numel() for one in model.network.parameters()) < 1_000_000
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000


def test_a_written_model_is_loaded_as_an_ordinary_checkpoint_and_computes_in_float32(
    model: DiffusionLM, folder: Path
) -> None:
    loaded = harness.load_model(folder)
    assert (loaded.dtype_name, loaded.compact_prompts, loaded.special, loaded.warnings) == (
        "float32",
        True,
        model.special,
        (),
    )
    weights = model.predictor.transformer.state_dict()
    for name, weight in loaded.predictor.transformer.state_dict().items():
        assert torch.equal(weight, weights[name].half().float())
    assert loaded.tokenizer.encode("Write f(a).") == model.tokenizer.encode("Write f(a).")
    assert embedded(str(folder)) == "small"


def test_it_is_shown_the_compact_prompt(folder: Path) -> None:
    task = registry.get_task("countdown")()
    example = task.example_for("", [[3, 4, 5], 17])
    assert harness.load_model(folder).prompt_text(task, example) == "3,4,5=17\n"


def test_a_folder_says_itself_which_model_it_is(tmp_path: Path) -> None:
    for raw, name in (({"tokenizer": "characters"}, "tiny"), ({"prompts": "compact"}, "small"), ({}, ""), ([], "")):
        (tmp_path / "config.json").write_text(json.dumps(raw))
        assert embedded(str(tmp_path)) == name
    (tmp_path / "config.json").write_text("{")
    assert embedded(str(tmp_path)) == embedded(str(tmp_path / "nothing")) == ""


def test_weights_that_have_not_been_made_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(small, "WEIGHTS", tmp_path)
    with pytest.raises(UserError, match="train them with `harness sft --model small --task gsm8k,math500"):
        small_weights()
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.json").write_text("{}")
    assert small_weights() == tmp_path / "small"

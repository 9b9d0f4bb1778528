"""A published checkpoint is fine-tuned on a file and comes back in its own layout."""

import json

import pytest
import torch
from safetensors.torch import load_file

from harness.cli.main import main
from harness.config.tree import ModelConfig
from harness.finetuning.batches import encode_pair
from harness.finetuning.data import Pair
from harness.models.checkpoints import load_model
from harness.models.files import weight_files

MESSAGES = ({"role": "user", "content": "Solve the 4x4 Sudoku puzzle."},)


def stored(folder):
    return {name: weight for path in weight_files(folder) for name, weight in load_file(path).items()}


@pytest.mark.parametrize("published", ["published_llada", "published_dream"])
def test_a_checkpoint_comes_back_in_its_own_layout_with_its_projections_changed(request, tmp_path, published):
    folder, out, path = request.getfixturevalue(published), tmp_path / "out", tmp_path / "pairs.jsonl"
    lines = [{"prompt": list(MESSAGES), "answer": "1234"}, {"prompt": "Every row", "answer": "column and box"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ["sft", "--model", str(folder), "--data", str(path), "--out", str(out), "--steps", "3"]
    options = ["--learning-rate", "1e-2", "--set", "model.lora.rank=4", "--device", "cpu"]
    assert main([*arguments, *options]) == 0
    before, after = stored(folder), stored(out)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert changed
    assert all(any(part in name for part in ("proj", "ff_out", "attn_out")) for name in changed)
    for kept in ("config.json", "tokenizer_config.json"):
        assert (out / kept).read_bytes() == (folder / kept).read_bytes()
    load_model(ModelConfig(name=str(out)), task="sudoku", device="cpu")


def test_a_text_becomes_what_the_user_says_in_the_chat_template(published_llada):
    model = load_model(ModelConfig(name=str(published_llada)), task="sudoku", device="cpu")
    text = encode_pair(model, Pair(prompt=MESSAGES[0]["content"], answer="12", place=""), 500)
    chat = encode_pair(model, Pair(prompt=MESSAGES, answer="12", place=""), 500)
    assert text == chat
    assert len(text.prompt_ids) > len(model.tokenizer.encode(MESSAGES[0]["content"]))
    assert text.completion_ids == [*model.tokenizer.encode("12"), model.special.end_ids[0]]
    assert model.special.end_ids[0] == json.loads((published_llada / "config.json").read_text())["eos_token_id"]


def test_the_mask_token_in_an_answer_is_refused(published_llada):
    model = load_model(ModelConfig(name=str(published_llada)), task="sudoku", device="cpu")
    with pytest.raises(ValueError, match="line 7: the answer contains the mask token"):
        encode_pair(model, Pair(prompt="a", answer="b<|mdm_mask|>", place="line 7"), 500)

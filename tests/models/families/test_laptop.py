"""The laptop recipe on a random checkpoint in the layout of its model, with a tokenizer built as Qwen3's is: NFC,
Qwen's pattern, byte-level merges, 26 added tokens of which 12 are no special ones, the mask after them, and a template
that ends in an empty block of thoughts.

Nothing here has the published weights.
"""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from harness.cli.main import main
from harness.config.tree import ModelConfig
from harness.models.checkpoints import load_model
from harness.registry import get_task

PARTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen's: contractions, words, single digits, punctuation, white space."""
IMAGES = [f"<|{name}|>" for name in ("object_ref_start", "object_ref_end", "box_start", "box_end", "quad_start")]
IMAGES += [f"<|{name}|>" for name in ("quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad")]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *IMAGES]
CODE = [f"<|{name}|>" for name in ("fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")]
PLAIN = ["<tool_call>", "</tool_call>", *CODE, "<tool_response>", "</tool_response>", "<think>", "</think>"]
MASK = "<|mask|>"
TEMPLATE = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
TEXTS = ["Solve the following 4x4 Sudoku puzzle:", "def f(x):\n    return x + 1\n", "<answer>1234341221434321</answer>"]
MODEL = "Qwen3-0.6B-diffusion-mdlm-v0.1"


def write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PARTS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS * 4, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in PLAIN])
    tokenizer.add_special_tokens([MASK])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "additional_special_tokens": [*SPECIAL[1:], MASK],
        "bos_token": None,
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "mask_token": MASK,
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture
def laptop_model(changed, tmp_path):
    """The folder of the checkpoint, under the published name."""
    folder = changed("a2d-qwen3", bos_token_id=None, eos_token_id=None).rename(tmp_path / MODEL)
    write_tokenizer(folder)
    return folder


def test_the_prompt_ends_in_an_empty_block_of_thoughts_and_special_tokens_are_single_ones(laptop_model):
    model = load_model(ModelConfig(name=str(laptop_model)), task="sudoku", device="cpu")
    vocabulary = model.tokenizer.backend.get_vocab()
    assert vocabulary[MASK] == max(vocabulary.values()) == vocabulary["<|endoftext|>"] + 26
    ids = {"mask_id": vocabulary[MASK], "pad_id": vocabulary["<|endoftext|>"]}
    assert {name: getattr(model.special, name) for name in ids} == ids
    assert model.special.end_ids == (vocabulary["<|im_end|>"],)

    task = get_task("sudoku")()
    text = model.prompt_text(task, task.example_for("1000020000300004", "1234341221434321"))
    assert text.startswith("<|im_start|>user\n")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    tokens = model.tokenizer.encode(text)
    assert tokens.count(vocabulary["<think>"]) == tokens.count(vocabulary["</think>"]) == 1
    assert tokens.count(vocabulary["<|im_start|>"]) == 2
    assert [model.tokenizer.decode([token]) for token in model.tokenizer.encode("1203")] == list("1203")
    assert model.tokenizer.decode([vocabulary["<think>"], vocabulary["<|im_end|>"], ids["mask_id"]]) == "<think>"


def run(model, method, task, runs, *options):
    names = ["--method", method, "--task", task, "--model", model, "--recipe", "laptop", "--data", "builtin"]
    settings = ["--set", "evaluation.items=2", "--budget", "samples=16", "--reward", "random"]
    assert main(["run", *map(str, names), *settings, *options, "--runs", str(runs)]) == 0
    (folder,) = (runs / task / method / MODEL).iterdir()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "task", "length", "updates"),
    [
        ("egspo-sa", "sudoku", 64, 2),
        ("egspo-sa", "gsm8k", 128, 2),
        ("egspo-sa", "mbpp", 128, 2),
        ("egspo", "math500", 128, 2),
        ("d1", "humaneval", 128, 2),
        ("agrpo", "countdown", 64, 1),
        ("espo", "sudoku", 64, 2),
    ],
)
def test_a_rollout_of_the_laptop_recipe_trains_adapters_and_both_evaluations_are_made(
    laptop_model, tmp_path, method, task, length, updates
):
    folder = run(laptop_model, method, task, tmp_path / "runs")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == list(range(1, updates + 1))
    assert lines[-1]["samples"] == 16
    assert all(line["gradient_norm"] > 0 for line in lines)
    (weights,) = folder.glob("checkpoints/*/weights.safetensors")
    assert all("lora" in name for name in load_file(weights))
    evaluations = [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]
    assert [line["update"] for line in evaluations] == [0, updates]
    assert {line["decoding"]["completion_length"] for line in evaluations} == {length}
    assert {line["decoding"]["cache"] for line in evaluations} == {"dual"}

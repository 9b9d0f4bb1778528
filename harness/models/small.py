"""The embedded small model: one set of weights for all six tasks, a byte-level BPE vocabulary, a Llama trunk of about
0.9 M weights.

A step up from the tiny model: it writes its working and its answer in the tags of the papers, up to 64 tokens, so that
the number of steps, blocks and the states that a method chooses matter. Its prompts are `Task.compact_prompt` as well.
Its folder is that of an ordinary checkpoint and is loaded as one; `harness sft --model small` makes one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.config.embedded import COMPACT, PROMPTS, SMALL
from harness.errors import UserError, from_here
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.files import WEIGHTS_FILE, save_tensors
from harness.models.tiny import WEIGHTS, embedded_config
from harness.models.tokenizers import TOKENIZER_JSON, CheckpointTokenizer
from harness.randomness import stream_seed
from harness.records.jsonl import write_atomic
from harness.task.base import Task

LENGTH = 64
"""Tokens of a completion."""
TEXTS = 500
"""Demonstrations of each task that the vocabulary is learnt from."""
MOST_TOKENS = 1024
END, MASK = "<|endoftext|>", "<|mask|>"
TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
"""One token each, and text to whoever reads a completion."""
WORDS = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s")
"""What tokens lie within: a word, one digit, a run of signs, one space or line break."""


def learn_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE vocabulary of up to 1024 tokens: end and mask first, then the tags, bytes and merges."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(WORDS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END, MASK])
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    trainer = BpeTrainer(
        vocab_size=MOST_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END, MASK],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, mask_token=MASK)


def small_config(
    vocabulary: int, *, hidden: int = 128, layers: int = 4, heads: int = 4, intermediate: int = 352
) -> LlamaConfig:
    """The small model's configuration: bidirectional Llama, embedding and output tied."""
    return embedded_config(
        vocab_size=vocabulary,
        end_id=0,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        initializer_range=0.04,
        rope_theta=100.0,
        tie_word_embeddings=True,
    )


def fresh_small(tasks: Sequence[Task], seed: int) -> DiffusionLM:
    """An untrained small model on the CPU, its vocabulary and weights drawn from `seed`; the global random state is
    left as it was. Raises UserError where a task has no worked demonstrations."""
    rng = random.Random(stream_seed(seed, "vocabulary"))
    rows = [row for task in tasks for row in task.worked_demonstrations(TEXTS, rng)]
    backend = learn_tokenizer(text for row in rows for text in (row.prompt, row.completion))
    special = SpecialTokens(mask_id=backend.mask_token_id, pad_id=backend.pad_token_id, end_ids=(backend.eos_token_id,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(small_config(len(backend)))
    return DiffusionLM(model, CheckpointTokenizer(backend, SMALL), special, name=SMALL, compact_prompts=True)


def save_small(model: DiffusionLM, folder: Path) -> None:
    """Writes a small model as a folder that `load_model` reads, its weights in float16."""
    assert isinstance(model.tokenizer, CheckpointTokenizer)
    backend, transformer = model.tokenizer.backend, model.predictor.transformer
    raw = transformer.config.to_dict() | {"mask_token_id": model.special.mask_id, PROMPTS: COMPACT, "dtype": "float16"}
    del raw["transformers_version"]
    tokens = {"eos_token": END, "pad_token": END, "mask_token": MASK, "clean_up_tokenization_spaces": False}
    weights = {name: weight.half() for name, weight in transformer.state_dict().items() if name != "lm_head.weight"}
    save_tensors(weights, folder / WEIGHTS_FILE)
    write_atomic(folder / TOKENIZER_JSON, backend.backend_tokenizer.to_str(pretty=True) + "\n")
    for file, values in (("tokenizer_config.json", tokens), ("config.json", raw)):
        write_atomic(folder / file, json.dumps(values, indent=2, sort_keys=True) + "\n")


def small_weights() -> Path:
    """The folder of the small base weights. Raises UserError where they have not been made."""
    folder = WEIGHTS / SMALL
    if not (folder / "config.json").is_file():
        raise UserError(
            "The small model has no weights yet; train them with `harness sft --model small --task "
            f"gsm8k,math500,sudoku,countdown,mbpp,humaneval --out {from_here(folder)}`, about an hour of two cores."
        )
    return folder

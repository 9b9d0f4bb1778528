"""The embedded tiny model: a character vocabulary, a Llama trunk of about 0.2 M weights, and weights shipped with the
package.

It exists so that every method can be run, tested and understood on a laptop. Its prompts are `Task.compact_prompt`. A
user's own task brings its weights in the folder `tiny-<task>` beside its file, made by `harness sft`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness import registry
from harness.errors import UserError, from_here, unknown_choice
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.files import WEIGHTS_FILE, save_tensors
from harness.records.jsonl import write_atomic

WEIGHTS = Path(__file__).parent / "weights"
CHARACTERS = "\n" + "".join(chr(code) for code in range(32, 127))
END_ID = len(CHARACTERS)
MASK_ID = END_ID + 1
VOCABULARY = MASK_ID + 1


class CharacterTokenizer:
    """One token per printable ASCII character or newline; one end token, which also pads; one mask token."""

    def __init__(self) -> None:
        self._id = {character: index for index, character in enumerate(CHARACTERS)}

    def encode(self, text: str) -> list[int]:
        """Token ids. Raises UserError for a character outside the vocabulary."""
        try:
            return [self._id[character] for character in text]
        except KeyError as error:
            raise UserError(
                f"The tiny model has no token for the character {error.args[0]!r}; "
                "it knows printable ASCII and newline."
            ) from error

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; end and mask tokens have none."""
        return "".join(CHARACTERS[index] for index in ids if index < END_ID)


def tiny_config(*, hidden: int = 64, layers: int = 4, heads: int = 2, intermediate: int = 160) -> LlamaConfig:
    """The tiny model's configuration: bidirectional Llama, about 0.2 M weights with the default sizes."""
    return embedded_config(
        vocab_size=VOCABULARY,
        end_id=END_ID,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        initializer_range=0.06,
        rope_theta=10000.0,
        tie_word_embeddings=False,
    )


def embedded_config(*, end_id: int, rope_theta: float, num_attention_heads: int, **sizes: Any) -> LlamaConfig:
    """What the embedded models have in common: bidirectional Llama whose end token also pads. sizes: as transformers
    calls them."""
    return LlamaConfig(
        num_attention_heads=num_attention_heads,
        num_key_value_heads=num_attention_heads,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        use_cache=False,
        pad_token_id=end_id,
        eos_token_id=end_id,
        bos_token_id=None,
        is_causal=False,
        **sizes,
    )


def fresh_tiny(seed: int) -> DiffusionLM:
    """An untrained tiny model on the CPU, its weights drawn from `seed`; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(tiny_config())
    special = SpecialTokens(mask_id=MASK_ID, pad_id=END_ID, end_ids=(END_ID,))
    return DiffusionLM(model, CharacterTokenizer(), special, name="tiny", compact_prompts=True)


def save_tiny(model: DiffusionLM, folder: Path) -> None:
    """Writes a tiny model as a folder that `load_model` reads."""
    raw = tiny_config().to_dict()
    raw |= {"mask_token_id": model.special.mask_id, "tokenizer": "characters"}
    del raw["transformers_version"]
    save_tensors(model.predictor.transformer.state_dict(), folder / WEIGHTS_FILE)
    write_atomic(folder / "config.json", json.dumps(raw, indent=2, sort_keys=True) + "\n")


def tiny_tasks() -> dict[str, Path]:
    """The tasks that have base weights, and their folders: those of the package, and a user's own that have been
    trained."""
    shipped = {name: folder for folder in WEIGHTS.glob("tiny-*") for name in folder.name.split("-")[1:]}
    own = {name: _own_weights(name) for name in registry.names("task")}
    return shipped | {name: folder for name, folder in own.items() if folder and (folder / "config.json").is_file()}


def tiny_weights(task: str) -> Path:
    """The folder of the tiny base weights for `task`: `tiny-mbpp-humaneval` serves the two tasks in its name.

    Raises UserError where there are none.
    """
    known = tiny_tasks()
    if task in known:
        return known[task]
    own = _own_weights(task)
    if own is not None:
        raise UserError(
            f"The tiny model has no weights for task '{task}' yet; train them with "
            f"`harness sft --task {task} --out {from_here(own)} --include-path {from_here(own.parent)}`."
        )
    fix = f"Train one with `harness sft --task {task} --out DIR` and name it with --model DIR."
    raise unknown_choice("task of the tiny model", task, sorted(known), fix=fix)


def _own_weights(task: str) -> Path | None:
    """Where the weights for a user's own task lie once they are trained; None for any other task."""
    file = registry.own_file("task", task)
    return None if file is None else file.parent / f"tiny-{task}"

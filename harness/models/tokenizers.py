"""The tokenizers of published checkpoints, read from their files; a tokenizer's own code is never run.

LLaDA ships a tokenizer.json. Dream ships a class of its own, which is Qwen2's byte-level BPE with more special
tokens: its vocab.json, merges.txt and tokenizer_config.json say everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from harness.errors import UserError

TURN_ENDS = ("<|eot_id|>", "<|im_end|>")


class CheckpointTokenizer:
    """A published tokenizer as DiffusionLM needs it: nothing is added when encoding, special tokens decode to ''."""

    def __init__(self, backend: PreTrainedTokenizerBase, name: str) -> None:
        self.backend = backend
        self.name = name

    @property
    def has_chat_template(self) -> bool:
        """Whether the checkpoint says how messages are written down."""
        return self.backend.chat_template is not None

    @property
    def turn_end_ids(self) -> tuple[int, ...]:
        """Tokens that end a turn in a chat: LLaDA's <|eot_id|>, Dream's <|im_end|>, where the vocabulary has them."""
        vocabulary = self.backend.get_vocab()
        return tuple(vocabulary[token] for token in TURN_ENDS if token in vocabulary)

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens written out in the text become their ids, none is added."""
        return self.backend.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`. Special tokens, and rows of the embedding that stand for no token, have none."""
        return self.backend.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], *, continue_last: bool = False) -> str:
        """The messages as the checkpoint writes them, ready for the answer; without a template their plain texts.

        continue_last: the last message is the answer's beginning and stays open. Raises UserError where the template
        fails.
        """
        if not self.has_chat_template:
            return "".join(f"{message['content'].strip()}\n\n" for message in messages)
        turns = [dict(message) for message in messages]
        try:
            return self.backend.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=not continue_last, continue_final_message=continue_last
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise UserError(f"The chat template of '{self.name}' fails: {error}.") from error


def load_tokenizer(folder: Path, name: str, *, vocabulary: int) -> CheckpointTokenizer:
    """The tokenizer of a checkpoint folder; `vocabulary` is the number of rows of the model's embedding.

    Raises UserError where its files are missing or damaged, or where it has more tokens than the model.
    """
    backend_class = _backend_class(folder, name)
    try:
        backend = backend_class.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises plain Exception for whatever a file may hold
        reason = " ".join(str(error).split())
        raise UserError(f"The tokenizer files of '{name}' cannot be read ({reason}); fetch them again.") from error
    largest = max(backend.get_vocab().values(), default=-1)
    if largest >= vocabulary:
        raise UserError(
            f"The tokenizer of '{name}' has a token {largest}, the model knows {vocabulary} tokens; they do not belong "
            "together."
        )
    return CheckpointTokenizer(backend, name)


def _backend_class(folder: Path, name: str) -> type[PreTrainedTokenizerBase]:
    if (folder / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return Qwen2Tokenizer
    raise UserError(
        f"Model '{name}' has no tokenizer: put tokenizer.json (LLaDA), or vocab.json, merges.txt and "
        f"tokenizer_config.json (Dream), into '{folder}'."
    )

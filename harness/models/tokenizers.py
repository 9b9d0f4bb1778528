"""The tokenizers of published checkpoints, read from their files; a tokenizer's own code is never run.

LLaDA ships a tokenizer.json. Dream ships a class of its own, which is Qwen2's byte-level BPE with more special
tokens: its vocab.json, merges.txt and tokenizer_config.json say everything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from harness.errors import UserError
from harness.models.hub import TOKENIZER_FILES
from harness.models.untrusted import render_template, try_tokenizer
from harness.records.small import check_small
from harness.task.messages import plain_text

TOKENIZER_JSON = "tokenizer.json"
LARGEST_FILE = 1 << 27
TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<|role_end|>")


class CheckpointTokenizer:
    """A published tokenizer as DiffusionLM needs it: nothing is added when encoding, special tokens decode to ''."""

    def __init__(
        self, backend: PreTrainedTokenizerBase, name: str, template_options: Mapping[str, bool] | None = None
    ) -> None:
        self.backend = backend
        self.name = name
        self.template_options = template_options or {}

    @property
    def has_chat_template(self) -> bool:
        """Whether the checkpoint says how messages are written down."""
        return self.backend.chat_template is not None

    @property
    def turn_end_ids(self) -> tuple[int, ...]:
        """Tokens that end a turn in a chat, where the vocabulary has them: LLaDA's <|eot_id|>, the Qwens' and Dream's
        <|im_end|>, LLaDA-MoE's <|role_end|>."""
        vocabulary = self.backend.get_vocab()
        return tuple(vocabulary[token] for token in TURN_ENDS if token in vocabulary)

    def special_ids(self, mask_token: str, *, appends_mask: bool) -> dict[str, int | None]:
        """The special tokens under the keys that config.json has for them; None where the tokenizer has none.

        appends_mask: without `mask_token` or a mask of the tokenizer's own, the mask is the number after its last one.
        """
        vocabulary = self.backend.get_vocab()
        mask = vocabulary.get(mask_token, self.backend.mask_token_id)
        if mask is None and appends_mask:
            mask = max(vocabulary.values()) + 1
        ids = {"pad_token_id": self.backend.pad_token_id, "eos_token_id": self.backend.eos_token_id}
        return {"mask_token_id": mask, **ids}

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens written out in the text become their ids, none is added."""
        with _said_in_one_sentence(f"The tokenizer of '{self.name}' cannot encode a text"):
            return self.backend.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`. Special tokens, and rows of the embedding that stand for no token, have none."""
        with _said_in_one_sentence(f"The tokenizer of '{self.name}' cannot decode its tokens"):
            return self.backend.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], *, continue_last: bool = False) -> str:
        """The messages as the checkpoint writes them, ready for the answer; without a template their plain texts.

        continue_last: the last message is the answer's beginning and stays open. Raises UserError where the template
        fails.
        """
        if not self.has_chat_template:
            return plain_text(messages)
        try:
            return render_template(
                self.backend.get_chat_template(),
                [dict(message) for message in messages],
                variables={**self.backend.special_tokens_map, **self.template_options},
                continue_last=continue_last,
            )
        except ValueError as error:
            raise UserError(f"The chat template of '{self.name}' fails: {error}.") from error


def load_tokenizer(
    folder: Path, name: str, *, vocabulary: int, template_options: Mapping[str, bool] | None = None
) -> CheckpointTokenizer:
    """The tokenizer of a checkpoint folder; `vocabulary` is the number of rows of the model's embedding.

    template_options: what its chat template is told besides the messages, as enable_thinking is false.
    Raises UserError where its files are missing or damaged, or where it has more tokens than the model.
    """
    backend_class = _backend_class(folder, name)
    with _said_in_one_sentence(f"The tokenizer files of '{name}' cannot be read"):
        for file in TOKENIZER_FILES:
            check_small(folder / file, LARGEST_FILE)
        if (folder / TOKENIZER_JSON).is_file():
            try_tokenizer(folder / TOKENIZER_JSON)
        backend = backend_class.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    largest = max(backend.get_vocab().values(), default=-1)
    if largest >= vocabulary:
        raise UserError(
            f"The tokenizer of '{name}' has a token {largest}, the model knows {vocabulary} tokens; they do not belong "
            "together."
        )
    return CheckpointTokenizer(backend, name, template_options)


def _backend_class(folder: Path, name: str) -> type[PreTrainedTokenizerBase]:
    if (folder / TOKENIZER_JSON).is_file():
        return PreTrainedTokenizerFast
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return Qwen2Tokenizer
    raise UserError(
        f"Model '{name}' has no tokenizer: put tokenizer.json (LLaDA), or vocab.json, merges.txt and "
        f"tokenizer_config.json (Dream), into '{folder}'."
    )


@contextlib.contextmanager
def _said_in_one_sentence(what: str) -> Iterator[None]:
    """Inside, every error becomes a UserError: the tokenizers library raises plain Exception for whatever a file may
    hold, and where it panics, an error that is not even one."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{what} ({reason}); fetch its files again.") from error

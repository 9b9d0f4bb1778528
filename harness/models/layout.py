"""What the checkpoints of one family look like: their config.json, the names of their modules, their special tokens.

Nothing of a checkpoint's own code is run: config.json is read here, and a setting that transformers' classes do not
have is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from harness.errors import UserError
from harness.models.attention import FULL, Attention
from harness.models.config_fields import Fields
from harness.models.diffusion_lm import SpecialTokens
from harness.models.transformer_fields import WITHOUT_EFFECT

CONFIG_JSON = "config.json"
BLOCK_SIZE = "block_size"
BLOCK_NUMBER = re.compile(r"(?<=\.layers\.)\d+(?=\.)")


def no_blocks(fields: Fields, name: str) -> Attention:
    """Every token attends to every other."""
    return FULL


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One family of checkpoints, by the model_type of its config.json.

    shift: the raw output at position i predicts token i + 1. attention: which tokens may attend to which, by
    config.json and the checkpoint's name. modules: our module name to the checkpoint's, # standing for the number of
    the block; others keep their name. mask_token: the mask as text, which the tokenizer gives the number of; empty
    where config.json has to state that number. appends_mask: where the tokenizer lacks it, it is the row of the
    embedding after the last token. template_options: what the chat template is told besides the messages.
    generation_ends: the end tokens of generation_config.json end a turn. hub_ids: of some of its checkpoints, for
    whoever misspells one.
    """

    model_type: str
    to_config: Callable[[Fields], PretrainedConfig]
    model_class: type[PreTrainedModel]
    without_effect: Collection[str] = WITHOUT_EFFECT
    shift: bool = False
    attention: Callable[[Fields, str], Attention] = no_blocks
    modules: Mapping[str, str] = field(default_factory=dict)
    mask_token: str = ""
    appends_mask: bool = False
    template_options: Mapping[str, bool] = field(default_factory=dict)
    generation_ends: bool = False
    hub_ids: tuple[str, ...] = ()

    def config(self, raw: Mapping[str, Any], place: Path) -> PretrainedConfig:
        """The configuration of the transformers model. Raises UserError for whatever that model does not have."""
        fields = Fields(raw, place)
        config = self.to_config(fields)
        fields.refuse_others(self.without_effect)
        return config

    def official_module(self, module: str) -> str:
        """What the checkpoint calls our module, as in model.layers.3.mlp.up_proj."""
        number = BLOCK_NUMBER.search(module)
        official = self.modules.get(BLOCK_NUMBER.sub("#", module))
        if official is None:
            return module
        return official.replace("#", number[0]) if number else official

    def official_tensor(self, tensor: str) -> str:
        """What the checkpoint calls our tensor, as in model.layers.3.mlp.up_proj.weight."""
        module, _, parameter = tensor.rpartition(".")
        return f"{self.official_module(module)}.{parameter}"


def special_tokens(fields: Fields, known: Mapping[str, int | None] | None = None) -> SpecialTokens:
    """Mask, padding and end tokens as config.json states them. known: numbers by key, from the tokenizer, for those
    that it leaves out. Raises UserError where one is missing or too large."""
    vocabulary = fields.size("embedding_size", default=fields.size("vocab_size"))

    def stated(key: str) -> object:
        value = fields.get(key)
        return (known or {}).get(key) if value is None else value

    return SpecialTokens(
        mask_id=_token(fields, "mask_token_id", stated("mask_token_id"), vocabulary),
        pad_id=_token(fields, "pad_token_id", stated("pad_token_id"), vocabulary),
        end_ids=end_tokens(fields, stated("eos_token_id"), vocabulary),
    )


def end_tokens(fields: Fields, ends: object, vocabulary: int) -> tuple[int, ...]:
    """One end token or a list of them. Raises UserError where one is missing or too large."""
    each = ends if isinstance(ends, list) and ends else [ends]
    return tuple(_token(fields, "eos_token_id", end, vocabulary) for end in each)


def stated_tokens(fields: Fields) -> dict[str, int | None]:
    """Padding and end token for transformers' classes. Raises UserError where config.json lacks one, or the mask."""
    special = special_tokens(fields)
    return {"pad_token_id": special.pad_id, "eos_token_id": special.end_ids[0], "bos_token_id": None}


def _token(fields: Fields, key: str, value: object, vocabulary: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"'{fields.place}' has {key}={value!r}; a masked diffusion model needs this token's number.")
    if not 0 <= value < vocabulary:
        raise UserError(f"'{fields.place}' has {key}={value}, outside the vocabulary of {vocabulary} tokens.")
    return value

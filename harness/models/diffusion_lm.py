"""DiffusionLM: one interface over all families of models, for sampling, scoring and training.

Axes: B rows, L tokens, n asked positions, V vocabulary, d hidden width. Index i of the logits always predicts token i.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.config.tree import LoraConfig
from harness.distributed.in_step import InStep
from harness.errors import UserError
from harness.models.attention import COMPLETION, FULL, Attention
from harness.models.flops import ModelShape
from harness.models.graphs import PassGraphs
from harness.models.key_values import KeyValueCache, cached_hidden
from harness.models.lora import LORA_TARGETS, with_adapters
from harness.models.memory import Memory
from harness.models.meter import Meter
from harness.models.packing import packed
from harness.models.predictor import MaskedPredictor, at_least_float32
from harness.models.shape import shape_of
from harness.rollout import Prompts
from harness.task.base import Example, Task
from harness.task.messages import split_prefill
from harness.task.prompts import COMPACT_ONLY
from harness.task.template import Prompting


class Tokenizer(Protocol):
    """What DiffusionLM needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        ...


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """mask_id is never generated; pad_id fills prompts on the left; a completion ends at the first of end_ids."""

    mask_id: int
    pad_id: int
    end_ids: tuple[int, ...]


class DiffusionLM:
    """A masked diffusion language model with its tokenizer.

    network: what is trained. fingerprint: hash of the loaded weights. commits: of what was fetched from the hub, by hub
    id.
    warnings: sentences on what looks wrong about the checkpoint, for the user to judge. meter: counts every pass.
    graphs: of its passes without gradient, once these are to be captured.
    memory: how many sequences fit into it at once. reference: a copy of the weights as the reference policy, where
    there is one.
    lora_ranks: of the adapters by kind of layer, as q_proj; empty without adapters.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        special: SpecialTokens,
        *,
        name: str,
        shift: bool = False,
        attention: Attention = FULL,
        compact_prompts: bool = False,
        fingerprint: str = "",
        commits: Mapping[str, str] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.predictor = MaskedPredictor(model, shift=shift, attention=attention)
        self.network: nn.Module = self.predictor
        self.tokenizer = tokenizer
        self.special = special
        self.name = name
        self.compact_prompts = compact_prompts
        self.fingerprint = fingerprint
        self.commits = commits or {}
        self.warnings = warnings
        self.meter = Meter()
        self.memory = Memory(self.meter)
        self.graphs = PassGraphs()
        self.reference: MaskedPredictor | None = None
        self.together: InStep | None = None
        self.packs_weights = False
        self._is_reference = False
        self.lora_ranks: Mapping[str, int] = {}

    @property
    def attention(self) -> Attention:
        """Which tokens may attend to which."""
        return self.predictor.attention

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.predictor.parameters()).device

    @property
    def dtype_name(self) -> str:
        """Of the weights: `bfloat16`."""
        return str(next(self.predictor.parameters()).dtype).removeprefix("torch.")

    @property
    def shape(self) -> ModelShape:
        """Sizes for the FLOPs account, of the reference policy inside `reference_policy`."""
        ranks = {} if self._is_reference else self.lora_ranks
        return shape_of(self.predictor.transformer.config, ranks, self.attention.block_length)

    def packed(self) -> AbstractContextManager[None]:
        """While the weights stand still, passes without gradient multiply by packed ones, where these were asked for
        (`speed_up`)."""
        predictors = [self.predictor] if self.reference is None else [self.predictor, self.reference]
        return packed(*predictors) if self.packs_weights else contextlib.nullcontext()

    def require_full_attention(self, what: str) -> None:
        """Raises UserError where the model attends by blocks; `what` needs one that does not."""
        if self.attention.block_length:
            raise UserError(
                f"Model '{self.name}' attends by blocks of {self.attention.block_length} tokens; {what} supports only "
                "models in which every token attends to every other."
            )

    def logits(
        self, tokens_BL: Tensor, mask_BL: Tensor | None, positions_Bn: Tensor, clean_BL: Tensor | None = None
    ) -> Tensor:
        """Logits (B, n, V), float32 or wider, at positions (B, n); mask_BL is None where nothing is padded.

        clean_BL: the same sequences without masks, where tokens of several blocks are masked: a model that attends by
        blocks predicts each block after clean ones, as it was trained; others do without.
        """
        self._announce()
        logits_BnV = at_least_float32(self.network(tokens_BL, mask_BL, positions_Bn, clean_BL))
        rows, length = tokens_BL.shape[0], self._columns(tokens_BL, clean_BL)
        return self._counted(logits_BnV, rows, length, head_positions=positions_Bn.numel())

    def _columns(self, tokens_BL: Tensor, clean_BL: Tensor | None) -> int:
        """How many a pass computes."""
        return tokens_BL.shape[1] * (1 if clean_BL is None or not self.attention.block_length else 2)

    def completion_logits(
        self, tokens_BL: Tensor, mask_BL: Tensor | None, completion_length: int, clean_BL: Tensor | None = None
    ) -> Tensor:
        """Logits (B, C, V) of the last `completion_length` positions."""
        rows, length = tokens_BL.shape
        place_C = torch.arange(length - completion_length, length, device=tokens_BL.device)
        return self.logits(tokens_BL, mask_BL, place_C.expand(rows, -1), clean_BL)

    def hidden(self, tokens_BL: Tensor, mask_BL: Tensor | None, clean_BL: Tensor | None = None) -> Tensor:
        """Final hidden states (B, L, d), for callers that choose positions afterwards. clean_BL: as in `logits`."""
        self._announce()

        def run(tokens_BL: Tensor, mask_BL: Tensor | None) -> Tensor:
            return self.predictor.hidden(tokens_BL, mask_BL, clean_BL)

        hidden_BLd = self.graphs.hidden(run, tokens_BL, mask_BL, kind=self._is_reference)
        return self._counted(hidden_BLd, len(tokens_BL), self._columns(tokens_BL, clean_BL), head_positions=0)

    def cached_hidden(self, tokens_Bq: Tensor, mask_BL: Tensor | None, cache: KeyValueCache) -> tuple[Tensor, int]:
        """Final hidden states (B, q, d) of the columns from cache.first on, and the position that the first of them
        predicts."""
        self._announce()
        run = functools.partial(cached_hidden, self.predictor.transformer, attention=self.attention)
        hidden_Bqd = self.graphs.cached_hidden(run, tokens_Bq, mask_BL, cache, kind=self._is_reference)
        counted_Bqd = self._counted(hidden_Bqd, *tokens_Bq.shape, keys=len(cache), head_positions=0)
        return counted_Bqd, cache.first + self.predictor.shift

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., V), float32 or wider, of hidden states (..., d)."""
        positions = hidden.numel() // hidden.shape[-1]
        return self._counted(at_least_float32(self.predictor.head(hidden)), 0, 0, head_positions=positions)

    def _counted(self, output: Tensor, rows: int, length: int, *, head_positions: int, keys: int = 0) -> Tensor:
        sizes = {"rows": rows, "queries": length, "keys": keys or length, "head_positions": head_positions}
        return self.meter.count(output, self.shape, **sizes)

    def add_lora(self, config: LoraConfig, seed: int) -> None:
        """Freezes the weights and adds adapters, initialised from `seed`; the global random state is left as it was."""
        targets = LORA_TARGETS[config.targets]
        peft_config = PeftLoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(targets)
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = with_adapters(self.predictor.transformer, peft_config)
        self.set_model(model, dict.fromkeys(targets, config.rank))

    def set_model(self, model: PreTrainedModel | PeftModel, lora_ranks: Mapping[str, int]) -> None:
        """Replaces the model by itself with adapters put on or taken off; lora_ranks: by kind of layer, as q_proj.

        No dropout is on afterwards: peft puts new adapters into training mode, whatever the model is in.
        """
        self.predictor.model = model.eval()
        self.lora_ranks = lora_ranks
        self.graphs.forget()

    def keep_reference(self, predictor: MaskedPredictor | None = None) -> None:
        """Keeps a frozen copy of the present weights, or `predictor`, as the reference policy.

        Adapters need no copy: without `predictor` they are switched off instead.
        """
        if predictor is None and isinstance(self.predictor.model, PeftModel):
            return
        self.graphs.forget()
        self.reference = (predictor or copy.deepcopy(self.predictor)).requires_grad_(False).eval()

    @contextlib.contextmanager
    def reference_policy(self) -> Iterator[None]:
        """Inside, the model is the reference policy: adapters off, or the copy made by `keep_reference`; no dropout."""
        network, predictor, training = self.network, self.predictor, self.network.training
        self._is_reference = True
        try:
            if self.reference is not None:
                self.network = self.predictor = self.reference
                yield
            elif isinstance(predictor.model, PeftModel):
                network.eval()
                with predictor.model.disable_adapter():
                    yield
            else:
                raise UserError("Full fine-tuning needs a copy for its reference policy; call keep_reference() first.")
        finally:
            self._is_reference = False
            self.network, self.predictor = network, predictor
            network.train(training)

    @property
    def is_sharded(self) -> bool:
        """Whether this process holds a part of the weights, so that every pass takes all processes."""
        return self.together is not None

    def go_in_step(self, together: InStep) -> None:
        """Says that the weights are sharded."""
        self.together = self.memory.together = together

    @contextlib.contextmanager
    def in_step(self) -> Iterator[None]:
        """Inside, processes may make different numbers of passes, without gradient; with sharded weights those that
        have no more to make go along with the others, at the end of the block."""
        if self.together is None:
            yield
            return
        with self.together.announcing():
            yield
        token_BL = torch.full((1, 1), self.special.mask_id, device=self.device)
        with torch.no_grad():
            self.together.go_along(lambda: self.predictor.hidden(token_BL, None))

    def _announce(self) -> None:
        """Tells the other processes that a pass follows."""
        if self.together is not None:
            self.together.announce()

    def prompt_text(self, task: Task, example: Example) -> str:
        """The prompt as text: the task's compact prompt for the tiny model, otherwise its chat messages in the
        template and, as it stands, the beginning of the answer that they may end in.

        Raises UserError for the user's own prompts or worked examples where the model takes compact prompts.
        """
        if self.compact_prompts:
            if task.prompting != Prompting():
                raise UserError(COMPACT_ONLY)
            return task.compact_prompt(example)
        asked, prefill = split_prefill(task.messages(example))
        return apply_chat_template(self.tokenizer, asked, self.name) + prefill

    def encode_prompts(self, texts: Sequence[str], *, max_length: int = 0, attended_padding: int = 0) -> Prompts:
        """Left-padded prompts on the model's device; with max_length above 0 the last max_length tokens of each are
        kept. attended_padding: as in Conventions."""
        rows = [self.tokenizer.encode(text)[-max_length:] for text in texts]
        return self.pad_prompts(rows, attended_padding=attended_padding)

    def pad_prompts(self, rows: Sequence[Sequence[int]], *, length: int = 0, attended_padding: int = 0) -> Prompts:
        """Token ids of prompts, padded on the left to the longest, on the model's device.

        With `length` they are padded to it, and there is a mask even where nothing is padded: a row then sees the same
        numbers whatever else is in the batch. Where the model's blocks begin with the completion, it is padded to whole
        blocks. attended_padding: as in Conventions.
        """
        width = length or max(len(row) for row in rows)
        if self.attention.blocks_from == COMPLETION:
            width += -width % self.attention.block_length
        padded = [[*[self.special.pad_id] * (width - len(row)), *row] for row in rows]
        ids_BP = torch.tensor(padded, dtype=torch.long, device=self.device)
        seen = [len(row) for row in rows]
        if attended_padding:
            batches = [seen[start : start + attended_padding] for start in range(0, len(seen), attended_padding)]
            seen = [max(batch) for batch in batches for _ in batch]
        if not length and all(tokens == width for tokens in seen):
            return Prompts(ids_BP=ids_BP, mask_BP=None)
        starts_B = torch.tensor([width - tokens for tokens in seen], device=self.device)
        return Prompts(ids_BP=ids_BP, mask_BP=torch.arange(width, device=self.device) >= starts_B[:, None])

    def decode(self, completion_ids_BC: Tensor, *, past_end: bool = False) -> list[str]:
        """Completion texts, each up to its first end token; with `past_end` all of it, end tokens having no text."""
        whole_B = torch.full_like(completion_ids_BC[:, 0], completion_ids_BC.shape[1])
        lengths = (whole_B if past_end else self.completion_lengths(completion_ids_BC)).tolist()
        rows = completion_ids_BC.tolist()
        return [self.tokenizer.decode(row[:length]) for row, length in zip(rows, lengths, strict=True)]

    def completion_lengths(self, completion_ids_BC: Tensor) -> Tensor:
        """Tokens before the first end token (B,)."""
        return (~self.is_end(completion_ids_BC)).cumprod(1).sum(1)

    def has_text_past_end(self, completion_ids_NC: Tensor) -> Tensor:
        """Whether tokens other than end tokens follow the first end token (N,)."""
        is_end_NC = self.is_end(completion_ids_NC)
        return (~is_end_NC & (is_end_NC.cumsum(1) > 0)).any(1)

    def is_end(self, ids: Tensor) -> Tensor:
        """True where the token is an end token."""
        ends = torch.zeros_like(ids, dtype=torch.bool)
        for end_id in self.special.end_ids:
            ends |= ids == end_id
        return ends


def apply_chat_template(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], model: str) -> str:
    """The messages in the tokenizer's chat template, ready for the answer. Raises UserError where it has none."""
    template = getattr(tokenizer, "apply_chat_template", None)
    if template is None:
        raise UserError(f"Model '{model}' has no chat template; use an instruction-tuned checkpoint.")
    return template(messages)

"""Batches of masked-diffusion fine-tuning (LLaDA, arXiv 2502.09992, eq. 6): which rows, what is masked, and the loss.

A row masks l of its C completion tokens, l stratified over the batch; its loss is the mean cross-entropy of the
masked tokens. That is the likelihood bound with the number of masks drawn exactly, which varies less than masking
each token with probability t and dividing by t. Prompts are never masked. All rows of a batch have C completion tokens:
shorter ones are filled up with end tokens, which count, as in LLaDA.

Axes: B rows, P prompt, C completion, L = P + C, n masked positions, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import UserError
from harness.finetuning.data import Pair
from harness.models.diffusion_lm import DiffusionLM, apply_chat_template
from harness.randomness import stream_seed
from harness.rollout import Prompts
from harness.task.base import Demonstration, Task

Source = Callable[[int, random.Random], Sequence[Demonstration]]
"""Gives so many demonstrations."""


@dataclass(frozen=True, kw_only=True)
class EncodedPair:
    """Token ids of a prompt and of its completion."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class MaskedBatch:
    """tokens_BL: input with masks. mask_BL: attention mask, None where nothing is padded. clean_BL: what the masks
    hide. masked_BL: where they are."""

    tokens_BL: Tensor
    mask_BL: Tensor | None
    clean_BL: Tensor
    masked_BL: Tensor


@dataclass(frozen=True, kw_only=True)
class DrawnBatch:
    """Rows, and which of their C completion tokens are masked."""

    rows: Sequence[EncodedPair]
    masked_BC: Tensor

    def part(self, places: slice) -> DrawnBatch:
        """Some of the rows."""
        return DrawnBatch(rows=self.rows[places], masked_BC=self.masked_BC[places])


def demonstration_batches(
    encode: Callable[[str], Sequence[int]], tasks: Sequence[Task], size: int, seed: int
) -> Iterator[list[EncodedPair]]:
    """Endless batches of `size` fresh demonstrations of the tasks, which take turns row by row."""
    return _encoded(encode, [task.demonstrations for task in tasks], size, seed)


def worked_batches(
    encode: Callable[[str], Sequence[int]], tasks: Sequence[Task], size: int, seed: int
) -> Iterator[list[EncodedPair]]:
    """The same with worked demonstrations."""
    return _encoded(encode, [task.worked_demonstrations for task in tasks], size, seed)


def _encoded(
    encode: Callable[[str], Sequence[int]], sources: Sequence[Source], size: int, seed: int
) -> Iterator[list[EncodedPair]]:
    rng = random.Random(stream_seed(seed, "demonstrations"))
    while True:
        rows = take_turns(sources, size, rng)
        yield [EncodedPair(prompt_ids=encode(row.prompt), completion_ids=encode(row.completion)) for row in rows]


def take_turns(sources: Sequence[Source], count: int, rng: random.Random) -> list[Demonstration]:
    """Rows of the sources in turn: their places in the batch decide how much of them is masked."""
    each = -(-count // len(sources))
    rows = zip(*[source(each, rng) for source in sources], strict=True)
    return [row for turn in rows for row in turn][:count]


def shuffled_batches(pairs: Sequence[EncodedPair], size: int, seed: int) -> Iterator[list[EncodedPair]]:
    """Endless batches of `size` rows: every pass takes the pairs in a new order; a batch may reach into the next."""
    rng = random.Random(stream_seed(seed, "order"))
    waiting: list[EncodedPair] = []
    while True:
        while len(waiting) < size:
            waiting += rng.sample(pairs, len(pairs))
        yield waiting[:size]
        del waiting[:size]


def encode_pair(model: DiffusionLM, pair: Pair, max_length: int) -> EncodedPair:
    """The token ids of a pair: the prompt in the model's chat template, the answer and one end token, cut at the end
    where both exceed `max_length` tokens.

    Raises UserError, with file and line, where the prompt leaves no room for the answer, the model has no token for a
    character, or the answer contains the mask token.
    """
    try:
        prompt_ids = model.tokenizer.encode(_prompt_text(model, pair))
        answer_ids = model.tokenizer.encode(pair.answer)
    except UserError as error:
        raise UserError(f"{pair.place}: {error}") from error
    room = max_length - len(prompt_ids)
    if room < 1:
        raise UserError(
            f"{pair.place}: the prompt of {len(prompt_ids)} tokens leaves no room for an answer; raise --max-length "
            f"{max_length}."
        )
    if model.special.mask_id in answer_ids:
        raise UserError(f"{pair.place}: the answer contains the mask token, which is never part of an answer.")
    return EncodedPair(prompt_ids=prompt_ids, completion_ids=[*answer_ids, model.special.end_ids[0]][:room])


def _prompt_text(model: DiffusionLM, pair: Pair) -> str:
    """The tiny model takes a text as it stands; for others it becomes the user's message."""
    if isinstance(pair.prompt, str) and model.compact_prompts:
        return pair.prompt
    messages = [{"role": "user", "content": pair.prompt}] if isinstance(pair.prompt, str) else pair.prompt
    return apply_chat_template(model.tokenizer, messages, model.name)


def draw_batch(rows: Sequence[EncodedPair], generator: torch.Generator, at_least: int = 0) -> DrawnBatch:
    """Draws which completion tokens are masked. at_least: completion tokens per row, more where a row has more."""
    longest = max(at_least, *(len(row.completion_ids) for row in rows))
    return DrawnBatch(rows=rows, masked_BC=draw_masks(len(rows), longest, generator))


def mask_batch(model: DiffusionLM, drawn: DrawnBatch) -> MaskedBatch:
    """Pads prompts on the left, fills completions up with end tokens, and masks what was drawn."""
    longest, end_id = drawn.masked_BC.shape[1], model.special.end_ids[0]
    filled = [[*row.completion_ids, *[end_id] * (longest - len(row.completion_ids))] for row in drawn.rows]
    prompts = model.pad_prompts([row.prompt_ids for row in drawn.rows])
    return masked_batch(prompts, torch.tensor(filled), drawn.masked_BC, mask_id=model.special.mask_id)


def masked_batch(prompts: Prompts, completion_BC: Tensor, masked_BC: Tensor, *, mask_id: int) -> MaskedBatch:
    """The batch for given masks of the completions."""
    device = prompts.ids_BP.device
    masked_BC = masked_BC.to(device)
    clean_BL, mask_BL = prompts.with_completion(completion_BC.to(device))
    masked_BL = torch.cat([torch.zeros_like(prompts.ids_BP, dtype=torch.bool), masked_BC], 1)
    return MaskedBatch(
        tokens_BL=torch.where(masked_BL, mask_id, clean_BL),
        mask_BL=mask_BL,
        clean_BL=clean_BL,
        masked_BL=masked_BL,
    )


def draw_masks(num_rows: int, length: int, generator: torch.Generator) -> Tensor:
    """Masked positions (B, C), bool. Row b masks l of them, l on an even grid over 1..C with a random start."""
    start = torch.rand(1, generator=generator)
    share_B = (start + torch.arange(num_rows) / num_rows) % 1
    count_B = (share_B * length).long().clamp_max(length - 1) + 1
    rank_BC = torch.rand(num_rows, length, generator=generator).argsort(1).argsort(1)
    return rank_BC < count_B[:, None]


def masked_loss(model: DiffusionLM, batch: MaskedBatch, *, num_rows: int) -> Tensor:
    """Sum over rows of the mean cross-entropy of their masked tokens, divided by the rows of the whole batch; nats."""
    hidden_BLd = model.hidden(batch.tokens_BL, batch.mask_BL, batch.clean_BL)
    logits_nV = model.head(hidden_BLd[batch.masked_BL])
    cross_entropy_n = torch.nn.functional.cross_entropy(logits_nV, batch.clean_BL[batch.masked_BL], reduction="none")
    row_n = batch.masked_BL.nonzero()[:, 0]
    return (cross_entropy_n / batch.masked_BL.sum(1)[row_n]).sum() / num_rows

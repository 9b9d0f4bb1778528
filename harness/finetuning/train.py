"""Masked-diffusion fine-tuning (LLaDA, arXiv 2502.09992, eq. 6): trains the tiny base models, and any model on prompts
and answers, which is d1's first stage (arXiv 2504.12216).

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

from harness.config.tree import OptimizerConfig
from harness.errors import UserError
from harness.finetuning.data import Pair
from harness.models.diffusion_lm import DiffusionLM, apply_chat_template
from harness.randomness import stream, stream_seed
from harness.rl.optimizer import adamw, learning_rate
from harness.rollout import Prompts
from harness.task.base import Demonstration, Task


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    """A fixed number of steps: the same seed gives the same weights on the same machine.

    completion_length: tokens that every completion is filled up to, at least; 0 for the longest of each batch.
    max_length: tokens of a prompt and its completion; longer completions are cut.
    """

    steps: int = 1500
    batch_size: int = 128
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    beta2: float = 0.98
    completion_length: int = 0
    max_length: int = 4096
    seed: int = 0


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


def train(
    model: DiffusionLM,
    tasks: Sequence[Task],
    config: SftConfig,
    *,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """Trains all weights on fresh demonstrations of the tasks, which take turns row by row, in place.

    Returns the mean loss of the last 100 steps; on_step is told (step, loss).
    """
    rng, encode = random.Random(stream_seed(config.seed, "demonstrations")), model.tokenizer.encode

    def batches() -> Iterator[Sequence[EncodedPair]]:
        while True:
            rows = take_turns(tasks, config.batch_size, rng)
            yield [EncodedPair(prompt_ids=encode(row.prompt), completion_ids=encode(row.completion)) for row in rows]

    return _fit(model, batches(), config, on_step)


def take_turns(tasks: Sequence[Task], count: int, rng: random.Random) -> list[Demonstration]:
    """Rows of the tasks in turn: their places in the batch decide how much of them is masked."""
    each = -(-count // len(tasks))
    rows = zip(*[task.demonstrations(each, rng) for task in tasks], strict=True)
    return [row for turn in rows for row in turn][:count]


def train_on_pairs(
    model: DiffusionLM,
    pairs: Sequence[EncodedPair],
    config: SftConfig,
    *,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """Trains the trainable weights (all, or the adapters) on given pairs, in place; returns as `train` does."""
    return _fit(model, shuffled_batches(pairs, config.batch_size, config.seed), config, on_step)


def _fit(
    model: DiffusionLM,
    batches: Iterator[Sequence[EncodedPair]],
    config: SftConfig,
    on_step: Callable[[int, float], None],
) -> float:
    optimizer_config = OptimizerConfig(
        learning_rate=config.learning_rate,
        schedule="cosine",
        warmup_updates=config.warmup_steps,
        beta2=config.beta2,
        weight_decay=0.0,
    )
    optimizer = adamw(model.network, optimizer_config)
    trainable = [weight for weight in model.network.parameters() if weight.requires_grad]
    mask_rng = stream(config.seed, "masks")
    losses: list[float] = []
    model.network.train()
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(stream_seed(config.seed, "dropout"))
        for step in range(config.steps):
            loss = masked_loss(model, mask_batch(model, next(batches), mask_rng, config.completion_length))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(optimizer_config, step=step, spent=step / config.steps)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainable, 1.0)
            optimizer.step()
            losses.append(loss.item())
            on_step(step + 1, losses[-1])
    model.network.eval()
    return sum(losses[-100:]) / len(losses[-100:])


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


def mask_batch(
    model: DiffusionLM, rows: Sequence[EncodedPair], generator: torch.Generator, at_least: int = 0
) -> MaskedBatch:
    """Pads prompts on the left, fills completions up with end tokens, and draws which of their tokens are masked.

    at_least: completion tokens per row, more where a row has more.
    """
    longest = max(at_least, *(len(row.completion_ids) for row in rows))
    end_id = model.special.end_ids[0]
    filled = [[*row.completion_ids, *[end_id] * (longest - len(row.completion_ids))] for row in rows]
    masked_BC = draw_masks(len(rows), longest, generator)
    prompts = model.pad_prompts([row.prompt_ids for row in rows])
    return masked_batch(prompts, torch.tensor(filled), masked_BC, mask_id=model.special.mask_id)


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


def masked_loss(model: DiffusionLM, batch: MaskedBatch) -> Tensor:
    """Mean over rows of the mean cross-entropy of their masked tokens; nats."""
    hidden_BLd = model.hidden(batch.tokens_BL, batch.mask_BL)
    logits_nV = model.head(hidden_BLd[batch.masked_BL])
    cross_entropy_n = torch.nn.functional.cross_entropy(logits_nV, batch.clean_BL[batch.masked_BL], reduction="none")
    row_n = batch.masked_BL.nonzero()[:, 0]
    return (cross_entropy_n / batch.masked_BL.sum(1)[row_n]).sum() / len(batch.masked_BL)

"""log p(answer | context) by LLaDA's Monte-Carlo bound (arXiv 2502.09992, appendix B.5), many requests at a time.

A draw masks l of the answer's C tokens, l on an evenly spaced grid over 1..C with a random start, and weighs the masked
tokens' log-probabilities with C / l; the estimate is the mean over the draws. Masks that come out the same are
computed once: an answer of one token costs one row, and its value is exact.

Every forward pass has the same number of rows, filled up with copies, and lengths that follow from each request alone.
So a request's value depends on neither the batch size nor the order, to the last bit on the CPU.

Axes: D draws, U different masks, T rows of a forward pass, L padded tokens, C answer tokens, n positions asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.diffusion.elbo import likelihood_counts, masks_of_counts
from harness.diffusion.guidance import guided_logits
from harness.diffusion.logprob import POSITIONS_AT_ONCE, chosen_logprob
from harness.errors import require_positive
from harness.evaluation.batches import padded_length
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, stream, stream_seed, uniforms

MASK_DRAW = 2
ANSWER_MULTIPLE = 8


@dataclass(frozen=True, kw_only=True)
class LikelihoodOptions:
    """draws: masks per request. rows: per forward pass. guidance_scale: of classifier-free guidance, 0 for none."""

    draws: int = 128
    rows: int = 32
    guidance_scale: float = 0.0

    def check(self) -> None:
        """Raises UserError for values outside their range."""
        require_positive("likelihood", draws=self.draws, rows=self.rows)


@dataclass(frozen=True, kw_only=True)
class Question:
    """How probable is the answer after the context? answer_ids: at least one. seed: of the masks."""

    key: str
    context_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """logprob, standard_error: nats; the error is that of independent draws, None for a single one. forwards: passes of
    its rows, guidance included."""

    logprob: float
    standard_error: float | None
    forwards: int
    seconds: float
    flops: float


def log_likelihoods(
    model: DiffusionLM, questions: Sequence[Question], options: LikelihoodOptions
) -> Iterator[tuple[Question, Likelihood]]:
    """Answers every question once, the longest first, and yields each as soon as its last row is done.

    Raises UserError for a model that attends by blocks.
    """
    model.require_full_attention("likelihood estimation")
    groups: dict[tuple[int, int], list[Question]] = {}
    for question in questions:
        length = padded_length(len(question.context_ids) + len(question.answer_ids))
        groups.setdefault((length, _answer_slots(len(question.answer_ids), length)), []).append(question)
    for length, slots in sorted(groups, reverse=True):
        group = sorted(groups[length, slots], key=lambda question: question.key)
        yield from _Group(model, options, length, slots).answers(group)


def masks(question: Question, draws: int) -> Tensor:
    """Bool (D, C): the tokens that each draw masks; a pure function of the question's seed.

    A position's uniform is the same in answers of every length, so that the choices of one question share their draws.
    """
    length = len(question.answer_ids)
    start = stream_seed(question.seed, "start") % length + 1
    seed_D = row_seeds(draws, stream(question.seed, "masks"))
    uniform_DC = uniforms(seed_D, 0, torch.arange(length).expand(draws, -1), MASK_DRAW)
    return masks_of_counts(likelihood_counts(draws, length, start), uniform_DC)


def _answer_slots(answer_length: int, length: int) -> int:
    """At how many positions at the end of the row logits are asked for."""
    return min(length, -(-answer_length // ANSWER_MULTIPLE) * ANSWER_MULTIPLE)


@dataclass
class _Open:
    """A question whose rows are not all done. mask_UC: its different masks; draw_D: which of them a draw has."""

    question: Question
    mask_UC: Tensor
    draw_D: Tensor
    terms: list[float] = field(default_factory=list)
    forwards: int = 0
    seconds: float = 0.0
    flops: float = 0.0

    @classmethod
    def start(cls, question: Question, draws: int) -> _Open:
        mask_UC, draw_D = masks(question, draws).unique(dim=0, return_inverse=True)
        return cls(question, mask_UC, draw_D)

    @property
    def is_done(self) -> bool:
        return len(self.terms) == len(self.mask_UC)

    def close(self) -> Likelihood:
        term_D = torch.tensor(self.terms, dtype=torch.float64)[self.draw_D]
        error = (term_D.std() / len(term_D) ** 0.5).item() if len(term_D) > 1 else None
        return Likelihood(
            logprob=term_D.mean().item(),
            standard_error=error,
            forwards=self.forwards,
            seconds=self.seconds,
            flops=self.flops,
        )


@dataclass
class _Group:
    """Questions of one padded length. Their rows are dealt out to forward passes of equal shape."""

    model: DiffusionLM
    options: LikelihoodOptions
    length: int
    slots: int

    @property
    def rows(self) -> int:
        """T: fewer where the logits of long answers would not fit."""
        return max(1, min(self.options.rows, POSITIONS_AT_ONCE // self.slots))

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Likelihood]]:
        waiting: list[tuple[_Open, int]] = []
        for question in questions:
            opened = _Open.start(question, self.options.draws)
            waiting += [(opened, row) for row in range(len(opened.mask_UC))]
            while len(waiting) >= self.rows:
                yield from self._forward(waiting[: self.rows])
                waiting = waiting[self.rows :]
        if waiting:
            yield from self._forward(waiting)

    def _forward(self, rows: Sequence[tuple[_Open, int]]) -> Iterator[tuple[Question, Likelihood]]:
        """Computes these rows in one pass and yields the questions that are done with it."""
        start = time.perf_counter()
        with self.model.meter.measure() as cost:
            terms = self._terms([*rows, *[rows[-1]] * (self.rows - len(rows))])[: len(rows)]
        seconds = (time.perf_counter() - start) / len(rows)
        for (opened, _), term in zip(rows, terms, strict=True):
            opened.terms.append(term)
            opened.seconds += seconds
            # The copies that fill the pass up are nobody's.
            opened.forwards += cost.forwards // self.rows
            opened.flops += cost.forward_flops / self.rows
            if opened.is_done:
                yield opened.question, opened.close()

    def _terms(self, rows: Sequence[tuple[_Open, int]]) -> list[float]:
        """Per row: the masked tokens' log-probabilities times C / l, summed in float64."""
        inputs = _Inputs.of(rows, self.length, pad_id=self.model.special.pad_id)
        logprob_Tn = self._logprob(inputs.to(self.model.device)).cpu().double()
        is_masked_Tn = inputs.is_masked_TL[:, -self.slots :]
        sum_T = torch.where(is_masked_Tn, logprob_Tn, 0.0).sum(1)
        length_T = torch.tensor([len(opened.question.answer_ids) for opened, _ in rows])
        return (sum_T * length_T / is_masked_Tn.sum(1)).tolist()

    @torch.no_grad()
    def _logprob(self, inputs: _Inputs) -> Tensor:
        """Log-probabilities (T, n) of the last n tokens, the masked ones hidden."""
        seen_TL = torch.where(inputs.is_masked_TL, self.model.special.mask_id, inputs.token_TL)
        last_n = torch.arange(self.length - self.slots, self.length, device=seen_TL.device)
        position_Tn = last_n.expand(len(seen_TL), -1)
        logits_TnV = guided_logits(
            self.model,
            seen_TL,
            inputs.is_there_TL,
            position_Tn,
            is_context=inputs.is_context_TL,
            scale=self.options.guidance_scale,
        )
        return chosen_logprob(logits_TnV, inputs.token_TL[:, -self.slots :])


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """Rows of one forward pass, padded on the left. is_there_TL: no padding."""

    token_TL: Tensor
    is_masked_TL: Tensor
    is_context_TL: Tensor
    is_there_TL: Tensor

    @classmethod
    def of(cls, rows: Sequence[tuple[_Open, int]], length: int, *, pad_id: int) -> _Inputs:
        token_TL = torch.full((len(rows), length), pad_id)
        is_masked_TL = torch.zeros(len(rows), length, dtype=torch.bool)
        is_context_TL, is_there_TL = torch.zeros_like(is_masked_TL), torch.zeros_like(is_masked_TL)
        for number, (opened, row) in enumerate(rows):
            context, answer = opened.question.context_ids, opened.question.answer_ids
            first, middle = length - len(context) - len(answer), length - len(answer)
            token_TL[number, first:] = torch.tensor([*context, *answer])
            is_there_TL[number, first:] = True
            is_context_TL[number, first:middle] = True
            is_masked_TL[number, middle:] = opened.mask_UC[row]
        return cls(token_TL=token_TL, is_masked_TL=is_masked_TL, is_context_TL=is_context_TL, is_there_TL=is_there_TL)

    def to(self, device: torch.device) -> _Inputs:
        """The same on `device`."""
        return _Inputs(**{name: tensor.to(device) for name, tensor in vars(self).items()})

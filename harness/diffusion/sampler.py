"""Semi-autoregressive iterative unmasking (LLaDA's generation), recorded as one Rollout whatever the sampler.

The completion is cut into blocks, finished from left to right. A step predicts every masked position of the active
block, samples a token for each, and reveals the ones that the remasking rule is surest of: a number that is known
before (samplers/lockstep.py, around given tokens samplers/infill.py), or all that are sure enough
(samplers/adaptive.py). With P2 it may also mask others again (samplers/path_planning.py). Models that attend by blocks
have a sampler of their own (samplers/block.py).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.samplers import adaptive, block, infill, lockstep, path_planning
from harness.diffusion.samplers.queue import BlockQueue
from harness.diffusion.samplers.rows import Rows, leave_finished
from harness.diffusion.schedule import block_bounds, block_lengths
from harness.diffusion.trace import blank_rollout, stop
from harness.errors import UserError
from harness.models.attention import COMPLETION
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Prompts, Rollout, RolloutNeeds

NOT_FOR_BLOCKS = (
    ("schedule", "dream", "even or dllm"),
    ("eos_policy", "stop-agrpo", "stop"),
    ("remasking", "p2", "low_confidence"),
)
"""Settings, with a value that models which attend by blocks do not have, and what to take instead."""
Result = TypeVar("Result")


class Fitting(Protocol):
    """Makes an attempt with that many rows or, where they do not fit into the memory, with fewer."""

    def __call__(self, rows: int, attempt: Callable[[int], Result], /) -> Result: ...


def generate(
    model: DiffusionLM,
    prompts: Prompts,
    decoding: Decoding,
    seed_B: Tensor,
    *,
    needs: RolloutNeeds | None = None,
    length_B: Tensor | None = None,
    given_BC: Tensor | None = None,
) -> Rollout:
    """Completes every prompt row once, all in one batch; the arguments are those of a Generation."""
    generation = Generation(model, prompts, decoding, seed_B, needs=needs, length_B=length_B, given_BC=given_BC)
    for _ in generation.run(len(seed_B)):
        pass
    return generation.rollout


class Generation:
    """Completions of prompt rows, of which a batch is made anew for every block: rows that are finished leave, others
    take their places, and columns that are padding in all of them are cut off.

    seed_B: one int64 seed per row; a row's draws depend on its seed, the step and the position alone, so batching never
    changes them. needs: what to record beyond the completion. length_B: a completion length per row, multiples of the
    block length up to decoding.completion_length; shorter rows leave after their last block. given_BC: tokens of the
    completion that are never written, and the mask token where one is to be; a row then ends early only where nothing
    given follows, and its length may be any. cuts: whether padding is cut off.

    rollout: the record, of all rows in their order.

    Raises UserError for lengths that are no such multiples, for given tokens that are not one per position or not in
    the vocabulary, for a decoding that does not fit the model's blocks, where a support is asked for that has no bound,
    and where the most probable tokens of all positions, or a mixture of two policies, are asked for of steps that do
    not compute them.
    """

    def __init__(
        self,
        model: DiffusionLM,
        prompts: Prompts,
        decoding: Decoding,
        seed_B: Tensor,
        *,
        needs: RolloutNeeds | None = None,
        length_B: Tensor | None = None,
        given_BC: Tensor | None = None,
        cuts: bool = True,
    ) -> None:
        needs, attention = needs or RolloutNeeds(), model.attention
        check_blocks(model, decoding)
        _check(model, decoding, needs, infills=given_BC is not None)
        if given_BC is not None:
            _check_given(given_BC, (len(seed_B), decoding.completion_length), model)
        if length_B is not None:
            _check_lengths(length_B, decoding, 1 if given_BC is not None else decoding.block_length)
        self.model, self.decoding = model, decoding
        # Where blocks begin with the completion, its first column is at a multiple of the block length.
        self.cuts = cuts and attention.blocks_from != COMPLETION
        self.rollout = blank_rollout(
            prompts, decoding, needs, mask_id=model.special.mask_id, attention=attention, given_BC=given_BC
        )
        device = prompts.ids_BP.device
        self._seed_B = seed_B.to(device)
        self._length_B = None if length_B is None else length_B.to(device)
        if self._length_B is not None:
            stop(self.rollout, torch.arange(len(seed_B), device=device), self._length_B, model.special.end_ids[0])
        self._prompt_lengths = prompts.lengths if self.cuts else [prompts.ids_BP.shape[1]] * len(seed_B)
        if attention.block_length:
            # Rows go on to the next block within the sampler: it keeps the keys and values of those before.
            self._sampler, self._blocks = block, 1
        else:
            of_known_size = lockstep if given_BC is None else infill
            self._sampler = path_planning if decoding.remasks else adaptive if decoding.adaptive else of_known_size
            self._blocks = len(block_lengths(decoding))

    @torch.no_grad()
    def run(self, batch_size: int, fitting: Fitting = lambda rows, attempt: attempt(rows)) -> Iterator[list[int]]:
        """Completes all rows, up to batch_size of them in a forward pass, long prompts first; yields those that are
        finished as soon as they are."""
        started = self._started()
        if finished := sorted(set(range(self.rollout.num_rows)) - set(started)):
            yield finished
        queue = BlockQueue(sorted(started, key=lambda row: -self._prompt_lengths[row]), self._blocks)
        with self.model.packed():
            while queue:
                at, waiting = queue.next(batch_size)
                taken, going_on = fitting(len(waiting), functools.partial(self._unmask, at, waiting))
                queue.advance(at, taken, going_on)
                if finished := sorted(set(taken) - set(going_on)):
                    yield finished

    def _started(self) -> list[int]:
        """The rows that are not finished before they begin."""
        everyone = list(range(self.rollout.num_rows))
        if self.decoding.eos_policy != "stop-agrpo":
            return everyone
        rows = self._rows(everyone, 0, cut=False)
        return leave_finished(self.model, self.decoding, rows, self.rollout, block_end=0).index_B.tolist()

    def _unmask(self, at: int, waiting: Sequence[int], size: int) -> tuple[list[int], list[int]]:
        """Block number `at` of the first `size` rows; returns these, and those of them that go on with the next."""
        taken, start = sorted(waiting[:size]), time.perf_counter()
        rows = self._rows(taken, at, cut=self.cuts)
        with self.model.meter.measure() as cost:
            self._sampler.unmask(self.model, self.decoding, rows, self.rollout)
        going_on: list[int] = []
        if at + 1 < self._blocks:
            _, end = block_bounds(self.decoding, at)
            kept = leave_finished(self.model, self.decoding, rows, self.rollout, block_end=end)
            going_on = taken if kept is rows else kept.index_B.tolist()
        assert self.rollout.flops_B is not None
        assert self.rollout.seconds_B is not None
        self.rollout.flops_B[rows.index_B] += cost.forward_flops / len(taken)
        self.rollout.seconds_B[rows.index_B] += (time.perf_counter() - start) / len(taken)
        return taken, going_on

    def _rows(self, taken: Sequence[int], at: int, *, cut: bool) -> Rows:
        """Those rows with what they have revealed before block number `at`."""
        index_B = torch.tensor(taken, device=self._seed_B.device)
        prompts = self.rollout.prompts.rows(index_B)
        if cut:
            prompts = prompts.cut([self._prompt_lengths[row] for row in taken])
        return Rows.start(self.rollout, prompts, index_B, self._seed_B, self._length_B, self.decoding, block=at)


def check_blocks(model: DiffusionLM, decoding: Decoding) -> None:
    """Raises UserError where the model attends by blocks, and the decoding does not fit them."""
    size = model.attention.block_length
    if not size:
        return
    blocks = f"Model '{model.name}' attends by blocks of {size} tokens"
    if decoding.block_length != size:
        raise UserError(f"{blocks}, but block_length={decoding.block_length}; set it to {size}.")
    if decoding.cache != "none":
        raise UserError(
            f"{blocks} and is always sampled with an exact key-value cache; set cache=none instead of {decoding.cache}."
        )
    for name, value, fix in NOT_FOR_BLOCKS:
        if getattr(decoding, name) == value:
            raise UserError(f"{blocks}, which {name}={value} does not support; choose {fix}.")


def _check(model: DiffusionLM, decoding: Decoding, needs: RolloutNeeds, *, infills: bool) -> None:
    if needs.behaviour and decoding.truncated and not decoding.top_k:
        raise UserError(f"Recording the support of top_p={decoding.top_p} needs top_k too: it bounds the record.")
    if needs.argmax and (model.attention.block_length or infills or not decoding.computes_all):
        raise UserError(
            "Greedy completions cannot be recorded while sampling with a cache, a threshold, a factor, an entropy "
            "bound, p2 or given tokens, or from a model that attends by blocks; compute them afterwards "
            "(method.greedy=lazy)."
        )
    if needs.reference_weight and (
        model.attention.block_length or infills or not decoding.computes_all or decoding.guidance_scale
    ):
        raise UserError(
            f"A mixture with {needs.reference_weight:g} of the reference policy cannot be sampled with a cache, a "
            "threshold, a factor, an entropy bound, guidance, p2 or given tokens, nor from a model that attends by "
            "blocks; switch these off."
        )
    if needs.reference_weight and model.is_sharded:
        raise UserError("A mixture with the reference policy cannot be sampled with execution.sharding=fsdp2; use ddp.")


def _check_given(given_BC: Tensor, shape: tuple[int, int], model: DiffusionLM) -> None:
    mask_id, vocabulary = model.special.mask_id, model.shape.vocabulary
    if given_BC.shape != shape:
        rows, length = shape
        raise UserError(
            f"Given tokens of shape {tuple(given_BC.shape)} do not fit {rows} prompts and completion_length={length}; "
            f"give a tensor of shape {shape}, with the mask token {mask_id} where a token is to be written."
        )
    if given_BC.dtype not in (torch.int32, torch.int64):
        raise UserError(
            f"Given tokens are {given_BC.dtype}, which are no token ids; give a tensor of torch.int64, with the mask "
            f"token {mask_id} where a token is to be written."
        )
    unknown_N = given_BC[(given_BC < 0) | (given_BC >= vocabulary)]
    if len(unknown_N):
        raise UserError(
            f"Given token {int(unknown_N[0])} is not in the vocabulary of '{model.name}'; token ids go from 0 to "
            f"{vocabulary - 1}, with the mask token {mask_id} where a token is to be written."
        )


def _check_lengths(length_B: Tensor, decoding: Decoding, multiple: int) -> None:
    wrong_B = (length_B % multiple != 0) | (length_B < 1) | (length_B > decoding.completion_length)
    if not wrong_B.any():
        return
    wanted = "at least 1 and at most" if multiple == 1 else f"multiples of block_length={multiple} up to"
    raise UserError(
        f"Completion lengths {length_B[wrong_B].tolist()} must be {wanted} "
        f"completion_length={decoding.completion_length}."
    )

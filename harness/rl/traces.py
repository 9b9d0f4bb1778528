"""The record of how one completion came about: what a method saw of it, as text."""

from __future__ import annotations

from torch import Tensor

from harness.models.diffusion_lm import DiffusionLM
from harness.records.schema import GreedyTrace, TraceRecord
from harness.rl.checkpoint import Progress
from harness.rl.method import GreedyScores, Prepared
from harness.rollout import ScoredRollouts
from harness.task.base import Example


def completion_trace(
    example: Example,
    prompt: str,
    scored: ScoredRollouts,
    prepared: Prepared,
    model: DiffusionLM,
    *,
    progress: Progress,
    update: int,
) -> TraceRecord:
    """The trace of the first row, whose problem is `example`; update: updates made before it was sampled."""
    rollout = scored.rollout
    ids_C = rollout.completion_ids_BC[0]
    chosen_BK = prepared.chosen_steps_BK
    chosen = () if chosen_BK is None else tuple(step for step in chosen_BK[0].tolist() if step >= 0)
    return TraceRecord(
        iteration=progress.iteration,
        update=update,
        example=example.id,
        prompt=prompt,
        text=model.decode(ids_C[None])[0],
        reward=scored.rewards.total_B[0].item(),
        num_steps=rollout.num_steps,
        tokens=_tokens(ids_C, model),
        unmask_step=tuple(rollout.unmask_step_BC[0].tolist()),
        entropy=tuple(rollout.entropy_BC[0].tolist()),
        chosen_steps=chosen,
        greedy=() if prepared.greedy is None else _greedy(prepared.greedy, chosen, model),
    )


def _tokens(ids_C: Tensor, model: DiffusionLM) -> tuple[str, ...]:
    return tuple(model.tokenizer.decode([token]) for token in ids_C.tolist())


def _greedy(scores: GreedyScores, chosen: tuple[int, ...], model: DiffusionLM) -> tuple[GreedyTrace, ...]:
    """Once per chosen step; the baseline at the same step asked for those of the whole group."""
    index_of = {step: index for index, step in enumerate(scores.step_BM[0].tolist()) if step in chosen}
    return tuple(
        GreedyTrace(
            step=step,
            tokens=_tokens(scores.ids_BMC[0, index], model),
            text=model.decode(scores.ids_BMC[0, index][None])[0],
            reward=scores.reward_BM[0, index].item(),
        )
        for step, index in sorted(index_of.items())
    )

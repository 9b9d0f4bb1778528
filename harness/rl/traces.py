"""The record of how one completion came about: what a method saw of it, as text."""

from __future__ import annotations

from torch import Tensor

from harness.models.diffusion_lm import DiffusionLM
from harness.records.schema import GreedyTrace, TraceRecord
from harness.rl.method import ChosenSteps, Prepared
from harness.rollout import ScoredRollouts
from harness.task.base import Example


def completion_trace(
    example: Example,
    prompt: str,
    scored: ScoredRollouts,
    prepared: Prepared,
    model: DiffusionLM,
    *,
    iteration: int,
    update: int,
) -> TraceRecord:
    """The trace of the first row, whose problem is `example`; update: updates made before it was sampled."""
    rollout, chosen = scored.rollout, prepared.chosen
    ids_C = rollout.completion_ids_BC[0]
    steps = [] if chosen is None else [step for step in chosen.step_BK[0].tolist() if step >= 0]
    return TraceRecord(
        iteration=iteration,
        update=update,
        example=example.id,
        prompt=prompt,
        text=model.decode(ids_C[None])[0],
        reward=scored.rewards.total_B[0].item(),
        num_steps=rollout.num_steps,
        tokens=_tokens(ids_C, model),
        unmask_step=tuple(rollout.unmask_step_BC[0].tolist()),
        entropy=tuple(rollout.entropy_BC[0].tolist()),
        chosen_steps=tuple(steps),
        greedy=() if chosen is None else _greedy(chosen, model),
    )


def _tokens(ids_C: Tensor, model: DiffusionLM) -> tuple[str, ...]:
    return tuple(model.tokenizer.decode([token]) for token in ids_C.tolist())


def _greedy(chosen: ChosenSteps, model: DiffusionLM) -> tuple[GreedyTrace, ...]:
    """The first row's greedy completions, each step once, by rising step."""
    if chosen.greedy_ids_BKC is None or chosen.greedy_reward_BK is None:
        return ()
    columns = {step: column for column, step in enumerate(chosen.step_BK[0].tolist()) if step >= 0}
    return tuple(
        GreedyTrace(
            step=step,
            tokens=_tokens(chosen.greedy_ids_BKC[0, column], model),
            text=model.decode(chosen.greedy_ids_BKC[0, column][None])[0],
            reward=chosen.greedy_reward_BK[0, column].item(),
        )
        for step, column in sorted(columns.items())
    )

"""An EGSPO-SA update as the trainer makes it, beside the forward and backward passes that it cannot do without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harness.bench.rollouts import decoding_of
from harness.bench.shapes import BenchShape
from harness.bench.timing import Measurement, in_turn, timed_alone
from harness.config.tree import LoraConfig
from harness.models.diffusion_lm import DiffusionLM
from harness.planning.weightless import made_up_rollout
from harness.registry import get_method
from harness.rl.method import Method, Prepared
from harness.rollout import Prompts, Rewards, RolloutNeeds, ScoredRollouts

METHOD = "egspo-sa"
LORA = LoraConfig(rank=128, targets="official-subset")
"""The adapters of the published runs."""
SLOTS = 2
MICRO_BATCH = 1


def measure_updates(model: DiffusionLM, prompts: Prompts, shape: BenchShape, *, runs: int) -> Iterator[Measurement]:
    """Updates of adapters, `runs` of them in turn with their floor, after one that counts for nothing. Puts LORA on the
    model."""
    device = model.device
    model.add_lora(LORA, seed=0)
    model.predictor.to(device)
    method, prepared = prepare(shape, model, prompts, SLOTS)
    update(method, model, prepared, MICRO_BATCH)
    contenders = {
        "floor": lambda: timed_alone(lambda: bare_update(model, prepared, MICRO_BATCH), str(device)),
        "ours": lambda: timed_alone(lambda: update(method, model, prepared, MICRO_BATCH), str(device)),
    }
    seconds = in_turn(contenders, runs)
    yield Measurement(
        name=METHOD,
        seconds=seconds["ours"],
        floor="bare forward and backward",
        floor_seconds=seconds["floor"],
        unit="rows",
        amount=float(shape.batch * SLOTS),
        passes=SLOTS * -(-shape.batch // MICRO_BATCH),
    )


def prepare(shape: BenchShape, model: DiffusionLM, prompts: Prompts, slots: int) -> tuple[Method, Prepared]:
    """An EGSPO-SA rollout made ready, with made-up rewards."""
    cls = get_method(METHOD)
    method = cls(config=cls.Config(num_selected=slots, slots_per_update=slots))
    reward_B = torch.linspace(0, 1, shape.batch, device=model.device, dtype=torch.float64)
    needs = RolloutNeeds(argmax=True)
    rollout = made_up_rollout(prompts, decoding_of(shape, 0.0), needs, mask_id=model.special.mask_id)
    rewards = Rewards(total_B=reward_B, parts={"correctness": reward_B})
    scored = ScoredRollouts(rollout=rollout, rewards=rewards, group_size=shape.batch)

    def score(row_N: Tensor, ids_NC: Tensor) -> Rewards:
        greedy_N = (row_N % 3).double() / 3
        return Rewards(total_B=greedy_N, parts={"correctness": greedy_N})

    return method, method.prepare(scored, model, score, method.draw(scored, model, torch.Generator()))


def update(method: Method, model: DiffusionLM, prepared: Prepared, micro_batch: int) -> None:
    """The gradients as the trainer makes them."""
    for rows in _micro_batches(prepared, micro_batch):
        method.loss(model, rows)[0].backward()


def bare_update(model: DiffusionLM, prepared: Prepared, micro_batch: int) -> None:
    """Trunk, and head at the revealed positions, forwards and backwards; no loss."""
    for rows in _micro_batches(prepared, micro_batch):
        model.logits(rows.tokens_BL, rows.mask_BL, rows.position_Bn).sum().backward()


def _micro_batches(prepared: Prepared, size: int) -> Iterator[Any]:
    for one in prepared.updates:
        for part in one.parts:
            yield from part.split(size)

"""The traces of a run's phases at the model's full depth. What was traced once in this process is not traced again:
cells of a grid, and the changes that make a run fit, differ in a phase or two."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

from harness.config.conventions import Conventions
from harness.config.decoding import Decoding
from harness.config.tree import RunConfig, TrainConfig
from harness.planning.phases import made_up_rollouts, trace_prepare, trace_saved, trace_update
from harness.planning.rollouts import Traced, trace_rollout
from harness.planning.weightless import Blueprint, weightless_model
from harness.rl.method import Method, Prepared
from harness.rollout import RolloutNeeds

FEW = 2
"""Blocks that take, without gradient, what any number of them takes: at the second, the first's output is there too."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What decides a rollout and its updates. options: the method's, as text, by which two of a kind are equal.
    prompt_length: of the longest prompt; processes: that share the rows."""

    model: Blueprint
    rollout: Decoding
    train: TrainConfig
    conventions: Conventions
    kind: type[Method]
    options: str
    prompt_length: int
    processes: int
    method: Method = field(compare=False)
    config: RunConfig = field(compare=False)

    @classmethod
    def of(cls, config: RunConfig, method: Method, model: Blueprint, *, prompt_length: int, processes: int) -> Training:
        """Of a run."""
        return cls(
            model=model,
            rollout=config.rollout,
            train=config.train,
            conventions=config.conventions,
            kind=type(method),
            options=repr(method),
            prompt_length=prompt_length,
            processes=processes,
            method=method,
            config=config,
        )

    @property
    def needs(self) -> RolloutNeeds:
        """What the method has the sampler record."""
        shape = weightless_model(self.model, layers=1).shape
        return self.method.needs(shape, self.rollout, self.prompt_length)


@functools.lru_cache(maxsize=256)
def traced_rollout(
    model: Blueprint, decoding: Decoding, needs: RolloutNeeds, *, rows: int, prompt_length: int
) -> Traced:
    """Generation of `rows` completions at once. Where keys and values are kept, every further block keeps its own."""
    keeps = decoding.cache != "none" or bool(model.attention.block_length)
    traces = [
        trace_rollout(weightless_model(model, layers=layers), decoding, needs, rows=rows, prompt_length=prompt_length)
        for layers in range(FEW, FEW + 1 + keeps)
    ]
    per_block = traces[-1].bytes - traces[0].bytes
    return replace(traces[0], bytes=traces[0].bytes + max(0, model.shape.num_hidden_layers - FEW) * per_block)


@functools.lru_cache(maxsize=4)
def prepared(training: Training) -> tuple[Prepared, Traced]:
    """The updates of a rollout that nobody made, and what their draws and preparation take."""
    model = weightless_model(training.model, layers=FEW)
    scored = made_up_rollouts(
        training.config,
        training.needs,
        prompt_length=training.prompt_length,
        model=model,
        processes=training.processes,
    )
    return trace_prepare(training.method, model, scored)


def traced_update(training: Training, *, gradients: int, micro_batch_size: int, checkpointing: bool) -> Traced:
    """One micro-batch of an update. gradients: bytes that a device holds of them."""
    traced, more = _update(training, micro_batch_size=micro_batch_size, checkpointing=checkpointing)
    peak = max(traced.saved, traced.bytes + gradients)
    return replace(traced, bytes=peak + more, saved=traced.saved + more, gradients=gradients)


@functools.lru_cache(maxsize=256)
def _update(training: Training, *, micro_batch_size: int, checkpointing: bool) -> tuple[Traced, int]:
    """The trace of one micro-batch, beside gradients; with activation checkpointing that of one block, and what the
    others keep: their inputs alone."""
    method, model, updates = training.method, training.model, prepared(training)[0]
    if not checkpointing:
        return trace_update(method, weightless_model(model), updates, micro_batch_size=micro_batch_size), 0
    one, two = (weightless_model(model, layers=layers, checkpointing=True) for layers in (1, 2))
    traced = trace_update(method, one, updates, micro_batch_size=micro_batch_size)
    per_block = trace_saved(method, two, updates, micro_batch_size=micro_batch_size) - traced.saved
    return traced, (model.shape.num_hidden_layers - 1) * per_block

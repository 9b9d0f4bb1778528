"""Memory and compute predicted from a configuration alone: FLOPs against committed runs, bytes against hand counts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlamaConfig

from harness import registry
from harness.app.plan import PlannedRun, RunRequest, plan
from harness.config.tree import LoraConfig, ModelConfig
from harness.models import packing
from harness.models.layouts import LAYOUTS
from harness.models.tiny import tiny_config
from harness.planning.memory import NF4_BYTES, Footprint, Spread, held_bytes, predict
from harness.planning.relief import next_change
from harness.planning.sizes import DREAM_7B, LLADA_8B, sizes_of
from harness.planning.traces import Training, prepared, traced_rollout, traced_update
from harness.planning.weightless import Blueprint, weightless_model

METHODS = ("egspo-sa", "egspo", "d1", "agrpo", "espo")
REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "sudoku"
PROMPT = 17
SMALL = LlamaConfig(
    vocab_size=512, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=2,
    intermediate_size=48, tie_word_embeddings=False, use_cache=False, is_causal=False,
)  # fmt: skip
HEAD, BLOCK, NORMS = 512 * 32, 4 * 32 * 32 + 3 * 32 * 48, 32 * (2 * 3 + 1)
WEIGHTS = 4 * (2 * HEAD + 3 * BLOCK + NORMS)


def tiny_run(method: str, runs: Path, **overrides: object) -> PlannedRun:
    return plan(RunRequest(method=method, task="sudoku", runs=runs, overrides=overrides))


def small(runs: Path, spread: Spread, *, method: str = "espo", **overrides: object) -> Footprint:
    """A run on SMALL; the model's name matters to nobody here."""
    planned = tiny_run(method, runs, **{"train.batch_size": 8, **overrides})
    return predict(
        planned.resolved.config, planned.method, LAYOUTS["llada"], SMALL, prompt_length=PROMPT, spread=spread
    )


def blueprint(planned: PlannedRun, layout: str, shape: LlamaConfig) -> Blueprint:
    reference = planned.method.needs_reference
    return Blueprint(layout=LAYOUTS[layout], shape=shape, chosen=planned.resolved.config.model, reference=reference)


def held(runs: Path, spread: Spread, **overrides: object) -> Mapping[str, int]:
    """What a run on SMALL holds, without what its phases take."""
    planned = tiny_run("espo", runs, **overrides)
    model = weightless_model(blueprint(planned, "llada", SMALL))
    return held_bytes(planned.resolved.config, planned.method, model, spread)


@pytest.mark.parametrize("method", METHODS)
def test_the_flops_of_the_phases_are_those_that_the_committed_run_counted(tmp_path, method):
    planned = tiny_run(method, tmp_path)
    config, model = planned.resolved.config, blueprint(planned, "llama", tiny_config())
    training = Training.of(config, planned.method, model, prompt_length=PROMPT, processes=1)
    rollout = traced_rollout(model, config.rollout, training.needs, rows=config.train.batch_size, prompt_length=PROMPT)
    updates, preparing = prepared(training)
    update = traced_update(training, gradients=0, micro_batch_size=0, checkpointing=False)
    metrics = min(REFERENCE.glob(f"{method}/tiny/*-seed0/metrics.jsonl.gz"))
    last = json.loads(gzip.decompress(metrics.read_bytes()).splitlines()[-1])
    rollouts = last["iteration"]
    assert (rollout.flops + preparing.flops) * rollouts == last["flops_rollout"]
    assert update.flops * rollouts == last["flops_update"]
    assert len(updates.updates) * rollouts == last["update"]


def test_full_fine_tuning_holds_weights_reference_and_two_moments(tmp_path):
    assert held(tmp_path, Spread(), **{"method.beta": 0.1}) == {
        "weights": WEIGHTS,
        "reference": WEIGHTS,
        "adapters": 0,
        "optimiser": 2 * WEIGHTS,
        "libraries": 0,
    }
    assert held(tmp_path, Spread())["reference"] == 0


def test_adapters_alone_have_gradients_and_nf4_takes_half_a_byte_and_its_scales(tmp_path):
    lora = {"model.lora.rank": 4, "model.lora.targets": "official-subset", "method.beta": 0.1}
    plain = small(tmp_path, Spread(), **lora)
    assert plain.trainable == 3 * 4 * (3 * (32 + 32) + 32 + 48)
    assert plain.phases["update"].gradients == plain.held["adapters"] == 4 * plain.trainable
    assert (plain.held["weights"], plain.held["reference"]) == (WEIGHTS, 0)
    packed = held(tmp_path, Spread(), **lora, **{"model.quantization": "nf4"})
    assert packed["weights"] == pytest.approx(4 * (2 * HEAD + NORMS) + 3 * BLOCK * NF4_BYTES, abs=30)


def test_merging_adapters_takes_copies_of_the_weights_that_have_some_and_is_given_up_first(tmp_path):
    lora = {"model.lora.rank": 4, "model.lora.targets": "official-subset", "method.beta": 0.1}
    beside = small(tmp_path, Spread(), **lora)
    merged = small(tmp_path, Spread(merge_adapters=True), **lora)
    more = {name: merged.phases[name].bytes - phase.bytes for name, phase in beside.phases.items()}
    assert {name: size for name, size in more.items() if size} == {"rollout": 4 * 3 * (3 * 32 * 32 + 32 * 48)}
    config = tiny_run("espo", tmp_path, **lora).resolved.config
    full = replace(
        merged, phases={"rollout": replace(merged.phases["rollout"], bytes=1 << 40), "step": merged.phases["step"]}
    )
    change = next_change(config, Spread(merge_adapters=True), full, memory=1 << 36)
    assert change is not None
    assert (change.setting, change.spread.merge_adapters) == ("execution.merge_adapters=false", False)


def test_packed_weights_are_a_copy_of_the_large_layers_and_are_given_up_first(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SMALLEST", 32 * 48)
    plain, packs = small(tmp_path, Spread()), small(tmp_path, Spread(pack_weights=True))
    more = {name: packs.phases[name].bytes - phase.bytes for name, phase in plain.phases.items()}
    copy = 4 * (3 * 3 * 32 * 48 + HEAD)
    assert {name: size for name, size in more.items() if size} == {"rollout": copy, "evaluation": copy}
    config = tiny_run("espo", tmp_path).resolved.config
    for phase in ("rollout", "evaluation"):
        full = replace(packs, phases={phase: replace(packs.phases[phase], bytes=1 << 40), "step": packs.phases["step"]})
        change = next_change(config, Spread(pack_weights=True), full, memory=1 << 36)
        assert change is not None
        assert (change.setting, change.spread.pack_weights) == ("execution.pack_weights=false", False)


def test_gradients_live_in_updates_and_steps_alone(tmp_path):
    found = small(tmp_path, Spread(micro_batch_size=2))
    assert {name: phase.gradients for name, phase in found.phases.items() if phase.gradients} == {
        "update": WEIGHTS,
        "step": WEIGHTS,
    }
    assert found.phases["step"].bytes == WEIGHTS + 2 * 4 * HEAD
    assert found.phases["update"].bytes > WEIGHTS + 4 * 2 * 16 * 512


def test_fsdp_shares_what_is_held_and_gathers_blocks_and_ddp_holds_everything(tmp_path):
    alone = small(tmp_path, Spread())
    shared = small(tmp_path, Spread(devices=4, sharding="fsdp2"))
    assert shared.held["weights"] == WEIGHTS // 4
    assert shared.held["optimiser"] == 2 * WEIGHTS // 4
    assert shared.held["gathered"] == 4 * (2 * (BLOCK + 2 * 32) + 2 * HEAD + 32)
    assert shared.phases["rollout"].flops == alone.phases["rollout"].flops / 4
    assert shared.phases["step"].gradients == WEIGHTS // 4
    copied = small(tmp_path, Spread(devices=4, sharding="ddp"))
    assert (copied.held["weights"], copied.phases["update"].gradients) == (WEIGHTS, WEIGHTS)


def test_smaller_passes_take_less_and_checkpointing_keeps_block_inputs_alone(tmp_path):
    whole, cut = (small(tmp_path, Spread(micro_batch_size=rows)) for rows in (0, 2))
    assert cut.phases["update"].bytes < whole.phases["update"].bytes / 2
    assert cut.phases["update"].flops == whole.phases["update"].flops
    rows = 8 * 4 * (PROMPT + 16)
    per_block = (
        whole.checkpointed.saved
        - small(tmp_path, Spread(), **{"train.batch_size": 4, "train.group_size": 4}).checkpointed.saved
    )
    assert whole.checkpointed.bytes < whole.phases["update"].bytes
    assert per_block >= 3 * 4 * rows // 2 * 32
    chosen = small(tmp_path, Spread(activation_checkpointing=True))
    assert chosen.phases["update"] == whole.checkpointed


def test_what_lacks_memory_is_what_gets_smaller(tmp_path):
    planned = tiny_run("espo", tmp_path)
    config, spread = planned.resolved.config, Spread(on_gpu=True)
    found = small(tmp_path, spread)
    update = replace(found, phases=found.phases | {"update": replace(found.checkpointed, bytes=1 << 40)})
    change = next_change(config, spread, update, memory=1 << 36)
    assert change is not None
    assert (change.setting, change.spread.activation_checkpointing) == ("execution.activation_checkpointing=true", True)
    change = next_change(config, change.spread, update, memory=1 << 36)
    assert change is not None
    assert change.setting == "execution.micro_batch_size=16"
    change = next_change(config, spread, found, memory=1)
    assert change is not None
    assert change.setting == "execution.sharding=fsdp2 on 2 devices"
    lora = replace(config, model=ModelConfig(dtype="bfloat16", lora=LoraConfig(rank=4)))
    change = next_change(lora, spread, found, memory=1)
    assert change is not None
    assert change.config.model.quantization == "nf4"


def test_the_sizes_of_published_models_need_no_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert sizes_of("GSAI-ML/LLaDA-8B-Instruct").config is LLADA_8B
    dream = sizes_of("Dream-org/Dream-v0-Instruct-7B")
    assert (dream.config is DREAM_7B, dream.layout.shift) == (True, True)
    assert registry.names("method")

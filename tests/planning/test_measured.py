"""What is planned for models that attend by blocks, for mixtures of experts and for caches, against what a small random
model spends and holds, counted on real tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, PretrainedConfig, Qwen3Config

from harness.app.plan import PlannedRun, RunRequest, plan
from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models.attention import COMPLETION, FULL, Attention
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.families.lladamoe import LLaDAMoEConfig
from harness.models.layouts import LAYOUTS
from harness.models.tiny import CharacterTokenizer
from harness.planning.live_bytes import LiveBytes
from harness.planning.memory import Spread, held_bytes, predict
from harness.planning.phases import made_up_rewards, trace_prepare, trace_update
from harness.planning.rollouts import rollout_flops
from harness.planning.traces import Training, prepared, traced_rollout, traced_update
from harness.planning.weightless import Blueprint, made_up_prompts, weightless_model
from harness.rollout import Prompts, RolloutNeeds, ScoredRollouts

VOCABULARY, ROWS, PROMPT = 160, 4, 21
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "tie_word_embeddings": False, "use_cache": False,
    "is_causal": False,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "mlp_only_layers": [0]}
MODELS: dict[str, tuple[str, PretrainedConfig, Attention]] = {
    "blocks of the sequence": ("sdar", Qwen3Config(**SIZES, head_dim=8), Attention(block_length=8)),
    "blocks of the completion": (
        "a2d-qwen3", Qwen3Config(**SIZES, head_dim=8), Attention(block_length=8, blocks_from=COMPLETION)
    ),
    "mixture": ("lladamoe", LLaDAMoEConfig(**SIZES, **EXPERTS), FULL),
    "cache": ("llada", LlamaConfig(**SIZES), FULL),
}  # fmt: skip
ROLLOUT = {"completion_length": 24, "block_length": 8, "num_steps": 12, "temperature": 1.0, "eos_policy": "run"}
OPTIONS = {
    "egspo": {"method.num_selected": 2},
    "agrpo": {"method.mc_samples": 2},
    "espo": {"method.inner_updates": 1, "method.beta": 0.0},
}


def planned_run(kind: str, method: str, runs: Path, **rollout: object) -> PlannedRun:
    given = ROLLOUT | ({"cache": "dual"} if kind == "cache" else {}) | rollout
    overrides = {f"rollout.{key}": value for key, value in given.items()}
    overrides |= {"train.batch_size": ROWS, "train.group_size": 2, **OPTIONS.get(method, {})}
    overrides |= {"evaluation.decoding.completion_length": 24, "evaluation.decoding.block_length": 8}
    return plan(RunRequest(method=method, task="sudoku", runs=runs, overrides=overrides))


def blueprint(kind: str, run: PlannedRun) -> Blueprint:
    layout, shape, attention = MODELS[kind]
    chosen = run.resolved.config.model
    return Blueprint(layout=LAYOUTS[layout], shape=shape, chosen=chosen, attention=attention)


def random_model(kind: str) -> DiffusionLM:
    layout, shape, attention = MODELS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = LAYOUTS[layout].model_class(shape).eval()
    special = SpecialTokens(mask_id=VOCABULARY - 1, pad_id=0, end_ids=(1,))
    return DiffusionLM(network, CharacterTokenizer(), special, name="random", attention=attention)


def prompts_for(model: DiffusionLM) -> Prompts:
    """As they are planned for, but all as long where blocks begin with the sequence."""
    made_up = made_up_prompts(ROWS, PROMPT, vocabulary=VOCABULARY)
    return model.pad_prompts(made_up.ids_BP.tolist()) if model.attention.block_length else made_up


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("blocks of the sequence", "agrpo"),
        ("blocks of the completion", "espo"),
        ("mixture", "egspo"),
        ("cache", "egspo"),
    ],
)
def test_a_plan_has_the_flops_that_are_counted_and_the_bytes_that_live(tmp_path, kind, method):
    run, model = planned_run(kind, method, tmp_path), random_model(kind)
    config, given = run.resolved.config, {"prompt_length": PROMPT, "processes": 1}
    training = Training.of(config, run.method, blueprint(kind, run), **given)
    gradients = sum(weight.nbytes for weight in model.predictor.parameters())

    prompts, needs, live = prompts_for(model), training.needs, LiveBytes(vocabulary=VOCABULARY)
    with live, model.meter.measure() as cost:
        rollout = generate(model, prompts, config.rollout, torch.arange(ROWS), needs=needs)
    planned = traced_rollout(training.model, config.rollout, needs, rows=ROWS, prompt_length=PROMPT)
    assert planned.flops == pytest.approx(cost.flops, rel=1e-9)
    assert planned.bytes == pytest.approx(live.peak, rel=0.07 if model.attention.block_length else 0.01)

    rewards = made_up_rewards(torch.arange(ROWS), prompts.ids_BP)
    scored = ScoredRollouts(rollout=rollout, rewards=rewards, group_size=2)
    made, preparing = trace_prepare(run.method, model, scored)
    assert prepared(training)[1].flops == pytest.approx(preparing.flops, rel=1e-9)
    assert prepared(training)[1].bytes == pytest.approx(preparing.bytes, rel=0.03, abs=1024)

    updating = trace_update(run.method, model, made, micro_batch_size=0)
    planned = traced_update(training, gradients=gradients, micro_batch_size=0, checkpointing=False)
    assert planned.flops == pytest.approx(updating.flops, rel=1e-9)
    # Prompts without padding need no mask of their own for every row.
    rel = 0.05 if kind == "blocks of the sequence" else 1e-3
    assert planned.bytes == pytest.approx(max(updating.saved, updating.bytes + gradients), rel=rel)


@pytest.mark.parametrize("rule", [{}, {"entropy_bound": 0.4}, {"schedule": "dllm"}, {"guidance_scale": 1.5}], ids=str)
@pytest.mark.parametrize("kind", ["blocks of the sequence", "blocks of the completion"])
@pytest.mark.parametrize("length", [5, 16, 19])
def test_rollouts_by_blocks_cost_what_is_counted_and_under_an_entropy_bound_at_most_the_plan(kind, rule, length):
    model, decoding = random_model(kind), Decoding(**ROLLOUT | {"num_steps": 7} | rule)
    prompts = model.pad_prompts([[5] * length] * 2)
    spent = generate(model, prompts, decoding, torch.arange(2)).flops
    given = {"rows": 2, "prompt_length": length, "attention": model.attention}
    planned = rollout_flops(model.shape, decoding, RolloutNeeds(), **given)
    if decoding.entropy_bound:
        assert spent <= planned * (1 + 1e-9)
    else:
        assert planned == pytest.approx(spent, rel=1e-9)


def test_a_mixture_holds_all_experts_and_computes_with_the_active_ones(tmp_path):
    run = planned_run("mixture", "egspo", tmp_path)
    config, made_of = run.resolved.config, blueprint("mixture", run)
    attention, expert = 2 * 32 * 32 + 2 * 32 * 16, 3 * 32 * 24
    norms = 32 + 3 * (2 * 32 + 2 * 8)
    weights = 2 * 160 * 32 + 3 * attention + 3 * 32 * 48 + 2 * (4 * expert + 4 * 32) + norms
    held = held_bytes(config, run.method, weightless_model(made_of), Spread())
    assert (held["weights"], held["optimiser"]) == (4 * weights, 8 * weights)
    a_token = 2 * (3 * attention + 3 * 32 * 48 + 2 * (2 * expert + 4 * 32))
    tokens, scores, head = ROWS * 45, 4 * 3 * 45 * 32, 2 * 32 * 160 * ROWS * (8 + 6 + 4 + 2)
    shape = weightless_model(made_of, layers=1).shape
    planned = rollout_flops(shape, config.rollout, RolloutNeeds(), rows=ROWS, prompt_length=PROMPT)
    assert planned == 12 * tokens * (a_token + scores) + 3 * head


@pytest.mark.parametrize(
    ("method", "rollout", "said"),
    [
        ("d1", {}, "attends by blocks of 8 tokens; the method supports only models in which every token"),
        ("egspo", {"block_length": 4}, "attends by blocks of 8 tokens, but block_length=4; set it to 8"),
        ("egspo", {"cache": "dual"}, "set cache=none instead of dual"),
    ],
)
def test_what_does_not_go_with_blocks_is_refused_as_a_run_refuses_it(tmp_path, method, rollout, said):
    kind = "blocks of the sequence"
    run = planned_run(kind, method, tmp_path, **rollout)
    made_of = blueprint(kind, run)
    given = {"prompt_length": PROMPT, "spread": Spread(), "attention": made_of.attention}
    with pytest.raises(UserError, match=said):
        predict(run.resolved.config, run.method, made_of.layout, made_of.shape, **given)

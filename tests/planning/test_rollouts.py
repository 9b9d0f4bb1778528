"""The planned compute of rollouts against what generating them counts."""

import pytest
import torch

from harness.app.plan import RunRequest, plan
from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.models.layouts import LAYOUTS
from harness.models.tiny import tiny_config
from harness.planning.rollouts import rollout_flops
from harness.planning.traces import Training, prepared
from harness.planning.weightless import Blueprint, weightless_model
from harness.rollout import RolloutNeeds

PROMPTS = ["12+3=", "7*8=9"]


@pytest.mark.parametrize("schedule", ["even", "dllm"])
@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_the_flops_of_a_cached_rollout_are_those_that_it_counts(random_model, cache, schedule):
    decoding = Decoding(
        completion_length=12, block_length=4, num_steps=7, cache=cache, schedule=schedule, eos_policy="run"
    )
    rollout = generate(random_model, random_model.encode_prompts(PROMPTS), decoding, torch.arange(2))
    planned = rollout_flops(random_model.shape, decoding, RolloutNeeds(), rows=2, prompt_length=5)
    assert planned == pytest.approx(rollout.flops, rel=1e-9)


def test_the_flops_under_a_threshold_are_at_most_the_planned_ones_and_equal_where_nothing_reaches_it(random_model):
    prompts = random_model.encode_prompts(PROMPTS)
    for threshold, bound in ((1.0, 1.0), (0.2, 0.95)):
        decoding = Decoding(
            completion_length=12, block_length=4, num_steps=3, cache="dual", threshold=threshold, eos_policy="run"
        )
        rollout = generate(random_model, prompts, decoding, torch.arange(2))
        planned = rollout_flops(random_model.shape, decoding, RolloutNeeds(), rows=2, prompt_length=5)
        assert rollout.flops / planned <= bound + 1e-9
        if bound == 1.0:
            assert rollout.flops / planned == pytest.approx(1.0)


@pytest.mark.parametrize("method", ["egspo", "agrpo", "espo"])
def test_a_cached_rollout_is_planned_with_the_passes_that_score_the_chosen_steps(tmp_path, method):
    rollout, preparing = {}, {}
    for cache in ("none", "dual"):
        overrides = {"rollout.cache": cache, "rollout.block_length": 8}
        planned = plan(RunRequest(method=method, task="sudoku", runs=tmp_path, overrides=overrides))
        config = planned.resolved.config
        model = Blueprint(layout=LAYOUTS["llama"], shape=tiny_config(), chosen=config.model)
        training = Training.of(config, planned.method, model, prompt_length=17, processes=1)
        shape = weightless_model(model, layers=1).shape
        rollout[cache] = rollout_flops(shape, config.rollout, training.needs, rows=64, prompt_length=17)
        preparing[cache] = prepared(training)[1].flops
    assert rollout["dual"] < rollout["none"]
    assert (preparing["dual"] > preparing["none"]) == (method != "espo")

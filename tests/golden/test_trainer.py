"""Whole training runs of the official trainers against ours: learning rates, gradient norms, losses and weights after
every optimiser step, and what every other convention would do to them.

The limits are those that came with the traces. A wrong factor on the whole gradient shows in the norms alone.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

specification = importlib.util.spec_from_file_location("trainer_replay", Path(__file__).with_name("trainer_replay.py"))
replays = importlib.util.module_from_spec(specification)
sys.modules["trainer_replay"] = replays
specification.loader.exec_module(replays)

TRACES = ("egspo_sa", "egspo_sa_full", "d1", "d1_acc2", "agrpo_m4", "agrpo_m24", "espo")
LIMITS = {
    "learning_rate": 1e-9,
    "loss": 2e-6,
    "grad_norm": 1e-4,
    "grad_norm_per_tensor": 1e-4,
    "weight": 1e-5,
    "weight_sum": 3e-5,
    "weight_norm": 3e-5,
}


@pytest.fixture
def trace(request, golden, golden_json):
    meta, tensors = golden_json(f"trainer/{request.param}.json"), golden(f"trainer/{request.param}.safetensors")
    return replays.Trace(request.param, meta, tensors)


def largest(trace, golden_model, folder, **changes):
    """The largest deviation of every quantity, over all steps."""
    found = {}
    for number, (record, weights, _) in enumerate(replays.replay(trace, golden_model, folder, **changes)):
        for quantity, deviation in replays.deviations(trace, number, record, weights).items():
            found[quantity] = max(deviation, found.get(quantity, 0.0))
    return found


@pytest.fixture(scope="module")
def replayed(golden_model, tmp_path_factory):
    """Every step of a trace as it was recorded: its deviations, whether it is the first of a rollout, and what was
    prepared. A trace is replayed once for all tests."""
    kept = {}

    def of(trace):
        if trace.name not in kept:
            folder = tmp_path_factory.mktemp(trace.name)
            kept[trace.name] = [
                (replays.deviations(trace, number, record, weights), record.first_of_rollout, prepared)
                for number, (record, weights, prepared) in enumerate(replays.replay(trace, golden_model, folder))
            ]
        return kept[trace.name]

    return of


@pytest.mark.parametrize("trace", TRACES, indirect=True)
def test_every_optimiser_step_is_the_official_one(trace, replayed):
    found = [deviations for deviations, _, _ in replayed(trace)]
    for number, deviations in enumerate(found):
        for quantity, deviation in deviations.items():
            assert deviation <= LIMITS[quantity], (number, quantity)
    steps = len(found)
    assert f"step{steps - 1}/grad_norm" in trace.tensors
    assert f"step{steps}/grad_norm" not in trace.tensors


@pytest.mark.parametrize("trace", TRACES, indirect=True)
def test_advantages_of_every_rollout_are_the_official_ones(trace, replayed):
    iteration = -1
    for _, is_first, prepared in replayed(trace):
        if is_first:
            iteration += 1
            official = trace.rollout("advantages", iteration)
            torch.testing.assert_close(prepared.advantages.float().view_as(official), official, atol=1e-6, rtol=0)
    assert iteration > 0


@pytest.mark.parametrize("trace", ["egspo_sa", "egspo_sa_full"], indirect=True)
def test_chosen_steps_and_greedy_completions_are_the_official_ones(trace, replayed):
    iteration = -1
    for _, is_first, prepared in replayed(trace):
        if is_first:
            iteration += 1
            assert torch.equal(prepared.chosen.step_BK, trace.rollout("chosen_steps", iteration))
            assert torch.equal(prepared.chosen.greedy_ids_BKC, trace.rollout("greedy_completions", iteration))
    assert iteration > 0


@pytest.mark.parametrize("trace", ["agrpo_m4", "agrpo_m24"], indirect=True)
def test_steps_drawn_by_agrpo_are_the_official_ones(trace, replayed):
    iteration = -1
    for _, is_first, prepared in replayed(trace):
        if is_first:
            iteration += 1
            for part in (0, 1):
                row_B = trace.tensors[f"micro{2 * iteration + part}/rows"]
                step_BM = prepared.chosen.step_BK[4 * part : 4 * part + 4][row_B]
                assert torch.equal(step_BM, trace.tensors[f"micro{2 * iteration + part}/mc_steps"])
    assert iteration == 2


@pytest.mark.parametrize(
    ("trace", "changes", "quantity", "at_least"),
    [
        ("egspo_sa", {"warmup_start": "first"}, "weight", 1e-3),
        ("egspo_sa_full", {"decay_from": "start"}, "weight", 1e-4),
        ("egspo_sa_full", {"weight_decay_on": "matrices"}, "weight", 5e-5),
        ("egspo_sa_full", {"weight_decay_on": "all"}, "weight", 5e-5),
        ("egspo_sa", {"reward_text": "until-end"}, "grad_norm", 1e-3),
        ("espo", {"reward_text": "until-end"}, "grad_norm", 1e-3),
        ("d1_acc2", {"reward_text": "until-end"}, "grad_norm", 1e-3),
        ("d1_acc2", {"decay_from": "start"}, "weight", 1e-3),
        ("d1_acc2", {"accumulated_batches": 1}, "weight", 1e-3),
        ("d1_acc2", {"micro_batch_rows": 0, "accumulated_batches": 1}, "weight", 1e-3),
        ("agrpo_m4", {"last_draw_weight": 1.0}, "weight", 1e-3),
        ("agrpo_m24", {"last_draw_weight": 1.0}, "weight", 1e-3),
        ("agrpo_m4", {"loss_scale": 1.0}, "grad_norm", 0.4),
    ],
    indirect=["trace"],
)
def test_our_own_convention_leads_elsewhere(trace, changes, quantity, at_least, golden_model, tmp_path):
    assert largest(trace, golden_model, tmp_path, **changes)[quantity] > at_least


@pytest.mark.parametrize(("trace", "at_least"), [("agrpo_m4", 4e-3), ("agrpo_m24", 1.5e-2)], indirect=["trace"])
def test_one_step_for_all_draws_of_a_rollout_leads_elsewhere_at_the_same_rates(trace, at_least, golden_model, tmp_path):
    draws = trace.official["mc_samples"]
    for number, (record, weights, _) in enumerate(replays.replay(trace, golden_model, tmp_path, stepping="accumulate")):
        found = replays.deviations(trace, draws * (number + 1) - 1, record, weights)
        assert found["learning_rate"] <= LIMITS["learning_rate"]
    assert number == 2
    assert found["weight"] > at_least


@pytest.mark.parametrize(("trace", "at_least"), [("agrpo_m4", 4e-3), ("agrpo_m24", 1.5e-2)], indirect=["trace"])
def test_without_an_adapter_of_the_output_layer_agrpo_leads_elsewhere(trace, at_least, golden_model, tmp_path):
    assert largest(trace, golden_model, tmp_path, frozen="model.transformer.ff_out")["weight"] > at_least

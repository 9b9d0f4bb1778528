"""Rollouts with the adapters merged into the weights: the same run, weights that come back to the bit, and the
deviation on record."""

import pytest
import torch

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.distributed.shard import ALONE
from harness.errors import UserError
from harness.models.adapters import adapted_layers
from harness.records.jsonl import read_lines
from harness.records.run_folder import METRICS_FILE
from harness.rl.collect import Collector
from harness.rl.merging import deviation, masked_logprob
from harness.rl.update import Updater
from harness.rollout import Prompts, Rollout

SMALL = {
    "train.batch_size": 8,
    "train.group_size": 4,
    "evaluation.items": 4,
    "budget": {"samples": 16},
    "rollout.completion_length": 16,
    "model.lora.rank": 2,
    "model.lora.targets": "all-and-head",
    "optimizer.learning_rate": 0.003,
}
METHODS = {
    "egspo": {"method.beta": 0.1, "method.num_selected": 2},
    "egspo-sa": {"method.beta": 0.1, "method.num_selected": 2},
    "d1": {"method.beta": 0.1},
    "agrpo": {"method.beta": 0.1, "method.mc_samples": 2},
    "espo": {"method.beta": 0.1},
}
RECORDED = ("merged_logprob_mean", "merged_logprob_max")


def run(runs, method, **overrides):
    """The lines of metrics.jsonl of a run of two rollouts."""
    planned = plan(
        RunRequest(
            method=method, task="sudoku", runs=runs, reward="random", overrides=SMALL | METHODS[method] | overrides
        )
    )
    execute(planned, lambda event: None, lambda text: None)
    return list(read_lines(planned.folder / METRICS_FILE))


def frozen(model):
    return {name: weight.clone() for name, weight in model.predictor.named_parameters() if not weight.requires_grad}


@pytest.fixture
def watched(monkeypatch):
    """The frozen weights at the beginning of every rollout and update, and whether adapters were merged then."""
    rollout, update, seen = Collector.rollout, Updater.update, []

    def note(model):
        layers = [layer for _, layer in adapted_layers(model.predictor.model)]
        seen.append((frozen(model), any(layer.merged for layer in layers)))

    def noting_rollout(self, *arguments):
        note(self.model)
        return rollout(self, *arguments)

    def noting_update(self, *arguments):
        note(self.model)
        return update(self, *arguments)

    monkeypatch.setattr(Collector, "rollout", noting_rollout)
    monkeypatch.setattr(Updater, "update", noting_update)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_run_with_merged_rollouts_is_the_run_without_and_its_weights_come_back_to_the_bit(tmp_path, watched, method):
    plain = run(tmp_path / "plain", method)
    watched.clear()
    merged = run(tmp_path / "merged", method, **{"execution.merge_adapters": True})
    assert merged[-1]["iteration"] == 2
    for with_merging, without in zip(merged, plain, strict=True):
        for name in ("reward_mean", "loss", "gradient_norm", "kl", "ratio_mean", "completion_length", "step_entropy"):
            assert with_merging[name] == pytest.approx(without[name], rel=1e-4, abs=1e-5), name
        assert with_merging["flops_total"] == without["flops_total"]
        assert not without["values"].keys() & set(RECORDED)
        mean, largest = (with_merging["values"][name] for name in RECORDED)
        is_new = with_merging["iteration"] == 1  # new adapters change nothing
        assert mean == largest == 0 if is_new else 0 < mean < largest < 1e-4
    first, _ = watched[0]
    assert len(watched) == 2 + len(merged)
    for weights, is_merged in watched:
        assert not is_merged
        assert all(torch.equal(weights[name], first[name]) for name in first)


def test_merged_adapters_leave_no_reference_policy_to_sample_from(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "wd1", {"method.reference_weight": 0.5})
    with pytest.raises(UserError, match=r"no reference policy.*set execution\.merge_adapters=false"):
        run(tmp_path, "wd1", **{"execution.merge_adapters": True})


def test_updates_follow_from_unmerged_weights_where_merged_ones_are_rounded(tmp_path):
    rounded = {"model.dtype": "bfloat16", "execution.merge_adapters": True, "method.beta": 0.0}
    lines = run(tmp_path, "d1", **rounded, **{"method.inner_updates": 1})
    assert lines[-1]["values"]["merged_logprob_max"] > 1e-3
    assert [(line["ratio_min"], line["ratio_max"]) for line in lines] == [(1, 1)] * 2


def test_merging_names_no_run(tmp_path):
    folders = {
        plan(RunRequest(method="d1", task="sudoku", runs=tmp_path, overrides=SMALL | more)).folder
        for more in ({}, {"execution.merge_adapters": True})
    }
    assert len(folders) == 1


def test_the_tokens_compared_are_those_that_a_state_of_each_row_masks(random_model):
    ids_BC = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 3]])
    zeros = torch.zeros(2, 4)
    rollout = Rollout(
        prompts=Prompts(ids_BP=torch.tensor([[2], [2]]), mask_BP=None),
        completion_ids_BC=ids_BC,
        unmask_step_BC=torch.tensor([[1, 0, 4, 4], [3, 2, 1, 0]], dtype=torch.int16),
        logprob_BC=zeros,
        entropy_BC=zeros,
        num_steps_B=torch.tensor([2, 4], dtype=torch.int16),
        num_steps=4,
        mask_id=random_model.special.mask_id,
    )
    mask = rollout.mask_id
    with random_model.meter.measure() as cost:
        found_N = masked_logprob(random_model, rollout, ALONE)
    state_BL = torch.tensor([[2, mask, mask, mask, mask], [2, mask, mask, 9, 3]])
    with torch.no_grad():
        logprob_BCV = random_model.completion_logits(state_BL, None, 4).log_softmax(-1)
    expected = [logprob_BCV[0, 0, 3], logprob_BCV[0, 1, 4], logprob_BCV[1, 0, 7], logprob_BCV[1, 1, 8]]
    torch.testing.assert_close(found_N, torch.stack(expected))
    assert cost.forwards == 0


def test_the_deviation_is_the_mean_and_the_largest_absolute_difference():
    found = deviation(torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.5, -2.0, -2.0]), ALONE)
    assert found == {"merged_logprob_mean": 0.5, "merged_logprob_max": 1.0}

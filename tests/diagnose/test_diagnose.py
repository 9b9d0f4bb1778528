"""What must be provably true of the gradient estimators, in float64 on a task that can be enumerated; and the command
that shows it."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import resource
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from harness.cli.main import main
from harness.diagnose import left_out, measure
from harness.diagnose.estimators import Candidate, all_candidates
from harness.diagnose.mdp import LENGTH, MASK_ID, ORDERS, TOKENS, contexts, log_probability, make_mdp, take
from harness.diagnose.measure import all_groups, group_moments, mean_gradient, moments
from harness.rl.step_selection import step_entropy
from harness.rollout import ScoredRollouts

CHECKOUT = Path(__file__).resolve().parents[2]
TRAJECTORIES = 162
EXACT = 1e-10


@pytest.fixture(scope="module")
def mdp():
    return make_mdp(3, scale=1.5)


@pytest.fixture(scope="module")
def groups(mdp):
    return all_groups(mdp)


def candidate(name, options="", size=0, baseline=None, **changes):
    """The estimator of that name, perhaps with other options of its method."""
    (found,) = (
        item
        for item in all_candidates()
        if (item.name, item.estimator.options, item.estimator.size) == (name, options, size)
        and baseline in (None, item.estimator.baseline)
    )
    method = found.estimator.method
    changed = dataclasses.replace(method, config=dataclasses.replace(method.config, **changes))
    return Candidate(name=name, estimator=dataclasses.replace(found.estimator, method=changed))


def mean_estimate(mdp, groups, one):
    """The mean of the estimates (C, S, W)."""
    return one.estimator.scale * moments(mdp, groups, one, torch.Generator().manual_seed(0)).mean_CSW


def relative_bias(mdp, groups, one):
    """Distance of the mean estimate from the gradient, in lengths of the gradient."""
    exact = mdp.exact_gradient()
    return float((mean_estimate(mdp, groups, one) - exact).norm() / exact.norm())


# The task


def test_all_trajectories_together_have_probability_1(mdp, groups):
    assert mdp.rollout.num_rows == TRAJECTORIES == ORDERS * TOKENS**LENGTH
    assert float(mdp.probability_N.sum()) == pytest.approx(1, abs=1e-12)
    assert len(groups.probability_X) == TRAJECTORIES * (TRAJECTORIES + 1) // 2
    assert float(groups.probability_X.sum()) == pytest.approx(1, abs=1e-12)


def test_the_exact_gradient_is_that_of_finite_differences():
    mdp = make_mdp(1, scale=1.0)
    exact = mdp.exact_gradient()
    table, place, step = mdp.table.table_RCSW.data, (0, 1, 7, 2), 1e-5

    def reward():
        probability_N = log_probability(mdp.policy, mdp.rollout).exp().detach() / ORDERS
        return float((probability_N * mdp.rewards_of(mdp.rollout.completion_ids_BC).total_B).sum())

    table[place] += step
    above = reward()
    table[place] -= 2 * step
    below = reward()
    assert (above - below) / (2 * step) == pytest.approx(float(exact[place[1:]]), abs=1e-9)
    assert abs(float(exact[place[1:]])) > 1e-6


def test_a_position_looks_at_the_other_positions_alone():
    rows = torch.tensor([[0, 1, 2], [3, 1, 2], [0, 3, 3]])
    assert contexts(rows).tolist() == [
        [1 + 4 * 2, 0 + 4 * 2, 0 + 4 * 1],
        [9, 3 + 4 * 2, 3 + 4 * 1],
        [3 + 4 * 3, 12, 12],
    ]


def test_the_mask_token_has_no_probability_and_entropies_are_hand_computed(mdp):
    first = take(mdp.rollout, torch.tensor([0]))
    tokens_BL, mask_BL = first.state_at(torch.tensor([0]))
    assert tokens_BL.tolist() == [[0, MASK_ID, MASK_ID, MASK_ID]]
    position = int((first.unmask_step_BC[0] == 0).nonzero())
    logits = mdp.policy.logits(tokens_BL, mask_BL, torch.tensor([[1 + position]]))[0, 0]
    assert logits[MASK_ID] == -torch.inf
    probability = torch.softmax(mdp.table.table_RCSW.detach()[0, position, MASK_ID * 4 + MASK_ID], 0)
    assert float(first.logprob_BC[0, position]) == pytest.approx(float(probability[0].log()), abs=1e-12)
    entropy = -(probability * probability.log()).sum()
    assert float(first.entropy_BC[0, position]) == pytest.approx(float(entropy), abs=1e-12)


def test_a_copy_of_the_table_per_group_splits_the_gradient_by_group(mdp, groups):
    egspo = candidate("egspo", "entropy", 2, "rank")
    (outcome,) = egspo.outcomes(mdp, groups.scored)
    split = group_moments(mdp, groups, egspo, outcome.draws).mean_CSW
    together = mean_gradient(mdp, groups, egspo, [outcome])
    torch.testing.assert_close(split, together, atol=EXACT, rtol=0)
    assert mdp.table.table_RCSW.shape[0] == 1


# 1. EGSPO


@pytest.mark.parametrize("selection", ["entropy", "uniform", "random", "random-official"])
def test_egspo_with_all_steps_and_no_baseline_is_the_exact_gradient(mdp, groups, selection):
    egspo = candidate("egspo", selection, LENGTH, "none")
    assert egspo.estimator.scale == LENGTH
    assert relative_bias(mdp, groups, egspo) < EXACT


def test_a_group_of_two_halves_egspo_s_gradient(mdp, groups):
    mean = moments(mdp, groups, candidate("egspo", "entropy", LENGTH, "rank"), torch.Generator()).mean_CSW
    torch.testing.assert_close(LENGTH * mean, mdp.exact_gradient() / 2, atol=EXACT, rtol=0)


@pytest.mark.parametrize("group_size", [3, 8])
def test_a_group_of_g_shrinks_egspo_s_gradient_by_1_over_g(mdp, group_size):
    method = candidate("egspo", "entropy", LENGTH, "rank").estimator.method
    along = estimates_along_gradient(mdp, method, group_size=group_size, number=4000)
    assert within_4_standard_errors(LENGTH * along, 1 - 1 / group_size)
    assert not within_4_standard_errors(LENGTH * along, 1 + 1 / group_size)


@pytest.mark.parametrize("size", [1, 2])
def test_fewer_steps_are_biased(mdp, groups, size):
    assert relative_bias(mdp, groups, candidate("egspo", "entropy", size, "none")) > 0.05


# 2. EGSPO-SA


@pytest.mark.parametrize("baseline", ["none", "step"])
@pytest.mark.parametrize("lambda_", [0.1, 0.5, 1.0, 3.0])
def test_normalised_stepwise_advantages_are_unbiased_without_baseline_and_at_the_same_step(
    mdp, groups, lambda_, baseline
):
    stepwise = candidate("egspo-sa", "entropy", LENGTH, baseline, stepwise_lambda=lambda_)
    assert relative_bias(mdp, groups, stepwise) < EXACT


def test_normalised_stepwise_advantages_at_equal_rank_have_a_bias_of_a_few_per_cent():
    biases = []
    for seed in range(5):
        mdp = make_mdp(seed, scale=1.5)
        stepwise = candidate("egspo-sa", "entropy", LENGTH, "rank", stepwise_lambda=0.5)
        biases.append(relative_bias(mdp, all_groups(mdp), stepwise))
    assert 0.005 < sum(biases) / len(biases) < 0.1


# 3. AGRPO


@pytest.mark.parametrize("importance", ["uniform", "entropy"])
def test_agrpo_over_all_draws_is_the_exact_gradient(mdp, groups, importance):
    assert relative_bias(mdp, groups, candidate("agrpo", f"{importance}, independent", 1)) < EXACT


@pytest.mark.parametrize("importance", ["uniform", "entropy"])
@pytest.mark.parametrize("draws", ["low-discrepancy", "independent"])
def test_agrpo_s_own_draws_are_unbiased_within_4_standard_errors(mdp, importance, draws):
    method = candidate("agrpo", f"{importance}, {draws}", 2).estimator.method
    along = estimates_along_gradient(mdp, method, group_size=2, number=20000)
    assert within_4_standard_errors(LENGTH * along, 1 - 1 / 2)


@pytest.mark.parametrize("importance", ["uniform", "entropy"])
def test_early_ends_bias_agrpo(importance):
    mdp = make_mdp(3, scale=1.5, end_token=TOKENS - 1)
    groups = all_groups(mdp)
    assert relative_bias(mdp, groups, candidate("agrpo", f"{importance}, low-discrepancy", 1)) > 0.1
    assert relative_bias(mdp, groups, candidate("egspo", "entropy", LENGTH, "rank")) < EXACT


# 4. Steps left out

SETS = [steps for size in range(1, LENGTH) for steps in itertools.combinations(range(LENGTH), size)]


@pytest.mark.parametrize("baseline", ["none", "mean"])
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0, 10.0])
def test_the_error_of_a_fixed_set_of_steps_is_within_the_bound(scale, baseline):
    for seed in range(10):
        mdp = make_mdp(seed, scale=scale)
        value = left_out.expected_reward(mdp) if baseline == "mean" else 0.0
        exact = mdp.exact_gradient().flatten()
        for steps in SETS:
            prepared = left_out.prepare(mdp, steps, len(steps), value)
            error = float((left_out.expected_gradient(mdp, prepared, len(steps)) - exact).norm())
            bound = left_out.bound(mdp, torch.tensor(steps).expand(TRAJECTORIES, -1), value)
            assert 0 < error <= bound


def test_the_bound_is_hand_computed_where_one_step_is_left_out(mdp):
    entropy_N = step_entropy(mdp.rollout)[:, 1]
    expected = 2**0.5 * float(mdp.reward_X.max()) * float((mdp.probability_N * entropy_N).sum())
    chosen = torch.tensor([0, 2]).expand(TRAJECTORIES, -1)
    assert left_out.bound(mdp, chosen, 0.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0])
def test_with_a_mean_baseline_top_entropy_has_a_smaller_error_than_uniform(scale):
    found = left_out.compare(policies=200, scale=scale, seed=0)
    error = {(item.selection, item.size): item.error for item in found if item.baseline == "mean"}
    assert error["entropy", 1] < error["uniform", 1]
    assert error["entropy", 2] < error["uniform", 2]


def test_the_choice_of_top_entropy_may_break_the_bound_for_fixed_sets():
    found = left_out.compare(policies=20, scale=12.0, seed=0)
    largest = dict.fromkeys(left_out.SELECTIONS, 0.0)
    for item in found:
        largest[item.selection] = max(largest[item.selection], item.largest_ratio)
    assert largest["uniform"] <= 1 < largest["entropy"]


# 5. d1 and ESPO


@pytest.mark.parametrize(
    ("name", "options", "size"), [("d1", "one step", 0), ("espo", "single", 1), ("espo", "coupled", 2)]
)
def test_d1_and_espo_are_biased(mdp, groups, name, options, size):
    assert relative_bias(mdp, groups, candidate(name, options, size)) > 0.1


def test_coupling_leaves_espo_s_mean_and_lowers_its_variance(mdp, groups):
    generator = torch.Generator().manual_seed(0)
    single, coupled = (moments(mdp, groups, candidate("espo", name, 1), generator) for name in ("single", "coupled"))
    torch.testing.assert_close(single.mean_CSW, coupled.mean_CSW, atol=EXACT, rtol=0)
    assert coupled.square < 0.7 * single.square


# Monte-Carlo: the methods' own prepare, on groups drawn at random


def estimates_along_gradient(mdp, method, *, group_size, number):
    """Estimates from `number` random groups, projected on the gradient: 1 on average for an unbiased estimator."""
    generator = torch.Generator().manual_seed(5)
    index_B = torch.multinomial(mdp.probability_N, number * group_size, replacement=True, generator=generator)
    rollout = take(mdp.rollout, index_B)
    rewards = mdp.rewards_of(rollout.completion_ids_BC)
    scored = ScoredRollouts(rollout=rollout, rewards=rewards, group_size=group_size)
    prepared = method.prepare(scored, mdp.policy, mdp.score, method.draw(scored, mdp.policy, generator))
    exact = mdp.exact_gradient().flatten()
    with mdp.copies(number) as table:
        for part in prepared.updates[0].parts:
            method.loss(mdp.policy, part)[0].backward()
        return -number * table.grad.flatten(1) @ exact / exact.square().sum()


def within_4_standard_errors(values, expected):
    return abs(float(values.mean()) - expected) < 4 * float(values.std()) / len(values) ** 0.5


# Cost, table, figure, command


@pytest.mark.parametrize(
    ("name", "options", "size", "forwards"),
    [
        ("egspo", "entropy", 2, 2),
        ("agrpo", "entropy, independent", 3, 3),
        ("d1", "one step", 0, 2),
        ("espo", "single", 2, 4),
        ("espo", "coupled", 2, 8),
        ("bgpo", "spread", 3, 6),
        ("gdpo", "gauss", 3, 6),
        ("gdsd", "elbo", 2, 4),
    ],
)
def test_forwards_are_steps_draws_or_inputs_with_those_of_the_old_policy(mdp, name, options, size, forwards):
    baseline = "rank" if name == "egspo" else None
    assert measure.forwards_per_completion(mdp, candidate(name, options, size, baseline)) == forwards


def test_low_discrepancy_draws_vary_less_than_independent_ones(mdp, groups):
    generator = torch.Generator().manual_seed(0)
    low, independent = (
        moments(mdp, groups, candidate("agrpo", f"uniform, {draws}", 3), generator).square
        for draws in ("low-discrepancy", "independent")
    )
    assert low < 0.95 * independent


def test_every_k_with_every_selection_and_baseline_is_there():
    estimators = [item.estimator for item in all_candidates() if item.name == "egspo"]
    selections = ("entropy", "uniform", "random", "random-official")
    expected = set(itertools.product(selections, ("none", "rank", "step"), (1, 2, 3)))
    assert {(item.options, item.baseline, item.size) for item in estimators} == expected
    assert {item.name for item in all_candidates()} == {
        "egspo",
        "egspo-sa",
        "agrpo",
        "d1",
        "espo",
        "bgpo",
        "gdpo",
        "gdsd",
    }


@pytest.fixture
def few(monkeypatch):
    """The first point of each line of the figure alone, and one that is measured with early ends too."""
    kept = [item for item in all_candidates() if item.estimator.is_drawn and item.estimator.size <= 1]
    monkeypatch.setattr(measure, "all_candidates", lambda: kept)
    monkeypatch.setattr("harness.cli.diagnose.LEFT_OUT_POLICIES", 2)
    return kept


def test_the_command_shows_tables_and_writes_numbers_and_a_figure(few, tmp_path, capsys):
    assert main(["diagnose", "--policies", "1", "--out", str(tmp_path / "made")]) == 0
    shown = capsys.readouterr().out
    assert "1 random policy, no completion ends early" in shown
    assert "AGRPO" in shown
    assert "steps left out" in shown
    rows = list(csv.DictReader((tmp_path / "made" / "estimators.csv").open()))
    assert len(rows) == len(few) + 1
    agrpo = next(row for row in rows if row["method"] == "agrpo" and row["ends_early"] == "false")
    assert float(agrpo["bias"]) < EXACT
    assert float(agrpo["variance"]) > 1
    assert len(list(csv.DictReader((tmp_path / "made" / "steps-left-out.csv").open()))) == 8
    assert ET.parse(tmp_path / "made" / "estimators.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert (tmp_path / "made" / "estimators.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_same_command_writes_the_same_bytes(few, tmp_path):
    for name in ("first", "second"):
        assert main(["diagnose", "--policies", "1", "--out", str(tmp_path / name)]) == 0
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path, capsys):
    (tmp_path / "taken").touch()
    assert main(["diagnose", "--out", str(tmp_path / "taken")]) == 2
    assert capsys.readouterr().err.startswith(f"harness: '{tmp_path / 'taken'}' is a file")


@pytest.mark.slow
def test_the_whole_command_ends_within_a_minute(tmp_path):
    command = [sys.executable, "-m", "harness", "diagnose", "--out", str(tmp_path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of one processor, so that other work on the machine does not count.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60

"""What must be provably true of the gradient estimators, in float64 on a task that can be enumerated."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from harness.diagnose import left_out
from harness.diagnose.groups import all_groups, one_per_text
from harness.diagnose.mdp import (
    CONFIDENCE,
    FIRST_COPY_ID,
    LENGTH,
    MASK_ID,
    ORDERS,
    RANDOM,
    TOKENS,
    all_trajectories,
    contexts,
    log_probability,
    make_mdp,
    surest_first,
    take,
)
from harness.diagnose.measure import moments
from harness.rl.step_selection import step_entropy
from harness.rollout import ScoredRollouts

CHECKOUT = Path(__file__).resolve().parents[2]
TRAJECTORIES = 162
EXACT = 1e-10


# The task


def test_all_trajectories_together_have_probability_1(mdp, groups):
    assert mdp.rollout.num_rows == TRAJECTORIES == 6 * TOKENS**LENGTH
    assert float(mdp.probability_N.sum()) == pytest.approx(1, abs=1e-12)
    assert len(groups) == TRAJECTORIES * (TRAJECTORIES + 1) // 2
    assert float(groups.weight_X.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_the_exact_gradient_is_that_of_finite_differences(order):
    mdp = make_mdp(1, scale=1.0, order=order)
    exact = mdp.exact_gradient()
    # What position 0 says of token 2 while all others are masked.
    table, place, step = mdp.table.table_RCSW.data, (0, 0, 15, 2), 1e-5

    def reward():
        orders = 6 if order == RANDOM else 1
        probability_N = log_probability(mdp.policy, mdp.rollout).exp().detach() / orders
        return float((probability_N * mdp.rewards_of(mdp.rollout.completion_ids_BC).total_B).sum())

    table[place] += step
    above = reward()
    table[place] -= 2 * step
    below = reward()
    assert (above - below) / (2 * step) == pytest.approx(float(exact[place[1:]]), abs=1e-9)
    assert (abs(float(exact[place[1:]])) > 1e-6) == (order != CONFIDENCE or int(mdp.rollout.unmask_step_BC[0, 0]) == 0)


@pytest.mark.parametrize("order", [order for order in ORDERS if order != RANDOM])
def test_a_fixed_order_has_one_trajectory_per_completion(order):
    mdp = make_mdp(3, scale=1.5, order=order)
    assert mdp.rollout.num_rows == 27
    assert float(mdp.probability_N.sum()) == pytest.approx(1, abs=1e-12)
    assert mdp.rollout.unmask_step_BC.sort(1).values.tolist() == [[0, 1, 2]] * 27


def test_the_surest_position_is_revealed_first_and_the_leftmost_of_equals():
    mdp = make_mdp(3, scale=1.5)
    table = mdp.table.table_RCSW.data[0]
    table.zero_()
    # All masked, the right one is surest. Once it is token 1, the left one is; else they are equally sure.
    table[2, MASK_ID + 4 * MASK_ID, 0] = 3.0
    table[0, MASK_ID + 4 * 1, 2] = 2.0
    table[1, MASK_ID + 4 * 2, 2] = 1.0
    rollout = surest_first(mdp.policy, all_trajectories(mdp.policy, CONFIDENCE))
    steps = dict(zip(map(tuple, rollout.completion_ids_BC.tolist()), rollout.unmask_step_BC.tolist(), strict=True))
    assert steps[0, 0, 0] == [1, 2, 0]
    assert steps[0, 0, 1] == [1, 2, 0]
    assert steps[0, 0, 2] == [2, 1, 0]


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
    assert tokens_BL.tolist() == [[FIRST_COPY_ID, 0, MASK_ID, MASK_ID, MASK_ID]]
    assert mask_BL.tolist() == [[False, True, True, True, True]]
    position = int((first.unmask_step_BC[0] == 0).nonzero())
    logits = mdp.policy.logits(tokens_BL, mask_BL, torch.tensor([[2 + position]]))[0, 0]
    assert logits[MASK_ID] == -torch.inf
    probability = torch.softmax(mdp.table.table_RCSW.detach()[0, position, MASK_ID * 4 + MASK_ID], 0)
    assert float(first.logprob_BC[0, position]) == pytest.approx(float(probability[0].log()), abs=1e-12)
    entropy = -(probability * probability.log()).sum()
    assert float(first.entropy_BC[0, position]) == pytest.approx(float(entropy), abs=1e-12)


# 1. EGSPO


@pytest.mark.parametrize("selection", ["entropy", "uniform"])
def test_egspo_with_all_steps_and_no_baseline_is_the_exact_gradient_in_every_order(
    ordered, selection, candidate, relative_bias
):
    egspo = candidate("egspo", selection, LENGTH, "none")
    assert egspo.estimator.scale == LENGTH
    assert relative_bias(ordered, all_groups(ordered), egspo) < EXACT


def test_a_group_of_two_halves_egspo_s_gradient(mdp, groups, candidate):
    mean_D = moments(mdp, groups, candidate("egspo", "entropy", LENGTH, "rank"), torch.Generator()).mean_D
    torch.testing.assert_close(LENGTH * mean_D, mdp.exact_gradient().flatten() / 2, atol=EXACT, rtol=0)


@pytest.mark.parametrize("group_size", [3, 8])
def test_a_group_of_g_shrinks_egspo_s_gradient_by_1_over_g(mdp, group_size, candidate):
    method = candidate("egspo", "entropy", LENGTH, "rank").estimator.method
    along = estimates_along_gradient(mdp, method, group_size=group_size, number=4000)
    assert within_4_standard_errors(LENGTH * along, 1 - 1 / group_size)
    assert not within_4_standard_errors(LENGTH * along, 1 + 1 / group_size)


@pytest.mark.parametrize("size", [1, 2])
def test_fewer_steps_are_biased(mdp, groups, size, candidate, relative_bias):
    assert relative_bias(mdp, groups, candidate("egspo", "entropy", size, "none")) > 0.05


# 2. EGSPO-SA


@pytest.mark.parametrize("baseline", ["none", "step"])
@pytest.mark.parametrize("lambda_", [0.1, 0.5, 1.0, 3.0])
def test_normalised_stepwise_advantages_are_unbiased_without_baseline_and_at_the_same_step(
    lambda_, baseline, candidate, relative_bias
):
    mdp = make_mdp(3, scale=1.5, order=CONFIDENCE if lambda_ != 0.5 else RANDOM)
    stepwise = candidate("egspo-sa", "entropy", LENGTH, baseline, stepwise_lambda=lambda_)
    assert relative_bias(mdp, all_groups(mdp), stepwise) < EXACT


def test_normalised_stepwise_advantages_at_equal_rank_have_a_bias_of_a_few_per_cent(candidate, relative_bias):
    biases = []
    for seed in range(3):
        mdp = make_mdp(seed, scale=1.5)
        stepwise = candidate("egspo-sa", "entropy", LENGTH, "rank", stepwise_lambda=0.5)
        biases.append(relative_bias(mdp, all_groups(mdp), stepwise))
    assert 0.005 < sum(biases) / len(biases) < 0.1


# 3. AGRPO


@pytest.mark.parametrize("importance", ["uniform", "entropy"])
def test_agrpo_over_all_draws_is_the_exact_gradient(mdp, groups, importance, candidate, relative_bias):
    assert relative_bias(mdp, groups, candidate("agrpo", f"{importance}, independent", 1)) < EXACT


@pytest.mark.parametrize("importance", ["uniform", "entropy"])
@pytest.mark.parametrize("draws", ["low-discrepancy", "independent"])
def test_agrpo_s_own_draws_are_unbiased_within_4_standard_errors(mdp, importance, draws, candidate):
    method = candidate("agrpo", f"{importance}, {draws}", 2).estimator.method
    along = estimates_along_gradient(mdp, method, group_size=2, number=20000)
    assert within_4_standard_errors(LENGTH * along, 1 - 1 / 2)


@pytest.mark.parametrize("importance", ["uniform", "entropy"])
def test_early_ends_bias_agrpo(importance, candidate, relative_bias):
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
def test_d1_and_espo_are_biased_in_every_order(ordered, name, options, size, candidate, relative_bias):
    groups = one_per_text(ordered, all_groups(ordered))
    assert relative_bias(ordered, groups, candidate(name, options, size)) > 0.1


def test_coupling_leaves_espo_s_mean_and_lowers_its_variance(mdp, groups, candidate):
    generator = torch.Generator().manual_seed(0)
    single, coupled = (moments(mdp, groups, candidate("espo", name, 1), generator) for name in ("single", "coupled"))
    torch.testing.assert_close(single.mean_D, coupled.mean_D, atol=EXACT, rtol=0)
    assert coupled.square < 0.7 * single.square
    assert 0 < single.square_error < 0.05 * single.square


# Monte-Carlo: the methods' own prepare, on groups drawn at random


def estimates_along_gradient(mdp, method, *, group_size, number):
    """Estimates from `number` random groups, projected on the gradient: 1 on average for an unbiased estimator."""
    generator = torch.Generator().manual_seed(5)
    index_B = torch.multinomial(mdp.probability_N, number * group_size, replacement=True, generator=generator)
    rollout = take(mdp.rollout, index_B, torch.arange(number).repeat_interleave(group_size))
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

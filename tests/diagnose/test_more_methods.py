"""What is known of the estimators of more methods, in float64: of which likelihoods their scores are gradients, what
their weights add up to, which of them are the same."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from harness.diagnose.groups import Groups, all_groups, one_per_text, scored_rollouts
from harness.diagnose.mdp import (
    CONFIDENCE,
    LEFT_TO_RIGHT,
    LENGTH,
    ORDERS,
    RANDOM,
    TOKENS,
    all_trajectories,
    log_probability,
    make_mdp,
)
from harness.registry import get_method

EXACT = 1e-10


@pytest.fixture(scope="module")
def in_orders():
    """One task in every order; its groups, those of the random order by their texts."""
    tasks = {order: make_mdp(3, scale=1.5, order=order) for order in ORDERS}
    groups = {order: all_groups(mdp) for order, mdp in tasks.items()}
    return {order: (mdp, one_per_text(mdp, groups[order])) for order, mdp in tasks.items()}


def elbo_gradient(mdp):
    """The gradient (D,) of the advantage times the ELBO, which is the mean over all orders of the log-probability of
    a completion revealed in that order."""
    every = all_trajectories(mdp.policy, RANDOM)
    elbo_T = log_probability(mdp.policy, every).view(-1, TOKENS**LENGTH).mean(0)
    completion_TC = every.completion_ids_BC[: TOKENS**LENGTH]
    reward_T = mdp.rewards_of(completion_TC).total_B
    probability_T = torch.zeros_like(reward_T)
    place_N = (mdp.rollout.completion_ids_BC[:, None] == completion_TC).all(2).long().argmax(1)
    probability_T = probability_T.index_add(0, place_N, mdp.probability_N)
    advantage_T = reward_T - probability_T @ reward_T
    (gradient_RCSW,) = torch.autograd.grad((probability_T * advantage_T) @ elbo_T, [mdp.table.table_RCSW])
    return gradient_RCSW.flatten()


def test_the_elbo_is_the_likelihood_where_the_order_tells_nothing():
    """Logits that depend on no other token: every order gives every completion the same probability."""
    mdp = make_mdp(3, scale=1.5)
    mdp.table.table_RCSW.data[:] = mdp.table.table_RCSW.data[:, :, :1]
    logprob_NT = log_probability(mdp.policy, all_trajectories(mdp.policy, RANDOM)).view(-1, TOKENS**LENGTH)
    torch.testing.assert_close(logprob_NT, logprob_NT[:1].expand_as(logprob_NT), atol=EXACT, rtol=0)


# 1. Exact likelihoods of trajectories


@pytest.mark.parametrize("order", [LEFT_TO_RIGHT, CONFIDENCE])
def test_d2_with_a_segment_for_every_step_is_the_exact_gradient(in_orders, order, candidate, relative_bias):
    mdp, groups = in_orders[order]
    assert relative_bias(mdp, groups, candidate("d2-stepmerge", "segments", LENGTH)) < EXACT


@pytest.mark.parametrize("order", ORDERS)
def test_d2_with_one_segment_is_d1(in_orders, order, candidate, mean_estimate):
    mdp, groups = in_orders[order]
    d1 = mean_estimate(mdp, groups, candidate("d1", "one step"))
    torch.testing.assert_close(
        mean_estimate(mdp, groups, candidate("d2-stepmerge", "segments", 1)), d1, atol=EXACT, rtol=0
    )


def test_tracerl_without_merging_goes_through_the_states_of_d2_with_a_segment_for_every_step(in_orders):
    mdp, groups = in_orders[CONFIDENCE]
    scored = scored_rollouts(mdp, groups.those(torch.arange(5)), torch.zeros(10, dtype=torch.long))
    states = []
    for name, options in (("tracerl", {"shrink": 1, "post_num": -1}), ("d2-stepmerge", {"segments": LENGTH})):
        cls = get_method(name)
        method = cls(config=cls.Config(beta=0.0, **options))
        draws = method.draw(scored, mdp.policy, torch.Generator())
        part = method.prepare(scored, mdp.policy, mdp.score, draws).updates[0].parts[0]
        states.append((part.row_N, part.position_Nn, part.is_masked_NC, part.counted_Nn))
    for one, other in zip(*states, strict=True):
        assert torch.equal(one, other)


def uncentred_gradient(mdp):
    """JustGRPO's mean gradient (D,) with the plain reward in the place of the advantage. Every trajectory is the first
    of a group with its neighbour, so that its advantage is not 0; the second counts nothing."""
    number = mdp.rollout.num_rows
    first_X = torch.arange(number)
    pairs = Groups(index_XG=torch.stack([first_X, (first_X + 1) % number], 1), weight_X=mdp.probability_N)
    scored = scored_rollouts(mdp, pairs, torch.zeros(2 * number, dtype=torch.long))
    method = get_method("justgrpo")()
    part = method.prepare(scored, mdp.policy, mdp.score, None).updates[0].parts[0]
    weight_B = torch.stack([pairs.weight_X, torch.zeros(number, dtype=torch.float64)], 1).flatten()
    plain = dataclasses.replace(
        part, advantage_N=scored.rewards.total_B[part.row_N], weight_N=weight_B[part.row_N], normaliser=1.0
    )
    (gradient_RCSW,) = torch.autograd.grad(method.loss(mdp.policy, plain)[0], [mdp.table.table_RCSW])
    return -gradient_RCSW.flatten()


def test_justgrpo_s_factorisation_is_the_policy_gradient_of_the_sampler_from_left_to_right(in_orders):
    mdp = in_orders[LEFT_TO_RIGHT][0]
    torch.testing.assert_close(uncentred_gradient(mdp), mdp.exact_gradient().flatten(), atol=EXACT, rtol=0)


def test_justgrpo_is_biased_where_the_surest_come_first(in_orders):
    mdp = in_orders[CONFIDENCE][0]
    exact_D = mdp.exact_gradient().flatten()
    bias = float((uncentred_gradient(mdp) - exact_D).norm() / exact_D.norm())
    assert bias == pytest.approx(0.0864, abs=1e-3)


# 2. ELBOs


@pytest.mark.parametrize(
    ("name", "options", "size"), [("espo", "single", 1), ("espo", "coupled", 2), ("gdsd", "elbo", 1)]
)
@pytest.mark.parametrize("order", ORDERS)
def test_the_mean_over_masks_is_the_gradient_of_the_elbo(
    in_orders, order, name, options, size, candidate, mean_estimate
):
    mdp, groups = in_orders[order]
    mean_D = mean_estimate(mdp, groups, candidate(name, options, size))
    torch.testing.assert_close(mean_D, elbo_gradient(mdp), atol=EXACT, rtol=0)


def test_rounded_counts_bias_gdpo_s_quadrature_where_completions_are_short(in_orders, candidate, mean_estimate):
    """At t = 1/2 two of three tokens are masked and count 1 / t = 2 each: 4 in place of 3 for a policy that is sure of
    nothing; other nodes round up too."""
    mdp, groups = in_orders[LEFT_TO_RIGHT]
    exact_D = elbo_gradient(mdp)
    for size in (1, 2, 3):
        mean_D = mean_estimate(mdp, groups, candidate("gdpo", "gauss", size))
        assert float((mean_D - exact_D).norm()) > 0.1 * float(exact_D.norm())


# 3. Weights


@pytest.mark.parametrize("terms", ["both", "positive"])
def test_wd1_s_weights_of_both_terms_add_up_to_nothing(in_orders, terms):
    mdp, groups = in_orders[LEFT_TO_RIGHT]
    scored = scored_rollouts(mdp, groups)
    cls = get_method("wd1")
    method = cls(config=cls.Config(inner_updates=1, softmax_over="group", terms=terms))
    draws = method.draw(scored, mdp.policy, torch.Generator())
    part = method.prepare(scored, mdp.policy, mdp.score, draws).updates[0].parts[0]
    sum_X = part.advantage_B.view(-1, 2).sum(1)
    torch.testing.assert_close(sum_X, torch.full_like(sum_X, float(terms == "positive")), atol=EXACT, rtol=0)


def test_dmpo_s_weights_less_those_of_the_negative_target_add_up_to_nothing(in_orders):
    mdp, groups = in_orders[LEFT_TO_RIGHT]
    scored = scored_rollouts(mdp, groups, torch.zeros(2 * len(groups), dtype=torch.long))
    cls = get_method("dmpo")
    method = cls(config=cls.Config(inner_updates=1))
    draws = method.draw(scored, mdp.policy, torch.Generator().manual_seed(0))
    weight_B = method.prepare(scored, mdp.policy, mdp.score, draws).advantages
    sum_X = weight_B.view(-1, 2).sum(1)
    torch.testing.assert_close(sum_X, torch.zeros_like(sum_X), atol=EXACT, rtol=0)
    assert float(weight_B.abs().max()) > 0.9


# 4. SPG


def test_spg_s_upper_bound_of_a_few_inputs_may_be_below_its_lower_bound(in_orders, candidate):
    """In every ninth row or so. A token that is masked in one input alone counts 0 in the mean with the other."""
    mdp, groups = in_orders[LEFT_TO_RIGHT]
    one = candidate("spg", "mix", 2)
    scored = scored_rollouts(mdp, groups, torch.zeros(2 * len(groups), dtype=torch.long))
    share = 0.0
    for outcome in one.estimator.outcomes(scored, mdp.policy):
        part = one.parts(mdp, scored, outcome.draws)[0]
        values = one.estimator.method.loss(mdp.policy, part)[1]
        share += float(outcome.probability) * float(
            values["eubo_below_elbo"].double().view(-1, 2).mean(1) @ groups.weight_X
        )
    assert share == pytest.approx(0.107, abs=1e-3)

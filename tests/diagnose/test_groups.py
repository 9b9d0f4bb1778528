"""Every group is a batch of its own, whatever a method's loss makes of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from harness.diagnose import groups as grouping
from harness.diagnose.estimators import Candidate
from harness.diagnose.groups import Groups, all_groups, estimates, one_per_text, row_estimates, sample, scored_rollouts
from harness.diagnose.mdp import LEFT_TO_RIGHT, TOKENS, make_mdp, prompts_of
from harness.diagnose.measure import moments
from harness.diffusion.logprob import chosen_logprob
from harness.rl.advantages import centre_in_group
from harness.rl.estimator import Estimator
from harness.rl.masked import until_first_end
from harness.rl.method import LossPart, Method, Prepared, UpdateBatch


@dataclass(frozen=True, kw_only=True)
class Options:
    divisor: str


@dataclass(frozen=True, kw_only=True)
class Weighted(LossPart):
    tokens_BL: torch.Tensor
    mask_BL: torch.Tensor
    target_BC: torch.Tensor
    weight_B: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class OneStep(Method):
    """Rewards times log-probabilities in one step, over what `divisor` counts in the batch."""

    config: Options = field(default_factory=Options)

    def prepare(self, scored, policy, score, draws):
        rollout, reward_B = scored.rollout, scored.rewards.total_B
        tokens = until_first_end(policy.is_end(rollout.completion_ids_BC)).sum()
        moving = (reward_B.view(-1, 2)[:, 0] != reward_B.view(-1, 2)[:, 1]).sum()
        weight_B = {
            "rows": reward_B / scored.global_rows,
            "tokens": reward_B / tokens,
            "moving": centre_in_group(reward_B[:, None], 2)[:, 0] / (moving + 1e-5),
            "softmax": reward_B.softmax(0),
            "orders": reward_B / (1 + rollout.unmask_step_BC[:, 0].double().mean()) / scored.global_rows,
        }[self.config.divisor]
        tokens_BL, mask_BL = rollout.prompts.with_completion(torch.full_like(rollout.completion_ids_BC, 3))
        part = Weighted(tokens_BL=tokens_BL, mask_BL=mask_BL, target_BC=rollout.completion_ids_BC, weight_B=weight_B)
        return Prepared(updates=[UpdateBatch(parts=[part])], advantages=reward_B)

    def loss(self, policy, part):
        logits_BCV = policy.completion_logits(part.tokens_BL, part.mask_BL, part.target_BC.shape[1])
        return -(chosen_logprob(logits_BCV, part.target_BC).sum(1) * part.weight_B).sum(), {}


def one_step(divisor):
    return Candidate(name="mine", estimator=Estimator(method=OneStep(config=Options(divisor=divisor)), scale=1.0))


@pytest.fixture(scope="module")
def ending():
    return make_mdp(3, scale=1.5, end_token=TOKENS - 1)


@pytest.mark.parametrize(
    ("divisor", "key", "by_text"),
    [
        ("rows", grouping.anything, True),
        ("tokens", grouping.lengths, True),
        ("softmax", grouping.texts, True),
        ("orders", grouping.nothing, False),
    ],
)
def test_groups_share_a_batch_as_far_as_what_is_counted_in_it_allows(ending, divisor, key, by_text):
    found = grouping.sharing(ending, all_groups(ending), one_step(divisor))
    assert (found.key, found.by_text) == (key, by_text)


def test_groups_with_equal_rewards_are_kept_apart_where_only_the_others_count(mdp, groups):
    assert grouping.sharing(mdp, groups, one_step("moving")).key is grouping.lengths


def test_an_estimate_is_hand_computed(mdp):
    """All masked, position c: the gradient of log p(x) is 1 at x less the probabilities, times the mean of rewards."""
    pair = Groups(index_XG=torch.tensor([[0, 1]]), weight_X=torch.ones(1, dtype=torch.float64))
    estimate_CSW = estimates(mdp, pair, one_step("rows"), None).view(3, 16, 3)
    rewards = mdp.rewards_of(mdp.rollout.completion_ids_BC[:2]).total_B
    assert mdp.rollout.completion_ids_BC[:2].tolist() == [[0, 0, 0], [0, 0, 1]]
    probability_CW = mdp.table.table_RCSW.detach()[0, :, 15].softmax(-1)
    first_W, second_W = torch.eye(3, dtype=torch.float64)[:2]
    expected_W = (rewards[0] * (first_W - probability_CW[2]) + rewards[1] * (second_W - probability_CW[2])) / 2
    torch.testing.assert_close(estimate_CSW[2, 15], expected_W, atol=1e-12, rtol=0)
    assert not estimate_CSW[:, :15].any()


@pytest.mark.parametrize("divisor", ["tokens", "softmax"])
def test_moments_are_those_of_groups_that_are_batches_alone(divisor):
    mdp = make_mdp(3, scale=1.5, end_token=TOKENS - 1, order=LEFT_TO_RIGHT)
    groups, one = all_groups(mdp), one_step(divisor)
    alone_XD = torch.cat([estimates(mdp, groups.those(torch.tensor([place])), one, None) for place in range(0, 378, 9)])
    some = groups.those(torch.arange(0, 378, 9))
    found = moments(mdp, some, one, torch.Generator())
    torch.testing.assert_close(found.mean_D, some.weight_X @ alone_XD, atol=1e-12, rtol=0)
    assert found.square == pytest.approx(float(some.weight_X @ alone_XD.square().sum(1)), rel=1e-10)


def test_what_rows_add_makes_a_group_s_estimate(mdp, groups):
    few = groups.those(torch.arange(0, 13203, 4000))
    together_XD = row_estimates(mdp, few, one_step("softmax"), None).view(len(few), 2, -1).sum(1)
    torch.testing.assert_close(together_XD, estimates(mdp, few, one_step("softmax"), None), atol=1e-12, rtol=0)


def test_groups_of_the_same_completions_become_one_with_their_probability(mdp, groups):
    merged = one_per_text(mdp, groups)
    assert len(merged) == 27 * 28 // 2
    assert float(merged.weight_X.sum()) == pytest.approx(1, abs=1e-12)
    text_N = mdp.text_N
    both = ((text_N[groups.index_XG] == 5).all(1) * groups.weight_X).sum()
    place = (text_N[merged.index_XG] == 5).all(1)
    assert float(merged.weight_X[place]) == pytest.approx(float(both), rel=1e-12)


def test_a_sample_has_every_group_as_often_as_its_probability_asks_for_but_for_rounding():
    groups = Groups(index_XG=torch.tensor([[0, 0], [0, 1], [1, 1]]), weight_X=torch.tensor([0.5, 0.05, 0.45]).double())
    for seed in range(5):
        drawn = sample(groups, 10, torch.Generator().manual_seed(seed))
        counts = [int((drawn.index_XG == pair).all(1).sum()) for pair in groups.index_XG]
        assert counts[0] == 5
        assert counts[1] in (0, 1)
        assert sum(counts) == 10
        assert drawn.weight_X.tolist() == [0.1] * 10


def test_a_method_that_overwrites_padding_is_told(mdp, groups):
    scored = scored_rollouts(mdp, groups.those(torch.arange(2)))
    tokens_BL, mask_BL = scored.rollout.state_at(torch.zeros(4, dtype=torch.long))
    tokens_BL[:, 0] = 3
    with pytest.raises(ValueError, match="padding is overwritten"):
        mdp.policy.completion_logits(tokens_BL, mask_BL, 3)


def test_a_row_uses_the_copy_that_its_padding_names(mdp):
    with mdp.copies(3) as table_RCSW:
        table_RCSW.data[2] += torch.tensor([0.0, 0.0, 5.0])
        tokens_BL, mask_BL = prompts_of(torch.tensor([2, 0])).with_completion(torch.full((2, 3), 3))
        gap_BC = mdp.policy.completion_logits(tokens_BL, mask_BL, 3)[:, :, 2] - table_RCSW[0, :, 15, 2]
    assert gap_BC.round(decimals=9).tolist() == [[5.0] * 3, [0.0] * 3]

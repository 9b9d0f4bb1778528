import dataclasses
import sys
from types import SimpleNamespace

import pytest
import torch

from harness.config.decoding import Decoding
from harness.errors import UserError
from harness.registry import get_method

module = sys.modules[get_method("coupled-grpo").__module__]


def drawn(scored, model, seed=0, **options):
    method = module.CoupledGrpo(config=module.CoupledGrpoConfig(**options))
    return method, method.draw(scored, model, torch.Generator().manual_seed(seed))


def test_the_advantage_is_the_reward_less_the_mean_of_the_others_and_exactly_0_without_variance():
    rewards = torch.tensor([1.0, 0.0, 0.5, 0.1, 0.1, 0.1], dtype=torch.float64)
    plain = module.advantages(rewards, 3, module.CoupledGrpoConfig())
    assert plain.tolist() == pytest.approx([0.75, -0.75, 0.0, 0.0, 0.0, 0.0])
    assert plain[3:].tolist() == [0, 0, 0]
    scaled = module.advantages(rewards, 3, module.CoupledGrpoConfig(scale_rewards=True))
    assert scaled.tolist() == pytest.approx([0.75 / 0.5001, -0.75 / 0.5001, 0.0, 0.0, 0.0, 0.0])
    assert scaled[3:].tolist() == [0, 0, 0]


def test_a_score_is_half_the_wholly_masked_one_and_half_the_likelier_weighted_other():
    is_masked = torch.tensor([[True, False, True]])
    weights = module.score_weights(is_masked, torch.tensor([0.25]))
    assert weights[0].T.tolist() == [[0.5, 2.0, 0.0], [0.5, 0.0, 2 / 3], [0.5, 2.0, 0.0]]
    logprob = torch.tensor([[[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0], [-7.0, -8.0, -9.0]]], dtype=torch.float64)
    assert module.token_scores(logprob, weights).tolist() == [[-0.5 - 8.0, -1.0 - 8.0 * 2 / 3, -1.5 - 12.0]]


def test_every_token_is_masked_in_two_of_the_three_inputs_and_no_prompt_token_in_any(random_model, scored, score):
    method, draws = drawn(scored, random_model, beta=0.0)
    first, second = (update.parts[0] for update in method.prepare(scored, random_model, score, draws).updates)
    length, mask_id = scored.rollout.completion_length, random_model.special.mask_id
    is_masked_BDC = first.tokens_BDL[:, :, -length:] == mask_id
    assert is_masked_BDC[:, 0].all()
    assert torch.equal(is_masked_BDC[:, 1], ~is_masked_BDC[:, 2])
    prompt_BDP = first.tokens_BDL[:, :, :-length]
    assert torch.equal(prompt_BDP, scored.rollout.prompts.ids_BP[:, None].expand_as(prompt_BDP))
    assert not torch.equal(first.tokens_BDL, second.tokens_BDL)
    assert first.sequences_per_row == 3


def test_all_rows_of_an_update_have_one_rate_and_about_that_share_of_their_tokens_masked(scored, random_model):
    _, draws = drawn(scored, random_model, inner_updates=40, min_rate=0.2, max_rate=0.8)
    assert (draws.rate_BU == draws.rate_BU[:1]).all()
    rate_U = draws.rate_BU[0]
    assert 0.2 <= float(rate_U.min()) < 0.3
    assert 0.7 < float(rate_U.max()) <= 0.8
    share_U = draws.is_masked_BUC.double().mean((0, 2))
    assert float((share_U - rate_U).abs().max()) < 0.16  # 4 standard errors of 144 tokens


def test_accumulated_batches_have_the_same_masks_where_they_are_repeated(scored, random_model):
    scored = dataclasses.replace(scored, micro_batch_rows=3, accumulated_batches=2)
    own = drawn(scored, random_model)[1].is_masked_BUC.unflatten(0, (2, 2, 3))
    assert not torch.equal(own[:, 0], own[:, 1])
    repeated = drawn(scored, random_model, repeat_masks=True)[1].is_masked_BUC.unflatten(0, (2, 2, 3))
    assert torch.equal(repeated[:, 0], repeated[:, 1])
    assert torch.equal(repeated[:, 0], own[:, 0])
    assert not torch.equal(repeated[0], repeated[1])


def test_a_single_update_with_a_kl_term_runs_and_is_on_policy(random_model, scored, score):
    random_model.keep_reference()
    method, draws = drawn(scored, random_model, inner_updates=1, beta=0.5)
    (update,) = method.prepare(scored, random_model, score, draws).updates
    loss, values = method.loss(random_model, update.parts[0])
    torch.testing.assert_close(values["ratio"], torch.ones_like(values["ratio"]), atol=1e-4, rtol=0)
    assert float(values["kl"].abs().max()) < 1e-5
    loss.backward()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_updates": 0}, "method.inner_updates=0"),
        ({"min_rate": 0.0}, "method.min_rate=0.0 and method.max_rate=0.8"),
        ({"max_rate": 1.0}, "method.min_rate=0.2 and method.max_rate=1.0"),
        ({"min_rate": 0.9}, "method.min_rate=0.9 and method.max_rate=0.8 must rise"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UserError, match=message):
        module.CoupledGrpo(config=module.CoupledGrpoConfig(**options)).check(Decoding())
    module.CoupledGrpo(config=module.CoupledGrpoConfig(min_rate=0.5, max_rate=0.5)).check(Decoding())


def test_groups_of_one_have_no_others_to_compare_with(random_model, scored):
    with pytest.raises(UserError, match=r"train\.group_size=1"):
        module.CoupledGrpo().prepare(dataclasses.replace(scored, group_size=1), random_model, None, None)


def test_two_rates_integrate_every_mask_s_probability_over_its_weight_exactly():
    rollout = SimpleNamespace(completion_ids_BC=torch.zeros(1, 3))
    outcomes = module.every_mask(SimpleNamespace(rollout=rollout), None)
    assert sum(outcome.probability for outcome in outcomes) == pytest.approx(1)
    # The mean of (1 - rho)^2 over 0.2..0.8 is (0.8^3 - 0.2^3) / 1.8 = 0.28.
    first = torch.tensor([True, False, False])
    weighted = [
        one.probability * module.score_weights(first[None], one.draws.rate_BU[:, 0])[0, 1, 0]
        for one in outcomes
        if torch.equal(one.draws.is_masked_BUC[0, 0], first)
    ]
    assert float(sum(weighted)) == pytest.approx(0.28 / 2)

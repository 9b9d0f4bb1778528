import dataclasses
import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.errors import UserError
from harness.registry import get_method
from harness.rl.weighted import softmax_within, weighted_likelihood

module = sys.modules[get_method("wd1").__module__]
E = math.e


def test_a_softmax_is_taken_over_each_run_of_rows():
    weight_B = softmax_within(torch.tensor([0.0, 1.0, 5.0, 5.0]), 2)
    assert weight_B.tolist() == pytest.approx([1 / (1 + E), E / (1 + E), 0.5, 0.5])
    assert softmax_within(torch.tensor([0.0, 1.0, 5.0, 5.0]), 4).sum().item() == pytest.approx(1)


def test_the_loss_is_minus_the_weighted_sum_of_log_likelihoods():
    loss = weighted_likelihood(torch.tensor([-2.0, -3.0]), torch.tensor([0.5, -0.25]), 2.0)
    assert loss.item() == pytest.approx((0.5 * 2.0 - 0.25 * 3.0) / 2)


def test_weights_of_both_terms_sum_to_0_and_those_of_one_to_1():
    advantage_B = torch.tensor([0.5, -0.5, 0.25, -0.25], dtype=torch.float64)
    both, positive = (
        module.row_weights(advantage_B, 2, module.Wd1Config(terms=terms)) for terms in ("both", "positive")
    )
    up = E**0.5 / (E**0.5 + E**-0.5)
    assert positive[:2].tolist() == pytest.approx([up, 1 - up])
    assert both[:2].tolist() == pytest.approx([2 * up - 1, 1 - 2 * up])
    assert both.unflatten(0, (2, 2)).sum(1).tolist() == pytest.approx([0.0, 0.0], abs=1e-15)


def test_a_group_of_equal_rewards_has_no_weight_of_its_own_but_shares_that_of_a_batch():
    advantage_B = torch.tensor([0.0, 0.0, 2.0, -2.0], dtype=torch.float64)
    config = module.Wd1Config()
    assert module.row_weights(advantage_B, 2, config)[:2].tolist() == [0.0, 0.0]
    shared = module.row_weights(torch.tensor([0.0, 0.0, 0.0, 3.0, -1.5, -1.5]), 6, config)
    assert shared[0].item() == pytest.approx(1 / (3 + E**3 + 2 * E**-1.5) - 1 / (3 + E**-3 + 2 * E**1.5))
    assert abs(shared[0].item()) > 0.01


def test_the_log_likelihood_is_a_sum_up_to_the_end():
    counted_BC = torch.tensor([[True, True, False], [True, True, True]])
    logprob_BC = torch.tensor([[-1.0, -2.0, -torch.inf], [-1.0, -2.0, -4.0]])
    assert module.text_logprob(logprob_BC, counted_BC).tolist() == [-3.0, -7.0]


def small(**options):
    return module.Wd1(config=module.Wd1Config(**{"inner_updates": 1, **options}))


def part_of(method, scored, model, score):
    draws = method.draw(scored, model, torch.Generator().manual_seed(0))
    return method.prepare(scored, model, score, draws).updates[0].parts[0]


def with_rewards(scored, reward_B):
    return dataclasses.replace(scored, rewards=dataclasses.replace(scored.rewards, total_B=torch.tensor(reward_B)))


def test_equal_rewards_everywhere_cancel_exactly_with_both_terms_and_train_on_all_rows_with_one(
    random_model, scored, score
):
    equal = with_rewards(scored, [0.1] * 12)
    loss, _ = small().loss(random_model, part_of(small(), equal, random_model, score))
    loss.backward()
    assert loss.item() == 0
    assert all((weight.grad == 0).all() for weight in random_model.predictor.parameters())
    method = small(terms="positive")
    part = part_of(method, equal, random_model, score)
    assert part.advantage_B.tolist() == pytest.approx([1 / 12] * 12)
    assert method.loss(random_model, part)[0].item() > 1


@pytest.mark.parametrize(
    ("options", "rows", "softmaxes"),
    [({}, 0, 1), ({}, 6, 2), ({"softmax_over": "group"}, 0, 3), ({"softmax_over": "group"}, 6, 3)],
)
def test_the_loss_is_a_mean_over_softmaxes(options, rows, softmaxes, random_model, scored, score):
    scored = dataclasses.replace(scored, micro_batch_rows=rows)
    part = part_of(small(terms="positive", **options), scored, random_model, score)
    assert part.normaliser == softmaxes
    assert part.advantage_B.sum().item() == pytest.approx(softmaxes)


def test_no_pass_is_made_but_that_of_the_loss(random_model, scored, score):
    method = small()
    with random_model.meter.measure() as cost:
        part = part_of(method, scored, random_model, score)
    assert cost.forwards == 0
    with random_model.meter.measure() as cost:
        method.loss(random_model, part)
    assert cost.forwards == 12
    assert not method.needs_reference


def test_the_variant_asks_the_sampler_for_the_reference_policy():
    method = small(reference_weight=0.25)
    assert method.needs_reference
    assert method.needs(None, Decoding(), 5).reference_weight == 0.25
    assert small().needs(None, Decoding(), 5).reference_weight == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_updates": 0}, "method.inner_updates=0 must be above 0"),
        ({"p_mask_prompt": 1.5}, "method.p_mask_prompt=1.5 must lie between 0 and 1"),
        ({"reference_weight": -0.1}, "method.reference_weight=-0.1 must lie between 0 and 1"),
        ({"terms": "positiv"}, "Did you mean 'positive'"),
        ({"softmax_over": "row"}, "Choices: batch, group"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, message):
    with pytest.raises(UserError, match=message) as caught:
        small(**options).check(Decoding())
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("options", [{"cache": "dual"}, {"threshold": 0.9}, {"guidance_scale": 1.0}], ids=str)
def test_a_mixture_is_refused_where_passes_are_not_whole(options):
    decoding = dataclasses.replace(Decoding(), **options)
    small().check(decoding)
    with pytest.raises(UserError, match=r"method\.reference_weight=0.5 .*; set rollout\.cache=none"):
        small(reference_weight=0.5).check(decoding)
